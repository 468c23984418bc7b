"""What users depend on, kept as text in `contracts/`: names in Python, the command line, what is printed and written.

    python tests/frozen.py

writes what is public now into the three files. Each line is a key and what is said of it, so a diff reads as the list
of what changes for a user.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent / "contracts"
COMMAND = "python tests/frozen.py"
NAMES = ("python", "commands", "json")
REQUIRED = "required"
_HEAD = "# frozen for edgekit"

Facts = dict[str, str]


@cache
def now(name: str) -> Facts:
    """What is public in the code that is here."""
    if name == "python":
        from frozen_python import facts
    elif name == "commands":
        from frozen_commands import facts
    else:
        from frozen_json import facts
    return dict(sorted(facts()))


def broken(frozen: Facts, found: Facts) -> list[str]:
    """What a user of `frozen` would stumble over, a sentence each.

    What is added breaks nothing, unless it must be given.
    """
    lost = [f"{key} is gone (it was: {fact})" for key, fact in frozen.items() if key not in found]
    other = [
        f"{key} was: {frozen[key]}; it is: {found[key]}" for key in frozen if found.get(key, frozen[key]) != frozen[key]
    ]
    asked = [
        f"{key} is new, and has to be given ({fact})"
        for key, fact in found.items()
        if key not in frozen and fact.startswith(REQUIRED) and _owner(key) in frozen
    ]
    return lost + other + asked


def _owner(key: str) -> str:
    """What a part is of: `edgekit.infer()` of `edgekit.infer(model)`, `edgekit infer` of `edgekit infer --threads`."""
    if "(" in key:
        return key[: key.index("(")] + "()"
    for sign in (" ", "."):
        if sign in key:
            return key[: key.rindex(sign)]
    return key


def to_text(facts: Facts, release: str) -> str:
    """The file: a line each, in the order of the keys."""
    return (
        "\n".join([f"{_HEAD} {release}; `{COMMAND}` writes this", *(f"{key}: {fact}" for key, fact in facts.items())])
        + "\n"
    )


def from_text(text: str) -> tuple[str, Facts]:
    """The version of a file, and what it says."""
    head, *lines = text.splitlines()
    said = head.removeprefix(_HEAD).split(";")[0].strip()
    return said, dict(line.split(": ", 1) for line in lines)


def _write() -> None:
    for name in NAMES:
        (FOLDER / f"{name}.txt").write_text(to_text(now(name), version("edgekit")))


if __name__ == "__main__":
    _write()
