"""The page of every error message, from the places in the code that raise them."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from marks import prose, slug

import edgekit
from edgekit import errors

_KINDS = {name: one for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)}
_USAGE = {"UsageError", "BadParameter"}
_SETTINGS = ("recipe.py", "stages/", "data/spec.py", "tfmot/settings.py")
_OTHER = {
    "Usage": "The command line cannot be meant so. Exit code 2.",
    "Settings": "A setting in a file that cannot be, behind the name of the file and its key. Exit code 3.",
}
_SOURCE = Path(edgekit.__file__).parent
_INTRODUCTION = """What edgekit says when it cannot go on, by the kind of error. `…` stands for what was found.
Search the page for words of your message; ¶ is its address. After *mend* is what to do.
[Troubleshooting](../troubleshooting.md) begins with symptoms instead."""


_FINDINGS = """What `edgekit check`, `edgekit doctor` and reports find of a model, by the code that `--json` and
`--sarif` have (`ruleId` there): the address of a code is `#` and the code. Rules of a target have their words in
[its table](target.md)."""


class Message(NamedTuple):
    """An error as the code has it; what is known only while it runs is `…`."""

    kind: str
    problem: str
    mend: str


def page() -> str:
    """All messages, by kind, each with an anchor."""
    told_of: dict[str, set[Message]] = defaultdict(set)
    for path in sorted(_SOURCE.rglob("*.py")):
        settings = str(path.relative_to(_SOURCE)).startswith(_SETTINGS)
        for message in raised(path.read_text(encoding="utf-8"), settings):
            told_of[message.kind].add(message)
    parts = ["# Error messages", _INTRODUCTION]
    taken: set[str] = set()
    told = {
        name: f"{(kind.__doc__ or '').strip()} Exit code {kind.exit_code}." for name, kind in _KINDS.items()
    } | _OTHER
    for kind in (name for name in told if name in told_of):
        parts += [f"## {kind}", told[kind]]
        parts.append("\n".join(_line(one, taken) for one in sorted(told_of[kind], key=_order)))
    return "\n\n".join([*parts, "## Findings", _FINDINGS, _findings()]) + "\n"


def _findings() -> str:
    """Every finding under its code, which is the anchor; one more of the same code has a number."""
    all_of = {one for path in _SOURCE.rglob("*.py") for one in found(path.read_text(encoding="utf-8"))}
    lines, taken = [], set[str]()
    for one in sorted(all_of):
        lines.append(_line(one, taken, slug(one.kind), f"`{one.kind}` "))
    return "\n".join(lines)


def raised(code: str, settings: bool = False) -> Iterator[Message]:
    """The messages with words of their own that a module raises; with `settings` those of its ValueErrors, too."""
    for kind, problem, mend, *_ in _calls(code, lambda called: _kind(called, settings)):
        if any(sign.isalpha() for sign in problem):
            yield Message(kind, problem, mend if kind in _KINDS else "")


def found(code: str) -> Iterator[Message]:
    """The findings that a module makes: their codes as kinds."""
    for _, _, name, _, problem, mend, *_ in _calls(code, lambda called: getattr(called, "id", "") == "Finding"):
        if "…" not in name and any(sign.isalpha() for sign in problem):
            yield Message(name, problem, mend)


def _calls(code: str, wanted: Callable[[ast.expr], str | bool]) -> Iterator[tuple[str, ...]]:
    """What is called, as `wanted` says it, and the words of its arguments, with empty ones behind."""
    tree = ast.parse(code)
    scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and call.args and (name := wanted(call.func)):
            around = [one for one in scopes if one.lineno <= call.lineno <= (one.end_lineno or 0)]
            said = _variables(max(around, key=lambda one: one.lineno), call.lineno) if around else {}
            words = [_words(said.get(getattr(each, "id", ""), each)) for each in call.args]
            yield (str(name), *words, *[""] * 5)


def _variables(scope: ast.FunctionDef, line: int) -> dict[str, ast.expr]:
    """{name: the expression that it stands for at a line of a function}, by the assignment nearest above."""
    made = [node for node in ast.walk(scope) if isinstance(node, ast.Assign) and node.lineno < line]
    plain = [(node.lineno, node.targets[0].id, node.value) for node in made if isinstance(node.targets[0], ast.Name)]
    return {name: value for _, name, value in sorted(plain, key=lambda one: one[0])}


def _kind(called: ast.expr, settings: bool) -> str:
    """The heading under which an error that is made stands; empty for anything else."""
    if isinstance(called, ast.Attribute):
        return "Usage" if called.attr in _USAGE else ""
    name = called.id if isinstance(called, ast.Name) else ""
    return "Settings" if settings and name == "ValueError" else name if name in _KINDS else ""


def _words(node: ast.expr) -> str:
    """The text of an expression, as far as the code says it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_words, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _words(node.left) + _words(node.right)
    return "…"


def _order(message: Message) -> str:
    return message.problem.lstrip("…:, '")


def _line(message: Message, taken: set[str], wished: str = "", before: str = "") -> str:
    anchor = name = wished or slug(message.problem) or "message"
    number = 2
    while anchor in taken:
        anchor, number = f"{name}-{number}", number + 1
    taken.add(anchor)
    mend = f"  \n    *mend*: {_plain(message.mend)}" if message.mend else ""
    return f'- {before}<span id="{anchor}">{_plain(message.problem)}</span> [¶](#{anchor}){mend}'


def _plain(text: str) -> str:
    return prose(" ".join(text.split()), "<*[_")
