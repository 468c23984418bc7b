"""One loaded model that takes any number of samples."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .edgetpu import LIBRARY
from .problem import REFUSED, Problem
from .runtime import Runtime

Array = Any
_REFUSALS = (RuntimeError, ValueError, OSError, AttributeError)


class Model:
    """An interpreter. Raises Problem with what the runtime, or its delegate, says."""

    def __init__(
        self, runtime: Runtime, path: Path, unit: str, threads: int | None = None, xnnpack: bool = True
    ) -> None:
        self.runtime = runtime
        self._open = partial(_opened, runtime, path, unit, threads, xnnpack)
        self.reopen()

    def reopen(self) -> None:
        """Load the file anew: a state that earlier runs left is gone."""
        self._interpreter: Any = None  # lets an Edge TPU go before it is opened again
        self._interpreter = self._open()

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Outputs `[samples, ...]` for inputs `[samples, ...]`, each as stored, samples in their order."""
        samples = len(arrays[0]) if arrays else 1
        rows = self._prepare(arrays)
        step = max([1, *rows])
        starts = range(0, samples, step)
        runs = [self._once([_part(array, start, row) for array, row in zip(arrays, rows)]) for start in starts]
        return [_joined(pieces, step, samples) for pieces in zip(*runs)]

    def _prepare(self, arrays: Sequence[Array]) -> list[int]:
        """Fit inputs of open size to the samples; gives each input's samples of one run, 0 for one without the axis."""
        details = self._interpreter.get_input_details()
        rows = [int(d["shape"][0]) if len(d["shape"]) == array.ndim else 0 for d, array in zip(details, arrays)]
        for detail, array, row in zip(details, arrays, rows):
            shape = [row, *array.shape[1:]] if row else list(array.shape[1:])
            if shape != list(detail["shape"]):
                _asked("resize", self._interpreter.resize_tensor_input, detail["index"], shape)
        _asked("the model cannot be made ready", self._interpreter.allocate_tensors)
        return rows

    def _once(self, arrays: Sequence[Array]) -> list[Array]:
        for detail, array in zip(self._interpreter.get_input_details(), arrays):
            _asked("set an input", self._interpreter.set_tensor, detail["index"], array)
        _asked("the model cannot be run", self._interpreter.invoke)
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._interpreter.get_output_details()]


def _part(array: Array, first: int, rows: int) -> Array:
    """The samples of one run; the last one is filled up with its last sample."""
    if not rows:
        return array[first]
    part = array[first : first + rows]
    return np.concatenate([part, np.repeat(part[-1:], rows - len(part), axis=0)])


def _joined(pieces: Sequence[Array], step: int, samples: int) -> Array:
    leads = all(piece.ndim and len(piece) == step for piece in pieces)
    return np.concatenate(pieces)[:samples] if leads else np.stack(pieces)


def _opened(runtime: Runtime, path: Path, unit: str, threads: int | None, xnnpack: bool) -> Any:
    options: dict[str, Any] = {"model_path": str(path), "num_threads": threads}
    if unit == "edgetpu":
        options["experimental_delegates"] = [_edgetpu(runtime)]
    if not xnnpack:
        options["experimental_op_resolver_type"] = runtime.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return _asked(f"{path.name} cannot be loaded", runtime.module.Interpreter, **options)


def _edgetpu(runtime: Runtime) -> Any:
    """The delegate; the library is opened before, because runtimes print a traceback of their own without it."""
    _asked(f"{LIBRARY} cannot be loaded", ctypes.CDLL, LIBRARY)
    return _asked(f"{LIBRARY} does not open the Edge TPU", runtime.module.load_delegate, LIBRARY)


def _asked(what: str, call: Any, *words: Any, **named: Any) -> Any:
    try:
        return call(*words, **named)
    except _REFUSALS as cause:
        said = " ".join(str(cause).split()) or "it gives no reason"
        raise Problem(f"{what}: {said}", "see `info`, and what the runtime printed above", REFUSED) from None
