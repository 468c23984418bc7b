"""What the dependencies bring, as far as can be known from here: `make audit`.

    python tests/audit.py [--strict]

Of every package that edgekit with all extras needs and this environment has: whether requirements fit together (pip),
known vulnerabilities (pip-audit, by the advisories of the package index, else those of OSV), releases that their makers
have withdrawn, and licences. What nobody here could answer is named; with --strict that fails, too. Exit code 1 for a
vulnerability, a withdrawn release, requirements that do not fit, or a licence that nobody has accepted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parent.parent
HOOKS = ROOT / "docs" / "hooks"
sys.path.insert(0, str(HOOKS))
from reference_dependencies import EXTRAS, accepted, distribution, licence_of, needed  # noqa: E402

Packages = Mapping[str, str]
ALONE = "tensorflow-model-optimization"
"""The Makefile installs it without what it requires, so what `pip check` says of it is no fault; `resolving` asks."""


@dataclass(frozen=True)
class Answer:
    """What was found to be wrong, and what could not be asked."""

    faults: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tools:
    """An environment of its own with pip and pip-audit: what they need is no dependency of edgekit."""

    folder: Path

    def install(self) -> None:
        """Make it. Raises CalledProcessError without a package index."""
        subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
        done = self.run("pip", "install", "--quiet", "--upgrade", "pip", "pip-audit")
        done.check_returncode()

    def run(self, module: str, *words: object) -> subprocess.CompletedProcess[str]:
        """A module's command."""
        command = [self.folder / "bin" / "python", "-m", module, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def listed(self, packages: Packages) -> Path:
        """A file of exact versions."""
        path = self.folder / "packages.txt"
        path.write_text("".join(f"{name}=={version}\n" for name, version in sorted(packages.items())))
        return path


def installed() -> Packages:
    """All that edgekit needs with any extra, and is here, with its version."""
    names = set().union(*map(needed, EXTRAS))
    return {name: found.version for name in sorted(names) if (found := distribution(name))}


def fitting(packages: Packages) -> Answer:
    """What pip says of requirements that do not fit."""
    command = [sys.executable, "-m", "pip", "check"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    ours = packages.keys() - {ALONE}
    return Answer([line for line in said if line.split(" ", 1)[0].lower().replace("_", "-") in ours])


def vulnerable(tools: Tools, packages: Packages) -> Answer:
    """Known vulnerabilities: by the index's advisories, and by OSV's for what the index says nothing of."""
    known: dict[str, list[Any]] = {}
    for service in ("pypi", "osv"):
        if left := {name: version for name, version in packages.items() if name not in known}:
            words = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "-s", service)
            known |= advisories(tools.run("pip_audit", *words, "-r", tools.listed(left)).stdout)
    unknown = sorted(set(packages) - set(known))
    faults = [f"{name} {packages[name]}: {_told(one)}" for name, found in known.items() for one in found]
    return Answer(faults, [f"advisories of {len(unknown)} packages: {', '.join(unknown)}"] if unknown else [])


def advisories(document: str) -> dict[str, list[Any]]:
    """What pip-audit found of each package that its service knows; nothing where it was not reached."""
    if not document.strip():
        return {}
    told = json.loads(document)["dependencies"]
    return {one["name"].lower().replace("_", "-"): one["vulns"] for one in told if "vulns" in one}


def _told(one: Mapping[str, Any]) -> str:
    return f"{one['id']}, mended in {', '.join(one['fix_versions']) or 'no release yet'}"


def withdrawn(tools: Tools, packages: Packages) -> Answer:
    """Releases that their makers have yanked."""
    report = tools.folder / "report.json"
    words = ("install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed", "--report", report)
    done = tools.run("pip", *words, "-r", tools.listed(packages))
    if done.returncode:
        return Answer([], [f"withdrawn releases: {[*done.stderr.strip().splitlines(), 'pip failed'][0]}"])
    told = json.loads(report.read_text())["install"]
    yanked = [one["metadata"] for one in told if one["is_yanked"]]
    return Answer([f"{one['name']} {one['version']} was withdrawn by its maker" for one in yanked])


def resolving(tools: Tools, packages: Packages) -> Answer:
    """Whether pip finds versions for the extra of the package that is installed alone; nothing is installed."""
    done = tools.run("pip", "install", "--quiet", "--dry-run", "--ignore-installed", f"{ROOT}[tfmot]")
    if done.returncode == 0:
        return Answer()
    said = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["pip failed"]
    return Answer([f"[tfmot]: {line}" for line in said])


def licensed(packages: Packages) -> Answer:
    """Licences that ask for more than to be named, or are not stated, and that nobody has looked at."""
    found = {name: licence_of(one) for name in packages if (one := distribution(name))}
    return Answer(
        [f"{name}: licence {words or 'not stated'}" for name, words in found.items() if not accepted(name, words)]
    )


def from_index(tools: Tools, packages: Packages) -> dict[str, Answer]:
    """What only an index can answer; that it is not there is an answer, too."""
    questions = {
        "the extra tfmot resolves": resolving,
        "no release withdrawn": withdrawn,
        "no known vulnerability": vulnerable,
    }
    try:
        tools.install()
    except subprocess.CalledProcessError:
        return dict.fromkeys(questions, Answer([], ["pip-audit could not be installed: no package index is reached"]))
    return {question: ask(tools, packages) for question, ask in questions.items()}


def main(words: list[str]) -> int:
    """Ask, and print a block for each question."""
    packages = installed()
    click.echo(f"{len(packages)} packages that edgekit needs with all extras and that are installed here")
    with tempfile.TemporaryDirectory() as name:
        answers = {
            "requirements fit together": fitting(packages),
            "no licence beyond those accepted": licensed(packages),
            **from_index(Tools(Path(name)), packages),
        }
    for question, answer in answers.items():
        state = "FAILED" if answer.faults else "could not be asked for all" if answer.unknown else "ok"
        click.echo("\n".join([f"{question}: {state}", *(f"  {line}" for line in answer.faults + answer.unknown)]))
    wrong = any(one.faults or ("--strict" in words and one.unknown) for one in answers.values())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
