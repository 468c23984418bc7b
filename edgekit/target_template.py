"""A target file to fill in: every key with its meaning and its allowed values, as the schema has them."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct, inspect

from edgekit.errors import TargetError
from edgekit.target import TABLES, Target, parent_of
from edgekit.target_files import TargetFile, known, same_file

_VARIED = ("processor", "memory", "budget")
"""Tables in which boards of one kind differ."""


@dataclass(frozen=True)
class Key:
    """One key of a table: what it means, the words it may have, and what stands there if nothing is said."""

    name: str
    meaning: str
    choices: tuple[str, ...]
    many: bool
    required: bool
    default: Any
    example: Any

    @property
    def told(self) -> str:
        """The meaning, with the allowed words."""
        words = ", ".join(f"`{choice}`" for choice in self.choices)
        return f"{self.meaning} {'Any' if self.many else 'One'} of {words}." if words else self.meaning


def keys(kind: type[Struct]) -> list[Key]:
    """The keys of a table in the order of the schema, without those that are tables themselves."""
    fields = inspect.type_info(kind).fields  # type: ignore[attr-defined]
    return [_key(field) for field in fields if isinstance(field.type, inspect.Metadata)]


def _key(field: inspect.Field) -> Key:
    assert isinstance(field.type, inspect.Metadata)
    said, inner = field.type.extra_json_schema or {}, _given(field.type.type)
    many = isinstance(inner, inspect.VarTupleType)
    item = _given(inner.item_type) if isinstance(inner, inspect.VarTupleType) else inner
    choices = tuple(map(str, item.values)) if isinstance(item, inspect.LiteralType) else ()
    default = None if field.default is msgspec.NODEFAULT else field.default
    example = said.get("examples", [default])[0]
    fixed = len(choices) == 1 and not many
    return Key(field.name, said["description"], () if fixed else choices, many, field.required, default, example)


def _given(kind: inspect.Type) -> inspect.Type:
    """The type of a value that is there: without null, and without words about it."""
    if isinstance(kind, inspect.Metadata):
        return _given(kind.type)
    if isinstance(kind, inspect.UnionType):
        return _given(next(one for one in kind.types if not isinstance(one, inspect.NoneType)))
    return kind


def template(name: str, file: TargetFile) -> str:
    """A whole target file with all keys: the required ones empty, to be filled in, the others commented out.

    `file` is where it will be.

    Raises TargetError for a name that is none, or is taken.
    """
    _refuse_name(name, file)
    top = [_lines(key, name if key.name == "name" else None) for key in keys(Target) if key.name != "sources"]
    tables = [_table(table, kind) for table, kind in TABLES.items()]
    intro = _comment(
        f'Fill in every "" and []: `edgekit targets validate {file}` names the next one. Remove the # of what you '
        "know, and say under [sources] where each claim comes from. A claim that nobody could verify is left out."
    )
    return "\n\n".join([intro, *top, *tables, _sources_table([*TABLES], ("memory", "budget"))]) + "\n"


def variation(name: str, extends: str, file: TargetFile) -> str:
    """A target file that says only in what a board differs from another one; `file` is where it will be.

    Raises TargetError for a name that is none or is taken, and for a target that cannot be extended.
    """
    _refuse_name(name, file)
    parent = parent_of(extends, file)
    intro = _comment(
        f'All that is not said here is as in {extends!r}: `edgekit targets show {extends}`. Fill in every "". Remove '
        "the # of what differs, and say under [sources] where each changed claim comes from. Other keys and tables may "
        "stand here, too."
    )
    given = {"extends": extends, "name": name, "title": ""}
    meant = {key.name: key for key in keys(Target)}
    top = [_lines(meant[key], value) for key, value in given.items()]
    top.append(f"{_comment(meant['notes'].told)}\nnotes = []  # in place of those of the other board")
    tables = [_varied(table, TABLES[table], getattr(parent, table)) for table in _VARIED]
    return "\n\n".join([intro, *top, *tables, _sources_table(_VARIED, _VARIED)]) + "\n"


def _refuse_name(name: str, file: TargetFile) -> None:
    pattern = msgspec.json.schema(Target)["$defs"]["Target"]["properties"]["name"]["pattern"]
    if not re.fullmatch(pattern, name):
        raise TargetError(f"{name!r} is no name for a target", "use small letters, digits and `-`")
    if taken := next((one for one in known() if one.name == name and not same_file(one, file)), None):
        raise TargetError(f"target {name!r} exists already: {taken.path}", "choose another name")


def _table(table: str, kind: type[Struct]) -> str:
    return "\n".join([_head(table, kind), *map(_lines, keys(kind))])


def _varied(table: str, kind: type[Struct], like: Struct) -> str:
    """A table with every key commented out, and the value that it has in another target."""
    plain = msgspec.to_builtins(like)
    return "\n".join([_head(table, kind), *(_optional(key, plain[key.name]) for key in keys(kind))])


def _head(table: str, kind: type[Struct]) -> str:
    return f"{_comment(kind.__doc__ or '')}\n[{table}]"


def _lines(key: Key, value: str | None = None) -> str:
    if value is not None:
        return f"{_comment(key.told)}\n{key.name} = {_toml(value)}"
    if key.required:
        return f"{_comment(key.told)}\n{key.name} = {'[]' if key.many else _toml('')}"
    return _optional(key, key.default)


def _optional(key: Key, value: Any) -> str:
    told = f"{key.told} Open; for example:" if value is None else key.told
    return f"{_comment(told)}\n# {key.name} = {_toml(key.example if value is None else value)}"


def _sources_table(asked: Sequence[str], optional: Sequence[str]) -> str:
    (key,) = (key for key in keys(Target) if key.name == "sources")
    lines = [f'{"# " if table in optional else ""}{table} = ""' for table in asked]
    return "\n".join([f"{_comment(key.told)}\n[sources]", *lines])


def _comment(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
