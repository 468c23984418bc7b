"""`.npz` archives: arrays under the keys x, y, x_train, y_test, x_train.<input>, y_train.<output>, groups."""

from __future__ import annotations

import math
import re
import tokenize
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgekit.data.raw import Raw, RawPart, check_memory
from edgekit.errors import DataError, did_you_mean
from edgekit.magic import ZIP_DAMAGE

Array = npt.NDArray[Any]

PART_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "calibration": "calibration",
    "test": "test",
}
_KEY = re.compile(r"(?P<letter>x|y|groups)(?:_(?P<part>[a-z]+))?(?:\.(?P<name>.+))?")
_KNOWN = ("x", "y", *(f"{letter}_{part}" for letter in "xy" for part in ("train", "val", "calibration", "test")))
_MOST_DEFLATED = 1040  # deflate packs at most 1032 bytes into one
NO_HEADER = (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError, tokenize.TokenError)
"""What the header of a `.npy` that is none makes numpy raise, which parses it as Python."""


def load_npz(path: Path) -> Raw:
    """Read the parts in an archive. Raises DataError for keys with no meaning, and what `read_arrays` raises."""
    return Raw(parts_by_key(read_arrays(path), str(path)))


def read_arrays(path: Path, stream: IO[bytes] | None = None) -> dict[str, Array]:
    """The arrays of an archive by name, without unpickling anything and without believing its headers.

    The bytes are those of `stream` where no file has them. Raises DataError for damaged archives, object arrays and
    sizes that cannot be true.
    """
    try:
        with zipfile.ZipFile(stream or path) as archive:
            for entry in archive.infolist():
                _check_entry(path, entry)
            check_memory(str(path), sum(entry.file_size for entry in archive.infolist()))
            return {entry.filename.removesuffix(".npy"): _array(path, archive, entry) for entry in archive.infolist()}
    except (*ZIP_DAMAGE, ValueError) as cause:
        raise DataError(f"{path}: damaged or truncated archive: {cause}", "write it again with numpy.savez") from None
    except OSError as cause:
        raise DataError(f"{path}: {cause.strerror or cause}", "check the file and its permissions") from None


def parts_by_key(arrays: Mapping[str, Array], source: str) -> dict[str, RawPart]:
    """Parts for arrays named as in an archive. Raises DataError for a key that has no meaning."""
    found: dict[str, dict[str, dict[str, Array]]] = {}
    for key, array in arrays.items():
        match = _KEY.fullmatch(key)
        part = PART_WORDS.get(match["part"], "") if match and match["part"] else "all"
        if not match or not part:
            raise DataError(f"{source}: key {key!r} has no meaning here", did_you_mean(key, _KNOWN))
        columns, name = found.setdefault(part, {}).setdefault(match["letter"], {}), match["name"] or ""
        if columns and "" in {*columns, name}:
            raise DataError(f"{source}: key {key!r} says again what another key says", "keep one of them")
        columns[name] = array
    if "all" in found and len(found) > 1:
        raise DataError(f"{source}: has both split and unsplit data: {sorted(arrays)}", "keep x and y, or the parts")
    for part, letters in found.items():
        if "x" not in letters:
            raise DataError(
                f"{source}: {part} has labels and no inputs", f"add {'x' if part == 'all' else 'x_' + part}"
            )
    return {part: _raw_part(columns) for part, columns in found.items()}


def _raw_part(columns: dict[str, dict[str, Array]]) -> RawPart:
    return RawPart(columns["x"], columns.get("y", {}), next(iter(columns.get("groups", {}).values()), None))


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    if entry.is_dir() or not entry.filename.endswith(".npy"):
        raise DataError(f"{path}: holds {entry.filename!r}, which is no array", "write it with numpy.savez")
    if entry.file_size > _MOST_DEFLATED * entry.compress_size + 1024:
        raise DataError(f"{path}: {entry.filename} claims more than its bytes can hold", "do not trust this file")


def _array(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as stream:
        try:
            shape, fortran, dtype = read_header(stream)
        except NO_HEADER as cause:
            raise DataError(f"{path}: {entry.filename}: not an array: {cause}", "write it with numpy.savez") from None
        if dtype.hasobject:
            raise DataError(
                f"{path}: {entry.filename} holds Python objects (a pickle), which could run code",
                "save plain numbers, for example x.astype('float32'); text: y.astype(str)",
            )
        count = math.prod(shape) * dtype.itemsize
        if stream.tell() + count != entry.file_size:
            raise DataError(
                f"{path}: {entry.filename} claims shape {shape} of {dtype}, which its {entry.file_size} bytes are not",
                "write the file again; it is truncated or forged",
            )
        try:
            flat = np.frombuffer(stream.read(count), dtype)
            return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
        except ValueError as cause:
            raise DataError(f"{path}: {entry.filename}: {cause}", "write it with numpy.savez") from None


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of a `.npy`, from its start. Raises one of NO_HEADER for what is none."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)
