"""Open a TFLite flatbuffer that may be hostile: every fault becomes a ModelError, no length is believed.

Vectors and texts may share their bytes, so a small file can claim any number of elements: `Room` bounds what is read.

The field layout is that of the TensorFlow Lite schema, version 3; the accessors come from the `tflite` package.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from edgekit.errors import ModelError
from edgekit.magic import ZIP
from edgekit.tflite.artifact_folder import is_artifact, tflite_path

T = TypeVar("T")

_IDENTIFIER = b"TFL3"
_MOST_ELEMENTS = 2**60
_MOST_DIMENSIONS = 64
_SHARED = 4  # writers may store equal texts and vectors once
_LEAST_ROOM = 1 << 16
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, UnicodeDecodeError, OverflowError, AttributeError)


def label_of(source: bytes | bytearray | str | Path) -> str:
    """What a model is called in errors: its path, or `model` where it is in memory."""
    return str(source) if isinstance(source, str | Path) else "model"


def read_bytes(source: bytes | bytearray | str | Path) -> bytes | bytearray:
    """The bytes of a model, from memory, a file or an artifact's folder. Raises ModelError if it cannot be read."""
    if not isinstance(source, str | Path):
        return source
    source = tflite_path(Path(source))
    try:
        if source.is_char_device() or source.is_block_device():
            raise ModelError(f"{source}: a device, not a file", "give a .tflite file")
        return source.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{source}: no such file", "check the path") from None
    except OSError as cause:
        raise ModelError(f"{source}: {cause.strerror}", "give a .tflite file that can be read") from None


def is_tflite(path: Path) -> bool:
    """Whether a file is TFLite by its content, or, where there is none, by its name; true for an artifact's folder."""
    if is_artifact(path):
        return True
    if not path.is_file():
        return path.suffix.lower() == ".tflite" and not path.is_dir()
    with path.open("rb") as file:
        return file.read(8)[4:] == _IDENTIFIER


def open_model(data: bytes | bytearray, name: str = "model") -> Any:
    """The root table of a TFLite file. Raises ModelError if these bytes are none."""
    refuse_others(data, name)
    from tflite.Model import Model

    with damage_named(name):
        return Model.GetRootAs(data, 0)


def refuse_others(data: bytes | bytearray, name: str = "model") -> None:
    """Raise ModelError for bytes that do not even begin as a TFLite file does."""
    if not data:
        raise ModelError(f"{name}: the file is empty", "export it again; the writer was probably interrupted")
    if data[:4] == ZIP:
        raise ModelError(
            f"{name}: not a TFLite file, but a zip",
            "unzip a bundle of .tflite files, and give one of them; of a .keras file `edgekit optimize` makes one",
        )
    if len(data) < 8 or bytes(data[4:8]) != _IDENTIFIER:
        raise ModelError(
            f"{name}: not a TFLite file (bytes 4 to 8 are {bytes(data[4:8])!r}, not {_IDENTIFIER!r})",
            "give a .tflite file; `edgekit optimize` makes one from a Keras model",
        )


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Turn whatever a damaged flatbuffer provokes into one ModelError that names the file."""
    try:
        yield
    except _DAMAGE as cause:
        raise ModelError(
            f"{name}: damaged or truncated TFLite file ({type(cause).__name__}: {cause})",
            "copy or export it again, and compare checksums",
        ) from cause


class Room:
    """How much may be read of a file of `size` bytes: as many bytes of vectors and texts as it has, a few times."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._left = _SHARED * size + _LEAST_ROOM

    def take(self, count: int) -> None:
        """Note that `count` bytes are read. Raises ValueError where that is more than an honest file has."""
        self._left -= count
        if self._left < 0:
            raise ValueError(f"its parts are shared so often that they exceed {_SHARED} times its {self.size} bytes")

    def items(self, length: Callable[[], int], get: Callable[[int], T]) -> Iterator[T]:
        """The elements of a vector of tables; refuses a length that the file cannot hold."""
        count = length()
        if count * 4 > self.size:
            raise ValueError(f"a vector claims {count} elements in a file of {self.size} bytes")
        self.take(count * 4)
        return map(get, range(count))

    def indices(self, length: Callable[[], int], get: Callable[[int], int]) -> tuple[int, ...]:
        """The elements of a vector of numbers, with the same refusal."""
        return tuple(int(index) for index in self.items(length, get))

    def numbers(self, array: Any) -> Any:
        """A vector of numbers as an array; empty where it is absent."""
        found = vector(array)
        self.take(len(found) * 4)
        return found

    def shape(self, array: Any) -> tuple[int, ...]:
        """A shape of the file; refuses one of more elements than any memory has, and of more dimensions than any."""
        sizes = tuple(int(size) for size in self.numbers(array)[: _MOST_DIMENSIONS + 1])
        if len(sizes) > _MOST_DIMENSIONS or bounded_product(sizes) > _MOST_ELEMENTS:
            raise ValueError(f"a tensor claims {len(vector(array))} dimensions of up to {max(sizes)}")
        return sizes

    def text(self, value: bytes | None) -> str:
        """A string of the file; empty where it is absent."""
        self.take(len(value or b""))
        return text(value)


def vector(array: Any) -> Any:
    """An absent vector reads as the integer 0 in the accessors; make it an empty list."""
    return array if hasattr(array, "__len__") else []


def text(value: bytes | None) -> str:
    """A string of the file; empty where it is absent."""
    return value.decode("utf-8", "replace") if value else ""


def operator_name(code: Any) -> str:
    """Name of an operator code: the custom one, or the schema's."""
    number = operator_number(code)
    return text(code.CustomCode()) or operator_names().get(number, f"BUILTIN_{number}")


def operator_number(code: Any) -> int:
    """Builtin operator of an operator code: the larger of its two fields, as the runtime reads it.

    The accessor of the newer field gives the older one for numbers below 127, and files exist that fill the newer only.
    """
    table = code._tab
    place = table.Offset(10)  # field 3 of `OperatorCode`, `builtin_code`
    newer = struct.unpack_from("<i", table.Bytes, place + table.Pos)[0] if place else 0
    return max(newer, int(code.DeprecatedBuiltinCode()))


def buffer_span(model: Any, index: int, limit: int) -> tuple[int, int] | None:
    """Where a buffer's data lies in the file, as (offset, size) in bytes; None if it holds none.

    Data is inside the table, or (schema 3c) behind the flatbuffer at an absolute offset above 1.
    """
    if not 0 < index < model.BuffersLength():
        return None
    buffer = model.Buffers(index)
    offset, size = buffer.Offset(), buffer.Size()
    if offset <= 1:
        size = buffer.DataLength()
        if not size:
            return None
        offset = buffer._tab.Vector(buffer._tab.Offset(4))  # field 0 of `Buffer`; no accessor gives its place
    if offset + size > limit:
        raise ValueError(f"buffer {index} ends at byte {offset + size} of {limit}")
    return offset, size


def has_data(model: Any, index: int) -> bool:
    """Whether a buffer has a vector of data, even one of no bytes: then the runtime takes its tensor for a constant."""
    return 0 < index < model.BuffersLength() and bool(model.Buffers(index)._tab.Offset(4))


def bounded_product(shape: tuple[int, ...]) -> int:
    """Number of elements of a shape; unknown dimensions count as one."""
    total = 1
    for size in shape:
        total *= max(size, 1)
    return total


@cache
def operator_names() -> dict[int, str]:
    """Builtin operator code -> schema name, such as `CONV_2D`."""
    from tflite.BuiltinOperator import BuiltinOperator

    return _names(BuiltinOperator)


@cache
def union_names(union: str) -> dict[int, str]:
    """Code in a union of the schema (`BuiltinOptions`, `BuiltinOptions2`) -> name of the table."""
    return _names(getattr(import_module(f"tflite.{union}"), union))


@cache
def type_names() -> dict[int, str]:
    """Tensor type code -> numpy-like name, such as `float32`, `int8`, `string`."""
    from tflite.TensorType import TensorType

    return {code: name.lower() for code, name in _names(TensorType).items()}


def _names(enumeration: type) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if not name.startswith("_")}
