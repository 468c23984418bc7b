"""Strict TOML: a file becomes a frozen value, or an error that names the file, the line and the mend."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from edgekit.errors import InputError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - exercised on Python 3.10 only
    import tomli as tomllib

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

T = TypeVar("T")
Tables = dict[str, Any]

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*?)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>.*?)`")
_CHOICE = re.compile(r"Invalid (?:enum )?value '(?P<value>.*?)'")
_PATH = re.compile(r" - at `\$(?P<path>.*?)`$")


def load(
    path: Path | Traversable, kind: type[T], error: type[InputError], complete: Callable[[Tables], Tables] | None = None
) -> T:
    """Read `path` as a `kind`; raise `error` naming file and line for anything that does not fit.

    `complete` may add to what the file says before it is held against the kind.
    """
    text, name = _read(path, error), str(path)
    tables = _parsed(text, error, name)
    return _converted(complete(tables) if complete else tables, kind, text, error, name)


def _read(path: Path | Traversable, error: type[InputError]) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows begin files with a mark
    except OSError as cause:
        raise error(f"{path}: {cause.strerror}", "check the path and its permissions") from None
    except UnicodeDecodeError:
        raise error(f"{path}: not a text file", "give a TOML file in UTF-8") from None
    except ValueError as cause:  # a path with a zero byte
        raise error(f"{str(path)!r}: {cause}", "check the path") from None


def loads(text: str, kind: type[T], error: type[InputError], name: str = "<text>") -> T:
    """Like `load`, from a string; `name` stands for the file in messages."""
    return _converted(_parsed(text, error, name), kind, text, error, name)


def _parsed(text: str, error: type[InputError], name: str) -> Tables:
    try:
        return tomllib.loads(text)
    except ValueError as cause:  # TOMLDecodeError, or a number of thousands of digits
        raise error(f"{name}: not valid TOML: {cause}", "correct what is named above") from None
    except RecursionError:
        raise error(f"{name}: arrays nested too deeply", "give a file of the documented keys only") from None


def _converted(
    data: Any, kind: type[T], text: str, error: type[InputError], name: str, table: tuple[str, ...] = ()
) -> T:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as cause:
        raise _explained(cause, text, kind, error, name, table) from None


def load_tables(path: Path, kind: type[T], error: type[InputError]) -> dict[str, T]:
    """Read a file of tables with names of the user's, each a `kind`: {name: value}. Raises what `load` raises."""
    text = _read(path, error)
    tables = _parsed(text, error, str(path))
    return {name: _converted(table, kind, text, error, str(path), (name,)) for name, table in tables.items()}


def dumps(value: msgspec.Struct) -> str:
    """TOML of a frozen value, without keys that are null; `loads` gives the same value back."""
    import tomli_w

    return tomli_w.dumps(_without_nulls(msgspec.to_builtins(value)))


def parse_value(text: str) -> Any:
    """A TOML value (`[1, 2]`, `true`, `0.5`, `"text"`) where `text` is one, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def json_schema(kind: type) -> dict[str, Any]:
    """JSON schema of a kind of file, for editors: the same with every Python, of which 3.13 indents docstrings less."""
    schema: dict[str, Any] = _outdented(msgspec.json.schema(kind))
    return schema


def _outdented(value: Any) -> Any:
    if isinstance(value, list):
        return [_outdented(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: inspect.cleandoc(one) if key == "description" and isinstance(one, str) else _outdented(one)
        for key, one in value.items()
    }


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def _explained(
    cause: Exception, text: str, kind: type, error: type[InputError], name: str, table: tuple[str, ...]
) -> InputError:
    message = str(cause)
    found = _PATH.search(message)
    path = [part for part in re.split(r"[.\[\]]+", found["path"] if found else "") if part]
    plain = _PATH.sub("", message)
    if unknown := _UNKNOWN.search(message):
        line = _line_of(text, [*table, *path, unknown["key"]])
        mend = did_you_mean(unknown["key"], _fields_at(kind, path))
        return error(f"{name}:{line}: unknown key {unknown['key']!r}", mend)
    if missing := _MISSING.search(message):
        line = _line_of(text, [*table, *path])
        return error(f"{name}:{line}: missing key {missing['key']!r}", f"add `{missing['key']} = ...` here")
    mend = "correct this value"
    if wrong := _CHOICE.search(message):
        mend = did_you_mean(wrong["value"], _choices_at(kind, path))
    place = [*table, *path]
    return error(f"{name}:{_line_of(text, place)}: {'.'.join(place) or 'file'}: {plain}", mend)


def _line_of(text: str, path: list[str]) -> int:
    """Line of the deepest part of `path` that the text spells out; 1 where it spells none."""
    table: list[str] = []
    best, best_depth = 1, 0
    wanted = [part for part in path if not part.isdigit() and part != "..."]
    index = next((int(part) for part in path if part.isdigit()), 0)
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if header := re.match(r"\[\[?\s*(.+?)\s*\]\]?", stripped):
            table = _key_parts(header[1])
            if stripped.startswith("[["):
                seen[header[1]] = seen.get(header[1], -1) + 1
            here = table
        elif key := re.match(r"((?:[\w.-]|\"[^\"]*\"|'[^']*')+)\s*=", stripped):
            here = table + _key_parts(key[1])
        else:
            continue
        if seen.get(".".join(table), index) != index:
            continue
        depth = len(here) if wanted[: len(here)] == here else 0
        if depth > best_depth:
            best, best_depth = number, depth
    return best


def _key_parts(key: str) -> list[str]:
    return [quoted.strip("\"'") for quoted in re.findall(r"\"[^\"]*\"|'[^']*'|[^.\s]+", key)]


def _fields_at(kind: Any, path: list[str]) -> set[str]:
    """Names that the schema allows at `path`."""
    return {name for node in _nodes_at(kind, path) for name in node.get("properties", {})}


def _choices_at(kind: Any, path: list[str]) -> set[str]:
    """Words that the schema allows as the value at `path`."""
    return {str(value) for node in _nodes_at(kind, path) for value in node.get("enum", ())}


def _nodes_at(kind: Any, path: list[str]) -> list[dict[str, Any]]:
    """Parts of the schema that `path` may mean, following references and unions."""
    schema = json_schema(kind)
    definitions = schema.get("$defs", {})

    def options(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in node:
            return options(definitions[node["$ref"].rsplit("/", 1)[1]])
        return [leaf for item in node.get("anyOf", []) for leaf in options(item)] or [node]

    nodes = options(schema)
    for part in path:
        if part.isdigit() or part == "...":
            steps = [node.get("items") or {} for node in nodes]
        else:
            steps = [node.get("properties", {}).get(part, {}) for node in nodes]
        nodes = [leaf for step in steps for leaf in options(step)]
    return nodes
