"""The page of what each extra brings, and under which licence, from the metadata of what is installed."""

from __future__ import annotations

import re
from importlib import metadata

from marks import cell, code, table
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_INTRODUCTION = """What `pip install edgekit` and each extra bring on Linux, x86-64, with what those need in turn; the \
version is the one that this page was made with. Licences are as the packages state them; those that state none, or \
LGPL, were looked at:

{reviewed}

`make audit` holds all of it against the advisories of the package index."""
EXTRAS = ("", "runtime", "images", "convert", "tfmot", "package", "firmware", "search")
REVIEWED = {
    "namex": "names none in its metadata; the LICENSE file in it is Apache-2.0",
    "psycopg": "LGPL-3.0: imported as it is, not changed and not shipped with edgekit",
    "psycopg-binary": "LGPL-3.0: imported as it is, not changed and not shipped with edgekit",
    "tflite-micro": "names none in its metadata; its sources say Apache-2.0",
}
_FREE = re.compile(r"\b(Apache|(0|\d-Clause )?BSD|MIT|MPL|Mozilla|ISC|PSF|Python Software Foundation|Zlib|CC0)", re.I)
_BOUND = re.compile(r"GPL|General Public|SSPL|BUSL|Commons.Clause|non.?commercial|proprietary", re.I)


def page() -> str:
    """A table of packages: version, licence, and which extras bring it."""
    bringing: dict[str, list[str]] = {}
    for extra in EXTRAS:
        for name in sorted(needed(extra)):
            bringing.setdefault(name, []).append(f"[{extra}]" if extra else "edgekit")
    reviewed = "\n".join(f"- `{name}`: {words}" for name, words in REVIEWED.items())
    rows = [_row(name, extras) for name, extras in sorted(bringing.items())]
    head = ("package", "version", "licence", "brought by")
    return "\n\n".join(["# Dependencies", _INTRODUCTION.format(reviewed=reviewed), table(head, rows)]) + "\n"


def _row(name: str, extras: list[str]) -> tuple[str, ...]:
    found = distribution(name)
    brought = "edgekit itself" if extras[0] == "edgekit" else ", ".join(map(code, extras))
    if found is None:
        return code(name), "not installed here", "", brought
    return code(name), found.version, cell(licence_of(found) or "none stated"), brought


def needed(extra: str = "") -> set[str]:
    """Names of all packages that edgekit with that extra needs on this machine, those of other packages too."""
    seen: set[tuple[str, str]] = set()
    new = [("edgekit", ""), ("edgekit", extra)]
    while new:
        if (one := new.pop()) not in seen:
            seen.add(one)
            new += _requires(*one)
    return {name for name, _ in seen} - {"edgekit"}


def _requires(name: str, extra: str) -> list[tuple[str, str]]:
    found = distribution(name)
    lines = [Requirement(line) for line in (found.requires or [] if found else [])]
    asked = [one for one in lines if one.marker is None or one.marker.evaluate({"extra": extra})]
    return [(canonicalize_name(one.name), inner) for one in asked for inner in ("", *one.extras)]


def distribution(name: str) -> metadata.Distribution | None:
    """What is installed by that name."""
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def licence_of(found: metadata.Distribution) -> str:
    """The licence that a package states: an expression, else a short word, else its classifiers; or nothing."""
    said = found.metadata
    short = (said.get("License") or "").strip()
    classes = [one.rsplit(" :: ", 1)[1] for one in said.get_all("Classifier", []) if one.startswith("License :: ")]
    if expression := said.get("License-Expression"):
        return str(expression)
    return short if short and len(short) < 60 and short != "UNKNOWN" else ", ".join(classes)


def accepted(name: str, licence: str) -> bool:
    """True if it asks for no more than to be named, or somebody looked at it."""
    return name in REVIEWED or (bool(_FREE.search(licence)) and not _BOUND.search(licence))
