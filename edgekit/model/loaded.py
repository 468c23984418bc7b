"""What a loaded model is, whatever file it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgekit.errors import DataError, RunError
from edgekit.model.line import line_of
from edgekit.tf import import_keras, import_tensorflow

Kind = Literal["keras", "saved_model", "tflite"]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: `shape` has the batch axis first and None where it is open; `dtype` as numpy names it.

    `alias` is what the signature of a `.tflite` calls it; empty where there is none, or several.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    alias: str = field(default="", compare=False)


@dataclass(frozen=True)
class Model:
    """A model as it entered.

    `inputs` and `outputs` are in the order of `predict`: that of `keras.Model.inputs` (names sorted where the model
    takes a dictionary), names sorted for a SavedModel, the order of the file for TFLite. `signature` is how a
    SavedModel is called.
    """

    origin: str
    name: str
    kind: Kind
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    healed: tuple[str, ...]
    keras: Any | None
    path: Path | None
    signature: Callable[..., Any] | None = field(default=None, repr=False, compare=False)

    def predict(self, inputs: Sequence[np.ndarray[Any, Any]], batch_size: int = 64) -> list[np.ndarray[Any, Any]]:
        """The float reference: arrays `[samples, ...]` in the order of `inputs` give arrays in the order of `outputs`.

        A model whose batch axis is fixed runs in batches of that size. Raises DataError where the arrays do not fit.
        """
        arrays = self._fitting(inputs)
        if self.kind == "tflite":
            from edgekit.bench.run import infer

            assert self.path is not None  # kind == "tflite"
            return list(infer(self.path, arrays).outputs)
        size = self.inputs[0].shape[0] or batch_size
        samples = len(arrays[0])
        parts = [self._batch(arrays, start, size) for start in range(0, samples, size)]
        return [np.concatenate(part)[:samples] for part in zip(*parts, strict=True)]

    def _batch(self, arrays: list[np.ndarray[Any, Any]], start: int, size: int) -> list[np.ndarray[Any, Any]]:
        batch = [array[start : start + size] for array in arrays]
        short = size - len(batch[0])
        if short and self.inputs[0].shape[0]:
            batch = [np.concatenate([part, np.repeat(part[-1:], short, axis=0)]) for part in batch]
        errors = import_tensorflow().errors
        try:
            return self._run_keras(batch) if self.kind == "keras" else self._run_signature(batch)
        except (errors.OpError, ValueError) as cause:
            last = min(start + size, len(arrays[0])) - 1
            told = next((line for line in str(cause).splitlines() if "indices" in line), line_of(cause))
            raise RunError(
                f"{self.origin}: the float model fails on samples {start} to {last}: {told[:300]}",
                "give data in the range it was trained on; call it once in Python on these samples",
            ) from cause

    def pack(self, tensors: Sequence[Any]) -> Any:
        """Tensors in the order of `inputs`, as the Keras model takes them: one, a list or a dictionary."""
        keras, model = import_keras(), self.keras
        assert model is not None  # kind == "keras"
        return (
            tensors[0] if isinstance(model, keras.Sequential) else keras.tree.pack_sequence_as(model.input, [*tensors])
        )

    def _run_keras(self, batch: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        keras, model = import_keras(), self.keras
        assert model is not None  # kind == "keras"
        return [np.asarray(output) for output in keras.tree.flatten(model.predict_on_batch(self.pack(batch)))]

    def _run_signature(self, batch: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        assert self.signature is not None
        constant = import_tensorflow().constant
        results = self.signature(
            **{spec.name: constant(part, spec.dtype) for spec, part in zip(self.inputs, batch, strict=True)}
        )
        return [results[spec.name].numpy() for spec in self.outputs]

    def _fitting(self, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        if len(inputs) != len(self.inputs):
            names = ", ".join(spec.name for spec in self.inputs)
            raise DataError(
                f"{self.origin} takes {len(self.inputs)} inputs ({names}), got {len(inputs)}",
                "give one array for each input, in this order",
            )
        for spec, array in zip(self.inputs, inputs, strict=True):
            _check_shape(spec, array, self.origin)
        if len({len(array) for array in inputs}) > 1:
            raise DataError(
                f"{self.origin}: the inputs have different numbers of samples: {[len(array) for array in inputs]}",
                "give arrays of one length",
            )
        if not len(inputs[0]):
            raise DataError(f"{self.origin}: no samples were given", "give at least one sample")
        return [np.asarray(array, _numpy_type(spec.dtype)) for spec, array in zip(self.inputs, inputs, strict=True)]


def _check_shape(spec: TensorSpec, array: np.ndarray[Any, Any], origin: str) -> None:
    wanted, found = spec.shape[1:], array.shape[1:]
    fits = len(wanted) == len(found) and all(w in (None, f) for w, f in zip(wanted, found, strict=True))
    if array.ndim == 0 or not fits:
        shape = [dimension or "any" for dimension in wanted]
        raise DataError(
            f"{origin}: input {spec.name!r} takes samples of shape {shape}, got {list(found)}",
            "reshape the data, or give the model it was made for",
        )


def _numpy_type(name: str) -> Any:
    return np.float32 if name == "bfloat16" else np.dtype(name)
