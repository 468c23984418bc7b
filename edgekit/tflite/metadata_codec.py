"""Between the tables of `metadata_schema` and a flatbuffer: the annotations of the fields say how each is stored.

A field takes one slot of its table, a union two (the number of the choice, then its table). Format: FlatBuffers
internals, https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from edgekit.tflite.metadata_schema import ModelMetadata

_IDENTIFIER = b"M001"

T = TypeVar("T", bound=Struct)


class _Field(NamedTuple):
    name: str
    slot: int
    kind: Literal["string", "bytes", "enum", "union", "table", "vector", "int32", "uint32", "float32"]
    of: Any = None  # the names of an enum, the tables of a union, the table, or the field of an element


def decode(data: bytes) -> ModelMetadata:
    """The metadata in a flatbuffer. Raises what a damaged flatbuffer provokes, and ValueError for a newer schema."""
    from flatbuffers.table import Table

    if data[4:8] != _IDENTIFIER:
        raise ValueError(f"the metadata begin with {data[4:8]!r}, not {_IDENTIFIER!r}")
    root = Table(data, 0)
    return _Reader(len(data)).table(Table(data, root.Indirect(0)), ModelMetadata)


def encode(metadata: ModelMetadata) -> bytes:
    """The flatbuffer of metadata; equal metadata give equal bytes."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, metadata), _IDENTIFIER)
    return bytes(builder.Output())


@cache
def _fields(table: type[Struct]) -> tuple[_Field, ...]:
    slot, found = 0, []
    for name, hint in get_type_hints(table, include_extras=True).items():
        found.append(_field(name, slot + _is_union(hint), hint))
        slot = found[-1].slot + 1
    return tuple(found)


def _tables_of(hint: Any) -> list[Any]:
    """The tables of `A | B | None`; empty for other annotations."""
    return [kind for kind in get_args(hint) if kind is not type(None)] if _origin(hint) is Union else []


def _origin(hint: Any) -> Any:
    origin = get_origin(hint)
    return Union if origin is types.UnionType else origin


def _is_union(hint: Any) -> bool:
    return len(_tables_of(hint)) > 1


def _field(name: str, slot: int, hint: Any) -> _Field:
    if _origin(hint) is Annotated:
        return _Field(name, slot, "uint32")
    if _origin(hint) is Literal:
        return _Field(name, slot, "enum", get_args(hint))
    if _origin(hint) is tuple:
        return _Field(name, slot, "vector", _field(name, 0, get_args(hint)[0]))
    if choices := _tables_of(hint):
        return _Field(name, slot, "union", choices) if len(choices) > 1 else _Field(name, slot, "table", choices[0])
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _Field(name, slot, "table", hint)
    plain: dict[Any, Any] = {str: "string", bytes: "bytes", int: "int32", float: "float32"}
    return _Field(name, slot, plain[hint])


@dataclass
class _Reader:
    """Reads tables; `left` is how many elements may still be read, since vectors can share theirs and multiply."""

    left: int

    def table(self, table: Any, kind: type[T]) -> T:
        self._spend(1)
        fields = _fields(kind)
        self._refuse_newer(table, kind, fields)
        values = {field.name: self._value(table, field) for field in fields if table.Offset(_place(field.slot))}
        return kind(**{name: value for name, value in values.items() if value is not None})

    def _value(self, table: Any, field: _Field) -> Any:
        at = table.Pos + table.Offset(_place(field.slot))
        if field.kind == "union":
            number = table.GetSlot(_place(field.slot - 1), 0, _flags("uint8"))
            return self._item(table, at, field._replace(kind="table", of=_choice(field, number))) if number else None
        return self._item(table, at, field)

    def _item(self, table: Any, at: int, field: _Field) -> Any:
        if field.kind == "string":
            return self._bytes(table, table.Indirect(at)).decode("utf-8", "replace")
        if field.kind == "bytes":
            return self._bytes(table, table.Indirect(at))
        if field.kind == "table":
            return self.table(type(table)(table.Bytes, table.Indirect(at)), field.of)
        if field.kind == "vector":
            return self._vector(table, table.Indirect(at), field.of)
        if field.kind == "enum":
            return _named(field, table.Get(_flags("uint8"), at))
        return table.Get(_flags(field.kind), at)

    def _vector(self, table: Any, start: int, element: _Field) -> tuple[Any, ...]:
        count = table.Get(_flags("uint32"), start)
        self._spend(count)
        return tuple(self._item(table, start + 4 + 4 * index, element) for index in range(count))

    def _bytes(self, table: Any, start: int) -> bytes:
        size = table.Get(_flags("uint32"), start)
        self._spend(1 + size // 64)
        if start + 4 + size > len(table.Bytes):
            raise ValueError(f"a text of {size} bytes in metadata of {len(table.Bytes)}")
        return bytes(table.Bytes[start + 4 : start + 4 + size])

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError("the metadata claim more elements than they have bytes")

    def _refuse_newer(self, table: Any, kind: type[Struct], fields: tuple[_Field, ...]) -> None:
        """Writing it back would lose what is not known."""
        size = table.Get(_flags("uint16"), table.Pos - table.Get(_flags("int32"), table.Pos))
        known = fields[-1].slot + 1 if fields else 0
        if any(table.Offset(_place(slot)) for slot in range(known, (size - 4) // 2)):
            raise ValueError(f"{kind.__name__} has a field that schema 1.5.0 does not have")


def _place(slot: int) -> int:
    """Where a slot is in a table's vtable, which begins with two sizes."""
    return 4 + 2 * slot


@cache
def _flags(kind: str) -> Any:
    from flatbuffers import number_types

    return getattr(number_types, f"{kind.capitalize()}Flags")


def _choice(field: _Field, number: int) -> type[Struct]:
    if number > len(field.of):
        raise ValueError(f"{field.name} is choice {number} of {len(field.of)} in schema 1.5.0")
    return field.of[number - 1]  # type: ignore[no-any-return]


def _named(field: _Field, number: int) -> str:
    if number >= len(field.of):
        raise ValueError(f"{field.name} has value {number}; schema 1.5.0 has {len(field.of)}")
    return str(field.of[number])


def _write_table(builder: Any, table: Struct) -> int:
    """Offsets first, then the table: a flatbuffer does not nest."""
    fields = _fields(type(table))
    filled = [(field, value) for field in fields if (value := getattr(table, field.name)) not in (None, "", (), b"")]
    ready = [(field, value, _write_offset(builder, field, value)) for field, value in filled]
    builder.StartObject(fields[-1].slot + 1 if fields else 0)
    for field, value, offset in ready:
        if field.kind == "union":
            builder.PrependUint8Slot(field.slot - 1, field.of.index(type(value)) + 1, 0)
        if offset is not None:
            builder.PrependUOffsetTRelativeSlot(field.slot, offset, 0)
        elif field.kind == "enum":
            builder.PrependUint8Slot(field.slot, field.of.index(value), 0)
        else:
            getattr(builder, f"Prepend{field.kind.capitalize()}Slot")(field.slot, value, 0)
    return int(builder.EndObject())


def _write_offset(builder: Any, field: _Field, value: Any) -> int | None:
    """Write what a table only points to; None for what it holds itself."""
    if field.kind == "string":
        return int(builder.CreateString(value))
    if field.kind == "bytes":
        return _write_bytes(builder, value)
    if field.kind in ("table", "union"):
        return _write_table(builder, value)
    return _write_vector(builder, field.of, value) if field.kind == "vector" else None


def _write_vector(builder: Any, element: _Field, values: tuple[Any, ...]) -> int:
    offsets = [_write_offset(builder, element, value) for value in values]
    builder.StartVector(4, len(values), 4)
    prepend: Callable[[Any], None] = (
        getattr(builder, f"Prepend{element.kind.capitalize()}")
        if element.kind in ("int32", "uint32", "float32")
        else builder.PrependUOffsetTRelative
    )
    for value, offset in reversed(list(zip(values, offsets, strict=True))):
        prepend(value if offset is None else offset)
    return int(builder.EndVector())


def _write_bytes(builder: Any, data: bytes) -> int:
    """The schema wants these bytes on a 16-byte boundary."""
    builder.StartVector(1, len(data), 16)
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return int(builder.EndVector())
