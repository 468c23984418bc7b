"""What `edgekit check` found as SARIF 2.1.0, which code-scanning services and editors read.

A rule is a finding's code: its help is the mends, its address the first source. A result is one finding on one target,
at the model file, with the operators as logical locations; its fingerprint leaves out numbers, so that a file made
again raises no new alert for the same fault. The format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from edgekit.check.check import CheckResult
from edgekit.finding import ORDER, Finding, Level

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS: dict[Level, Literal["error", "warning", "note"]] = {"error": "error", "warn": "warning", "info": "note"}
_NUMBER = re.compile(r"\d[\d.,^x]*")
_OPERATOR = re.compile(r"#(\d+)")
_ADDRESS = re.compile(r"https?://[^\s<>\"]+")
_FINGERPRINTS = ("edgekitFinding/v1", "primaryLocationLineHash")  # the second is the one that GitHub compares
_REGION = {"startLine": 1}  # code scanning refuses a place without a line, which a binary file has not
_ROOT = "%SRCROOT%"

Json = dict[str, Any]


def sarif(results: Sequence[CheckResult], model: str | Path) -> Json:
    """The log as a value for JSON: one run, one result for each finding of each target, the rules in the driver.

    `model` is named relative to the working folder where it lies inside, else by its full address.
    """
    found = [(result, finding) for result in results for finding in result.findings]
    codes = list(dict.fromkeys(finding.code for _, finding in found))
    place = _artifact(Path(model))
    seen: Counter[str] = Counter()
    run = {
        "tool": {"driver": _driver([_rule(code, [one for _, one in found if one.code == code]) for code in codes])},
        "invocations": [{"executionSuccessful": True}],
        "artifacts": [{"location": place, "roles": ["analysisTarget"]}],
        "results": [_result(result, finding, codes.index(finding.code), place, seen) for result, finding in found],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _driver(rules: list[Json]) -> Json:
    about = metadata.metadata("edgekit")
    addresses = [*(about.get_all("Home-page") or []), *(about.get_all("Project-URL") or [])]
    found = next((match.group() for text in addresses if (match := _ADDRESS.search(text))), None)
    driver: Json = {"name": "edgekit", "version": about["Version"]}
    return driver | ({"informationUri": found} if found else {}) | {"rules": rules}


def _rule(code: str, findings: Sequence[Finding]) -> Json:
    """A rule as its findings tell it: the gravest level, every mend, and the first address of a source."""
    words = code.replace("-", " ")
    mends = list(dict.fromkeys(one.mend for one in findings if one.mend)) or ["Nothing has to be changed."]
    gravest = min((one.level for one in findings), key=lambda level: ORDER[level])
    address = next((match.group().rstrip(".,;:)") for one in findings if (match := _ADDRESS.search(one.source))), None)
    rule: Json = {
        "id": code,
        "name": words.title().replace(" ", ""),
        "shortDescription": {"text": _sentence(words)},
        "fullDescription": {"text": _sentence(findings[0].problem)},
        "help": {"text": " ".join(_sentence(mend) for mend in mends)},
        "defaultConfiguration": {"level": _LEVELS[gravest]},
    }
    return rule | ({"helpUri": address} if address else {})


def _result(result: CheckResult, finding: Finding, rule: int, place: Json, seen: Counter[str]) -> Json:
    told = f"{result.target}: {finding.subject}: {finding.problem}"
    text = _stopped(told) + (f" Mend: {_sentence(finding.mend)}" if finding.mend else "")
    where: Json = {"physicalLocation": {"artifactLocation": place | {"index": 0}, "region": _REGION}}
    operators = _operators(result, finding)
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.level],
        "message": {"text": _literal(text)},
        "locations": [where | ({"logicalLocations": operators} if operators else {})],
        "partialFingerprints": dict.fromkeys(_FINGERPRINTS, _fingerprint(result, finding, seen)),
        "properties": {"target": result.target, "subject": finding.subject, "source": finding.source},
    }


def _operators(result: CheckResult, finding: Finding) -> list[Json]:
    """The operators that a finding is about: all of its forecast, else those that its subject counts."""
    every = result.forecasts[0].placements if result.forecasts else ()
    reason = finding.problem.partition(": ")[2]
    about = [one for one in every if one.code == finding.code and one.reason and reason.startswith(one.reason)]
    if not about:
        numbers = {int(number): "" for number in _OPERATOR.findall(finding.subject)}
        named = numbers | {one.index: one.name for one in every if one.index in numbers}
        return [_logical(index, name) for index, name in sorted(named.items())]
    return [_logical(one.index, one.name) for one in about]


def _logical(index: int, name: str) -> Json:
    label = f"#{index} {name}".strip()
    return {"name": name or label, "fullyQualifiedName": label}


def _fingerprint(result: CheckResult, finding: Finding, seen: Counter[str]) -> str:
    """A digest of target, code, subject and problem without their numbers; equal ones are counted."""
    parts = (result.target, finding.code, finding.subject, finding.problem)
    text = "\n".join(_NUMBER.sub("", part) for part in parts)
    digest = sha256(text.encode()).hexdigest()[:32]
    seen[digest] += 1
    return f"{digest}:{seen[digest]}"


def _artifact(model: Path) -> Json:
    """Where the file is: from the working folder, as repositories name their files, or by its full address."""
    whole, here = model.resolve(), Path.cwd().resolve()
    if whole.is_relative_to(here):
        return {"uri": quote(whole.relative_to(here).as_posix()), "uriBaseId": _ROOT}
    return {"uri": whole.as_uri()}


def _literal(text: str) -> str:
    """Braces are placeholders in a message unless they are doubled."""
    return text.replace("{", "{{").replace("}", "}}")


def _sentence(words: str) -> str:
    """With a capital and a full stop."""
    return _stopped(words[:1].upper() + words[1:])


def _stopped(words: str) -> str:
    return words if words.endswith((".", "!", "?")) else f"{words}."
