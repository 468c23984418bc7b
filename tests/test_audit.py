"""The audit: which licences are accepted, what pip-audit's answers mean, and that nothing unasked passes in silence."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CalledProcessError, CompletedProcess
from typing import Any

import audit
import pytest
import reference_dependencies as dependencies


@pytest.mark.parametrize(
    "licence",
    ["Apache-2.0", "BSD License", "3-Clause BSD License", "MIT-CMU", "MPL-2.0 AND MIT", "ISC", "PSFL", "Zlib"],
)
def test_licences_that_ask_to_be_named_are_accepted(licence: str) -> None:
    assert dependencies.accepted("any", licence)


@pytest.mark.parametrize(
    "licence",
    ["", "GPL-3.0-or-later", "LGPL-2.1", "GNU Affero General Public License v3", "MIT OR SSPL-1.0", "BUSL-1.1"],
)
def test_others_are_refused_until_somebody_has_looked(licence: str) -> None:
    assert not dependencies.accepted("any", licence)
    assert dependencies.accepted("psycopg", licence)


def test_every_package_here_has_an_accepted_licence() -> None:
    assert audit.licensed(audit.installed()).faults == []


def test_requirements_of_what_is_installed_here_fit() -> None:
    assert audit.fitting(audit.installed()).faults == []


def test_requirements_that_do_not_fit_are_told_as_pip_says_them(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "keras 3.1 requires rich, which is not installed.\nother 1.0 requires mock, which is not installed.\n"
    monkeypatch.setattr(audit.subprocess, "run", lambda *words, **how: CompletedProcess([], 1, said))
    assert audit.fitting({"keras": "3.1"}).faults == said.splitlines()[:1]


def test_no_package_is_reviewed_that_none_needs() -> None:
    needed = set().union(*map(dependencies.needed, dependencies.EXTRAS))
    assert set(dependencies.REVIEWED) <= needed


def test_needed_packages_are_those_of_setup_cfg_and_theirs() -> None:
    light = dependencies.needed()
    assert {"click", "jinja2", "markupsafe", "msgspec", "numpy", "tflite", "flatbuffers"} <= light
    assert not light & {"tensorflow", "keras", "h5py", "pillow", "optuna"}
    assert light | {"pillow"} == dependencies.needed("images")
    assert dependencies.needed("convert") < dependencies.needed("search")


def test_the_page_has_each_of_them_with_its_licence() -> None:
    page = dependencies.page()
    assert "| `click` | " in page
    assert page.count("\n| `") == len(set().union(*map(dependencies.needed, dependencies.EXTRAS)))


class Answering(audit.Tools):
    """Tools whose pip-audit says what a test wants, by service."""

    said: dict[str, Any]

    def run(self, module: str, *words: object) -> CompletedProcess[str]:
        """As pip-audit prints it: nothing for a service that it did not reach."""
        found = self.said.get(str(words[words.index("-s") + 1]))
        return CompletedProcess([], 1, "" if found is None else json.dumps({"dependencies": found}), "unreachable")


def asked(folder: Path, **said: list[dict[str, Any]]) -> audit.Answer:
    tools = Answering(folder)
    object.__setattr__(tools, "said", said)
    return audit.vulnerable(tools, {"jinja2": "3.1.2", "tomli-w": "1.0"})


BAD = {"id": "PYSEC-1", "fix_versions": ["3.1.3"]}


def test_a_vulnerability_is_told_with_the_release_that_mends_it(tmp_path: Path) -> None:
    both = [{"name": "Jinja2", "vulns": [BAD]}, {"name": "tomli_w", "vulns": []}]
    assert asked(tmp_path, pypi=both) == audit.Answer(["jinja2 3.1.2: PYSEC-1, mended in 3.1.3"], [])


def test_the_second_service_is_asked_what_the_first_does_not_know(tmp_path: Path) -> None:
    first = [{"name": "jinja2", "vulns": []}, {"name": "tomli-w", "skip_reason": "not found"}]
    second = [{"name": "tomli-w", "vulns": [{"id": "OSV-2", "fix_versions": []}]}]
    assert asked(tmp_path, pypi=first, osv=second).faults == ["tomli-w 1.0: OSV-2, mended in no release yet"]
    assert asked(tmp_path, pypi=first).unknown == ["advisories of 1 packages: tomli-w"]


def test_nothing_reached_is_no_clean_bill(tmp_path: Path) -> None:
    assert asked(tmp_path) == audit.Answer([], ["advisories of 2 packages: jinja2, tomli-w"])


def test_without_an_index_its_questions_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tools: audit.Tools) -> None:
        raise CalledProcessError(1, "pip")

    monkeypatch.setattr(audit.Tools, "install", fail)
    answers = audit.from_index(audit.Tools(tmp_path), {"click": "8.1"})
    assert [bool(one.unknown) for one in answers.values()] == [True, True, True]


@pytest.mark.parametrize(("code", "faults"), [(0, []), (1, ["[tfmot]: ERROR: ResolutionImpossible"])])
def test_an_extra_that_does_not_resolve_is_a_fault(tmp_path: Path, code: int, faults: list[str]) -> None:
    class Pip(audit.Tools):
        def run(self, module: str, *words: object) -> CompletedProcess[str]:
            assert str(words[-1]).endswith("[tfmot]")
            return CompletedProcess([], code, "", "WARNING: slow\nERROR: ResolutionImpossible\n" if code else "")

    assert audit.resolving(Pip(tmp_path), {}).faults == faults
