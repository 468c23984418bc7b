"""The page of what `import edgekit` has, from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from marks import prose

import edgekit

_INTRODUCTION = """Every name is one of `edgekit`. Sizes are in bytes, times in seconds where a name says nothing else.
All that edgekit raises on purpose is an `EdgekitError` with `problem` and `mend`: [all messages](messages.md)."""
_WIDTH = 100


def page() -> str:
    """Functions first, then the values that they take and give."""
    named = {name: getattr(edgekit, name) for name in edgekit.__all__}
    functions = {name: one for name, one in named.items() if not inspect.isclass(one)}
    classes = {name: one for name, one in named.items() if inspect.isclass(one)}
    parts = ["# Python", _INTRODUCTION, "## Functions"]
    parts += [part for name, one in functions.items() for part in _function(name, one)]
    parts.append("## Values")
    parts += [part for name, one in classes.items() for part in _class(name, one)]
    return "\n\n".join(parts) + "\n"


def _function(name: str, function: Any) -> Iterator[str]:
    yield f"### `{name}` {{ #{name} }}"
    yield _signature(f"edgekit.{name}", function)
    yield _docstring(function)


def _class(name: str, kind: type) -> Iterator[str]:
    yield f"### `{name}` {{ #{name} }}"
    if issubclass(kind, BaseException) or kind.__init__ is not object.__init__:
        yield _signature(f"edgekit.{name}", kind)
    yield _docstring(kind)
    members = [(word, one) for word, one in vars(kind).items() if not word.startswith("_")]
    lines = [_member(word, one) for word, one in members if inspect.getdoc(_plain(one)) and _told(one)]
    if lines:
        yield "\n".join(lines)


def _told(member: Any) -> bool:
    return isinstance(member, (property, classmethod, staticmethod)) or inspect.isfunction(member)


def _plain(member: Any) -> Any:
    return member.__func__ if isinstance(member, (classmethod, staticmethod)) else member


def _member(name: str, member: Any) -> str:
    """One line: how a method or property is called, and the first sentence of its docstring."""
    first = prose((inspect.getdoc(_plain(member)) or "").split("\n\n")[0].replace("\n", " "))
    if isinstance(member, property):
        return f"- `.{name}`: {first}"
    words = [word for word in _parameters(inspect.signature(_plain(member))) if word not in ("self", "cls")]
    return f"- `.{name}({', '.join(words)})`: {first}"


def _signature(name: str, called: Any) -> str:
    """The call as Python writes it, one parameter a line where it is long."""
    signature = inspect.signature(called)
    parameters, returned = list(_parameters(signature)), signature.return_annotation
    end = ")" if returned in (inspect.Signature.empty, None, "None") else f") -> {_annotation(returned)}"
    text = f"{name}({', '.join(parameters)}{end}"
    if len(text) > _WIDTH:
        text = "\n".join([f"{name}(", *(f"    {one}," for one in parameters), end])
    return f"```python\n{text}\n```"


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    """Each parameter as Python writes it, and the star before those that are given by name only."""
    star = False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        annotation = "" if one.annotation is one.empty else f": {_annotation(one.annotation)}"
        default = "" if one.default is one.empty else f" = {_default(one.default)}"
        yield f"{one.name}{annotation}{default}"


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _default(value: Any) -> str:
    """A default in code; of one that is a function or has no short form, that there is one."""
    text = repr(value)
    return "..." if callable(value) or " object at " in text or len(text) > 40 else text


def _docstring(thing: Any) -> str:
    """The docstring; what is indented in it is code."""
    text = inspect.getdoc(thing) or ""
    blocks = re.split(r"\n\n(?=\S)|\n\n(?=    )", text)
    return "\n\n".join(block if block.startswith("    ") else prose(block) for block in blocks)
