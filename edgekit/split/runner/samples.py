"""Samples from files: arrays of the numbers that the model stores, one file an input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .contract import Plan, Port
from .problem import DAMAGE, INPUT, Problem

Array = Any


def read_samples(paths: Sequence[Path], plan: Plan) -> list[Array]:
    """An array `[samples, *shape]` for each input, mapped, not read. Raises Problem for what does not fit."""
    if len(paths) != len(plan.inputs):
        names = ", ".join(port.name for port in plan.inputs)
        raise Problem(f"{len(paths)} files for {len(plan.inputs)} inputs", f"give one .npy each for {names}", INPUT)
    found = [_fitted(_loaded(path), port, path) for path, port in zip(paths, plan.inputs)]
    if len({len(array) for array in found}) > 1:
        counts = ", ".join(f"{path.name} {len(array)}" for path, array in zip(paths, found))
        raise Problem(f"unlike numbers of samples: {counts}", "give the same number for each input", INPUT)
    return found


def each(arrays: Sequence[Array]) -> Iterator[list[Array]]:
    """One sample after the other."""
    for index in range(len(arrays[0])):
        yield [array[index] for array in arrays]


def write_outputs(path: Path, outputs: Sequence[Sequence[Array]], plan: Plan) -> None:
    """`output0`, `output1`, ... `[samples, *shape]` as stored, in one .npz; whole or not at all. Raises Problem."""
    arrays = {f"output{place}": np.stack([one[place] for one in outputs]) for place in range(len(plan.outputs))}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)
    except OSError as cause:
        partial.unlink(missing_ok=True)
        raise Problem(f"{path}: {cause.strerror}", "free some space, or give another place", INPUT) from None


def _loaded(path: Path) -> Array:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGE as cause:
        raise Problem(f"{path}: {cause}", "give a .npy file", INPUT) from None


def _fitted(array: Array, port: Port, path: Path) -> Array:
    """The samples in the port's shape; a sample may leave out a batch of one."""
    kind = getattr(array, "dtype", None)
    if kind != np.dtype(port.dtype):
        mend = f"give {port.dtype}: the numbers that the model stores"
        raise Problem(f"{path}: values of type {kind}, {port.name!r} takes {port.dtype}", mend, INPUT)
    short = port.shape[1:] if port.shape[:1] == (1,) else port.shape
    if array.ndim and len(array) and array.shape[1:] in (port.shape, short):
        return array.reshape(len(array), *port.shape)
    wanted = f"[n, {', '.join(map(str, port.shape))}]"
    raise Problem(f"{path}: shape {list(array.shape)}", f"give {wanted} for n samples, n at least 1", INPUT)
