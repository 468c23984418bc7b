"""Raw: what every loader returns, and the checks that all data has to pass."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError
from edgekit.units import format_bytes

Array = npt.NDArray[Any]

CSV_SUFFIXES = (".csv", ".tsv", ".txt")
SUPPORTED = (
    "an .npz file, a folder with one folder of images for each class, a .csv file or a folder of them, "
    "module:function, or a data.toml that points at one of these"
)


@dataclass(frozen=True, eq=False)
class RawPart:
    """Arrays of one part by name of input and output (one without a name has the name ''), samples along axis 0."""

    inputs: dict[str, Array]
    labels: dict[str, Array] = field(default_factory=dict)
    groups: Array | None = None


@dataclass(frozen=True, eq=False)
class Raw:
    """Parts by name; the name `all` is for samples that nobody has split yet."""

    parts: dict[str, RawPart]
    class_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def check(raw: Raw) -> None:
    """Raise DataError for parts that are empty, ragged, of a wrong type, not finite, or unlike each other."""
    if not raw.parts:
        raise DataError("no data found", f"give {SUPPORTED}")
    for name, part in raw.parts.items():
        lengths = {key: len(x) if x.ndim else -1 for key, x in _columns(name, part).items()}
        if -1 in lengths.values():
            raise DataError(f"{_first(lengths, -1)} is a single number", "the first axis must be the samples")
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise DataError(f"samples do not match: {found}", "give every input and label of a part the same length")
        if 0 in lengths.values():
            raise DataError(f"{_first(lengths, 0)} has no samples", "drop the part, or put samples in it")
        for key, x in part.inputs.items():
            check_numbers(_column("x", name, key), x)
    _check_alike(raw.parts)


def check_numbers(name: str, x: Array) -> None:
    """Raise DataError where `x` is not made of finite numbers that float32 can hold."""
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name} has values of type {x.dtype}", "give numbers: floats, integers or booleans")
    if x.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        wrong = ~np.isfinite(x.astype(np.float32, copy=False))
    if count := int(np.count_nonzero(wrong)):
        index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), x.shape))
        raise DataError(
            f"{name} has {count} values that are NaN, infinite or beyond float32, the first at {list(index)}",
            "remove these samples or fill the gaps before edgekit sees them",
        )


def check_memory(name: str, count: int) -> None:
    """Raise DataError where `count` bytes are more than half of this machine's memory."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if count > limit:
        raise DataError(
            f"{name} would take {format_bytes(count)} of memory, more than half of what this machine has",
            "give fewer or smaller samples",
        )


def fingerprint(parts: Mapping[str, RawPart], settings: bytes) -> str:
    """sha256 of the settings and of name, type, shape and bytes of every array."""
    digest = hashlib.sha256(settings)
    for name, part in sorted(parts.items()):
        for key, x in _columns(name, part).items():
            digest.update(f"{key}:{x.dtype.str}:{x.shape};".encode())
            digest.update(np.ascontiguousarray(x).view(np.uint8).data if x.dtype.kind != "U" else x.tobytes())
    return digest.hexdigest()


def duplicate_warnings(parts: Mapping[str, RawPart]) -> tuple[str, ...]:
    """A sentence for each part that has samples, byte for byte, of the test part."""
    if "test" not in parts or len(parts) == 1:
        return ()
    test = _row_hashes(parts["test"])
    counts = {}
    for name, part in parts.items():
        seen = set(_row_hashes(part)) if name != "test" else set()
        counts[name] = sum(row in seen for row in test)
    return tuple(
        f"{count} of {len(test)} test samples are also in the {name} part: the test flatters the model"
        for name, count in counts.items()
        if count
    )


def _row_hashes(part: RawPart) -> list[bytes]:
    columns = [np.ascontiguousarray(x) for x in part.inputs.values()]
    rows = [x.view(np.uint8).reshape(len(x), -1) if x.size else x.reshape(len(x), 0) for x in columns]
    together = rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in together]


def _columns(name: str, part: RawPart) -> dict[str, Array]:
    columns = {_column("x", name, key): x for key, x in part.inputs.items()}
    columns |= {_column("y", name, key): y for key, y in part.labels.items()}
    return columns if part.groups is None else columns | {"groups": part.groups}


def _column(letter: str, part: str, key: str) -> str:
    return letter + ("" if part == "all" else f"_{part}") + (f".{key}" if key else "")


def _first(lengths: dict[str, int], wanted: int) -> str:
    return next(key for key, length in lengths.items() if length == wanted)


def _check_alike(parts: dict[str, RawPart]) -> None:
    labelled = {name: sorted(part.labels) for name, part in parts.items() if part.labels}
    if len({tuple(keys) for keys in labelled.values()}) > 1:
        raise DataError(f"parts have different labels: {labelled}", "give every part the same labels, or none")
    (first, model), *others = parts.items()
    for name, part in others:
        if part.inputs.keys() != model.inputs.keys():
            raise DataError(
                f"{first} has the inputs {sorted(model.inputs)}, {name} has {sorted(part.inputs)}",
                "give every part the same inputs",
            )
        for key, x in part.inputs.items():
            if x.shape[1:] != model.inputs[key].shape[1:]:
                raise DataError(
                    f"{_column('x', first, key)} has shape {model.inputs[key].shape}, "
                    f"{_column('x', name, key)} has {x.shape}",
                    "samples must have the same shape in every part",
                )
