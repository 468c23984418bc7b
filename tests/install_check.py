"""Install edgekit as a user does, on clean environments of each supported Python: `make install-check`.

    python tests/install_check.py [--light] [PYTHON ...]

Builds the source archive and the wheel; for each Python (default: those of `PYTHONS` that are found) makes an empty
environment, installs the wheel alone, then with the runtime, and runs commands and the tests of `LIGHT` in it. Without
`--light` it also lets pip resolve every other extra without installing it, installs the lowest versions that setup.cfg
permits, and tries `pipx run`. Minutes, and a package index. Exit code 1 if one step failed; a Python that is not here
is named and skipped.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
RUNTIMES = {"ai-edge-litert", "tflite-runtime"}
MOST_BYTES = 60_000_000
MADE = (".*", "build", "dist", "out", "*.egg-info", "__pycache__", "demo-output*")
"""What is in a used tree and no part of its source."""
LIGHT = (  # what needs no TensorFlow
    "test_agent",
    "test_frozen",
    "test_phrase",
    "test_recipe",
    "test_target",
    "test_target_files",
    "test_target_template",
    "test_units",
    "bench/test_statistics",
    "cli/test_results_command",
    "tflite/test_inspect",
    "tflite/test_memory_plan",
)
SIZES = """
import json
from importlib import metadata
print(json.dumps({one.metadata["Name"].lower(): sum(
    path.stat().st_size for file in one.files or () if (path := file.locate()).is_file()
) for one in metadata.distributions()}))
"""


class Failed(Exception):  # noqa: N818 - it names what happened
    """A step did not do what it should; the message says what it said."""


@dataclass(frozen=True)
class Environment:
    """An empty environment of one Python."""

    python: str
    folder: Path

    def run(self, program: str, *words: object) -> str:
        """What a program of the environment prints. Raises Failed."""
        return run(self.folder / "bin" / program, *words, cwd=self.folder)

    def pip(self, *words: object) -> str:
        """pip, in silence."""
        return self.run("python", "-m", "pip", "--disable-pip-version-check", *words, "--quiet")

    def sizes(self) -> dict[str, int]:
        """Bytes of each package as installed, compiled files with it."""
        found: dict[str, int] = json.loads(self.run("python", "-c", SIZES))
        return {name: size for name, size in found.items() if name not in ("pip", "setuptools")}


def run(*words: object, cwd: Path) -> str:
    """Standard output of a command; nothing of the environment that this runs in. Raises Failed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, words[:6]))}: exit {done.returncode}: {(done.stderr or done.stdout)[-1500:]}")
    return done.stdout


def interpreter(python: str) -> Path | None:
    """That Python, on the path or where pyenv keeps it."""
    homes = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    kept = sorted(homes.glob(f"{python}.*/bin/python{python}"))
    return kept[-1] if kept else Path(found) if (found := shutil.which(f"python{python}")) else None


def light(place: Environment, wheel: Path, model: Path) -> str:
    """The wheel alone: what needs no runtime works, and it is small."""
    place.pip("install", wheel)
    _works(place, model)
    sizes = place.sizes()
    if heavy := {"tensorflow", "keras", "h5py", "pillow", "optuna"} & set(sizes):
        raise Failed(f"the light install brought {', '.join(sorted(heavy))}")
    return _footprint(sizes, {"numpy"})


def runtime(place: Environment, wheel: Path, model: Path) -> str:
    """With the runtime: this machine is measured."""
    place.pip("install", f"{wheel}[runtime]")
    place.pip("check")
    measured = json.loads(place.run("edgekit", "benchmark", model, "--runs", 30, "--json"))
    if not measured["rows"]:
        raise Failed("benchmark gave no row")
    sizes = place.sizes()
    return _footprint(sizes, {"numpy", *RUNTIMES & set(sizes)})


def light_tests(place: Environment, wheel: Path, model: Path) -> str:
    """Tests of what needs no TensorFlow, held against the wheel: from another folder, and by `pytest` as a program."""
    place.pip("install", "pytest", "hypothesis", "jsonschema", "cyclonedx-python-lib")
    source = wheel.parent.parent / "source"
    files = [source / "tests" / f"{name}.py" for name in LIGHT]
    words = ("-q", "-m", "not slow and not emulated", "-p", "no:cacheprovider", "-c", source / "setup.cfg")
    return place.run("pytest", *words, *files).strip().splitlines()[-1]


def lowest(place: Environment, wheel: Path, model: Path) -> str:
    """The lowest versions that are permitted."""
    pinned = list(lower_bounds(place.python))
    place.pip("install", wheel, *pinned)
    _works(place, model)
    return " ".join(pinned)


def resolved(extra: str) -> Callable[[Environment, Path, Path], str]:
    """That an extra resolves; nothing is installed."""

    def step(place: Environment, wheel: Path, model: Path) -> str:
        report = place.folder / "report.json"
        place.pip("install", "--dry-run", "--ignore-installed", "--report", report, f"{wheel}[{extra}]")
        return f"{len(json.loads(report.read_text())['install'])} packages"

    return step


def pipx(place: Environment, wheel: Path, model: Path) -> str:
    """`pipx run` of a command, as on a machine that has nothing of edgekit."""
    place.pip("install", "pipx")
    found = json.loads(place.run("pipx", "run", "--spec", wheel, "edgekit", "doctor", "--json"))
    return f"edgekit doctor: {sum(one['state'] == 'ok' for one in found)} ok, {len(found)} looked at"


def _works(place: Environment, model: Path) -> None:
    place.pip("check")
    if re.fullmatch(r"edgekit, version \S+\n", said := place.run("edgekit", "--version")) is None:
        raise Failed(f"edgekit --version said {said!r}")
    for words in (["targets", "list"], ["inspect", model], ["check", model, "-t", "raspberry-pi-4"], ["doctor"]):
        json.loads(place.run("edgekit", *words, "--json"))


def _footprint(sizes: dict[str, int], besides: set[str]) -> str:
    """Bytes of all packages but some. Raises Failed above what is promised."""
    counted = {name: size for name, size in sizes.items() if name not in besides}
    total = sum(counted.values())
    words = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sorted(counted.items(), key=lambda one: -one[1]))
    if total > MOST_BYTES:
        raise Failed(f"{total / 1e6:.1f} MB besides {', '.join(sorted(besides))}: {words}")
    return f"{total / 1e6:.1f} MB besides {', '.join(sorted(besides))} ({words})"


def extras() -> list[str]:
    """Names of all of them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return list(config["options.extras_require"])


def lower_bounds(python: str) -> Iterator[str]:
    """Each requirement of the light install at its lowest version, for one Python: `click==8.1`."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    for line in config["options"]["install_requires"].strip().splitlines():
        requirement, _, marker = line.partition(";")
        before = re.search(r'python_version < "3\.(\d+)"', marker)
        if before is None or int(python.split(".")[1]) < int(before[1]):
            yield requirement.strip().replace(">=", "==")


def build(folder: Path) -> Path:
    """The wheel, by way of the source archive, from a copy of the tree; both as the index wants them."""
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*MADE))
    tools = _empty("tools", Path(sys.executable), folder)
    tools.pip("install", "build", "twine")
    tools.run("python", "-m", "build", "--outdir", folder / "dist", folder / "source")
    tools.run("python", "-m", "twine", "check", "--strict", *sorted((folder / "dist").iterdir()))
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def _empty(name: str, python: Path, folder: Path) -> Environment:
    run(python, "-m", "venv", folder / name, cwd=folder)
    return Environment(name.partition("-")[0], folder / name)


def checks(python: str, wheel: Path, model: Path, folder: Path, few: bool) -> Iterator[tuple[str, bool, str]]:
    """Each step with whether it passed and what it says. The light one, the runtime and the tests share a place."""
    path = interpreter(python)
    if path is None:
        yield "skipped", True, f"no python{python} here"
        return
    place = _empty(f"{python}-light", path, folder)
    steps = [("light", place, light), ("[runtime]", place, runtime), ("tests", place, light_tests)]
    if not few:
        steps += [(f"[{one}]", place, resolved(one)) for one in extras() if one != "runtime"]
        steps.append(("pipx run", place, pipx))
        if python in ("3.10", "3.11"):  # the lowest numpy has no wheel for a later one
            steps.append(("lowest", _empty(f"{python}-lowest", path, folder), lowest))
    for name, where, step in steps:
        try:
            yield name, True, step(where, wheel, model)
        except Failed as failure:
            yield name, False, str(failure)


def main(words: list[str]) -> int:
    """Print a line a step."""
    import tiny_models

    failed, few = 0, "--light" in words
    pythons = [word for word in words if word != "--light"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "model.tflite"
        model.write_bytes(tiny_models.negative())
        wheel = build(folder)
        click.echo(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, twine check --strict passed")
        for python in pythons or PYTHONS:
            begun = time.monotonic()
            for step, passed, words in checks(python, wheel, model, folder, few):
                seconds, begun = time.monotonic() - begun, time.monotonic()
                failed += not passed
                click.echo(f"{python}  {step:<10} {'ok' if passed else 'FAILED':<6} {seconds:5.0f} s  {words}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
