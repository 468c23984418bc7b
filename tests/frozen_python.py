"""Names of Python that users call: what `edgekit` exports, its errors, and the values that its functions give."""

from __future__ import annotations

import ast
import importlib
import inspect
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any

from msgspec import Struct, structs

import edgekit
from edgekit import errors

Fact = tuple[str, str]


def facts() -> Iterator[Fact]:
    """A line for each name, and for each part of it. Values go by their class alone: where it lives may change."""
    public = {getattr(edgekit, name): f"edgekit.{name}" for name in edgekit.__all__}
    public |= {
        one: f"edgekit.errors.{name}" for name, one in vars(errors).items() if _raised(one) and one not in public
    }
    functions = [one for one in public if inspect.isfunction(one)]
    given = {kind for one in functions for kind in _ours(_hints(one).get("return"))}
    inner = _reached(given) - set(public)
    often = Counter(kind.__name__ for kind in inner)
    public |= {
        kind: kind.__name__ if often[kind.__name__] == 1 else f"{kind.__name__} of {kind.__module__}" for kind in inner
    }
    for one, name in public.items():
        if one in functions:
            yield from _function(name, one)
        else:
            yield from _class(name, one, made=one not in given | inner, called=one not in inner or one in given)


def _raised(one: Any) -> bool:
    return inspect.isclass(one) and issubclass(one, errors.EdgekitError)


def _reached(kinds: Iterable[type]) -> set[type]:
    """The classes, and those of edgekit that they hold."""
    seen: set[type] = set()
    new = list(kinds)
    while new:
        kind = new.pop()
        if kind not in seen:
            seen.add(kind)
            new += [inner for hint in _hints(kind).values() for inner in _ours(hint)]
    return seen


def _hints(one: Any) -> dict[str, Any]:
    """Annotations as objects; those of a name that is imported for type checkers only stay unknown."""
    try:
        return typing.get_type_hints(one, vars(edgekit) | vars(importlib.import_module(one.__module__)))
    except NameError as unknown:
        raise AssertionError(f"{one}: {unknown}: import what a public annotation names") from None


def _ours(hint: Any) -> list[type]:
    if inspect.isclass(hint) and not typing.get_args(hint):
        return [hint] if hint.__module__.startswith("edgekit.") else []
    return [kind for inner in typing.get_args(hint) for kind in _ours(inner)]


def _class(name: str, kind: type, made: bool, called: bool) -> Iterator[Fact]:
    """Fields and properties; how it is made where no function gives it; methods where it is no part of another."""
    above = [one.__name__ for one in kind.__mro__[1:] if one.__module__.startswith("edgekit.")]
    code = f", exit code {kind.exit_code}" if issubclass(kind, errors.EdgekitError) else ""
    yield name, f"class{''.join(f', a kind of {one}' for one in above[:1])}{code}"
    if made:
        yield from _parameters(name, inspect.signature(kind))
    for word, annotation in _fields(kind):
        yield f"{name}.{word}", annotation
    if not issubclass(kind, errors.EdgekitError):
        for word, member in _members(kind):
            if called or isinstance(member, property):
                yield from _member(f"{name}.{word}", member)


def _fields(kind: type) -> Iterator[Fact]:
    if issubclass(kind, Struct):
        names = {one.name for one in structs.fields(kind)}
    else:
        names = set(getattr(kind, "__dataclass_fields__", ()))
    for one in reversed(kind.__mro__):
        for word, annotation in inspect.get_annotations(one).items():
            if word in names and not word.startswith("_"):
                yield word, _type(annotation)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties, with those of classes above."""
    told = (property, classmethod, staticmethod, FunctionType)
    for above in kind.__mro__:
        if above.__module__.startswith("edgekit."):
            yield from ((word, one) for word, one in vars(above).items() if isinstance(one, told) and word[0] != "_")


def _member(name: str, member: Any) -> Iterator[Fact]:
    if isinstance(member, property):
        yield name, f"property: {_type(inspect.signature(member.fget).return_annotation)}"
    else:
        yield from _function(name, member.__func__ if isinstance(member, (classmethod, staticmethod)) else member)


def _function(name: str, function: Any) -> Iterator[Fact]:
    signature = inspect.signature(function)
    yield f"{name}()", f"gives {_type(signature.return_annotation)}"
    yield from _parameters(name, signature)


def _parameters(name: str, signature: inspect.Signature) -> Iterator[Fact]:
    """Each by its name; of one that may be given without it, its place, too."""
    colon = ": "  # a quote inside of an f-string is Python 3.12
    for place, one in enumerate(signature.parameters.values()):
        if one.name in ("self", "cls"):
            continue
        given = {one.KEYWORD_ONLY: "by name", one.VAR_POSITIONAL: "any number", one.VAR_KEYWORD: "any by name"}
        how = given.get(one.kind, f"place {place}")
        must = "required" if one.default is one.empty and how not in list(given.values())[1:] else "optional"
        default = "" if one.default is one.empty else f", default {_default(one.default)}"
        yield f"{name}({one.name})", f"{must}, {how}{default}{_type(one.annotation, colon)}"


def _default(value: Any) -> str:
    return "a function" if callable(value) or " object at " in repr(value) else repr(value)


class _Bare(ast.NodeTransformer):
    """`Annotated[int, Meta(ge=1)]` as `int`: bounds and words about a field are no part of its type."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        inner = self.generic_visit(node)
        if (
            isinstance(inner, ast.Subscript)
            and ast.unparse(inner.value) == "Annotated"
            and isinstance(inner.slice, ast.Tuple)
        ):
            return inner.slice.elts[0]
        return inner


def _type(annotation: object, before: str = "") -> str:
    """An annotation as it is written; nothing for one that msgspec has evaluated, whose field says it."""
    return (
        before + ast.unparse(_Bare().visit(ast.parse(annotation, mode="eval"))) if isinstance(annotation, str) else ""
    )
