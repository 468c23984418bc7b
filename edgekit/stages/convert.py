"""Convert a model to one float32 TFLite file, from which every quantized variant is made.

A Keras model is exported to a SavedModel with a static batch, then lowered by the TFLite converter. Inputs and outputs
keep the order and the names of the Keras model, which the converter alone would sort by name.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from edgekit.errors import ModelError, RecipeError
from edgekit.graph.macs import fixed_input
from edgekit.model import Model, TensorSpec
from edgekit.model.live import nested_layers
from edgekit.model.saved_model import serving_signature
from edgekit.stages.trained_ranges import without_rounding
from edgekit.tf import import_keras, import_tensorflow, quiet
from edgekit.tflite.inspect import inspect_model
from edgekit.tflite.metadata import with_files_of
from edgekit.tflite.surgery import with_contract, with_static_batch


class Convert(Struct, frozen=True, forbid_unknown_fields=True, tag="convert", tag_field="stage"):
    """Convert the model to a float32 TFLite file, once; every quantized variant is made from that file."""

    batch: Annotated[int, Meta(ge=1, le=65_536, description="Static batch size of the deployed file.")] = 1
    rewrite: Annotated[
        bool, Meta(description="Rewrite the finished file into operators that the target's runtime runs faster.")
    ] = True


@dataclass(frozen=True)
class Exported:
    """A SavedModel with one static signature, and the contract its TFLite files keep."""

    folder: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def lower(self, prepare: Callable[[Any], None] | None = None) -> bytes:
        """Run the TFLite converter; `prepare(converter)` may set its options first.

        Without it the file is float32, and rounding that the model was trained with becomes ranges noted in the file.

        Raises ModelError with the converter's reason where it refuses the model.
        """
        tf = import_tensorflow()
        converter = tf.lite.TFLiteConverter.from_saved_model(str(self.folder), signature_keys=["serving_default"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if prepare:
            prepare(converter)
        lowered = _converted(converter) if prepare else without_rounding(_converted(converter))
        return with_contract(lowered, _renamed(self.inputs), _renamed(self.outputs))


def export(model: Model, batch: int, folder: Path) -> Exported:
    """Write `model` (Keras or SavedModel) with the static batch size `batch` into `folder`, which must not exist.

    Raises ModelError if an input has an open dimension besides the batch.
    """
    tf = import_tensorflow()
    signature = _signature(model, batch)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (_export_keras if model.kind == "keras" else _export_saved_model)(model, signature, partial)
    except tf.errors.OpError as cause:  # how TensorFlow says what the file system refuses
        if not isinstance(cause, tf.errors.PermissionDeniedError) and "No space left" not in cause.message:
            raise
        code = errno.ENOSPC if "No space left" in cause.message else errno.EACCES
        raise OSError(code, os.strerror(code), str(partial)) from cause
    partial.rename(folder)
    return Exported(folder, model.inputs, model.outputs)


def lower_at_once(model: Model, batch: int) -> bytes:
    """The float32 file of a Keras model, without the SavedModel between: a quarter of the time, the same operators.

    It has no signature, so it is for looking at, not for shipping. Raises what `export` and `lower` raise.
    """
    tf = import_tensorflow()
    signature = _signature(model, batch)
    traced = tf.function(_serving(model), input_signature=signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return without_rounding(_converted(converter))


def _converted(converter: Any) -> bytes:
    """What the converter makes. Raises ModelError with its reason where it refuses."""
    try:
        with quiet():
            return bytes(converter.convert())
    except Exception as cause:  # the converter raises bare Exception subclasses of many kinds
        raise _conversion_error(cause) from cause


def take_tflite(model: Model, batch: int) -> bytes:
    """The float32 file that the user gave, checked. Raises ModelError or RecipeError if it cannot be a start."""
    assert model.path is not None  # kind == "tflite"
    data = model.path.read_bytes()
    summary = inspect_model(data, model.origin)
    if summary.numeric != "float32":
        raise ModelError(
            f"{model.origin}: already {summary.numeric}; post-training stages start from float32",
            "give the float32 file, or the Keras model it was made from",
        )
    if batch != 1 or any(size < 0 for tensor in summary.inputs for size in tensor.shape[1:]):
        raise RecipeError(
            f"{model.origin}: a .tflite keeps its shapes; this one cannot get another",
            "start from the Keras model to choose shapes",
        )
    return with_files_of(with_static_batch(data), data)


def static_shape(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    """Shape with the batch filled in. Raises ModelError if another dimension is open."""
    shape = (batch, *spec.shape[1:])
    if None in shape:
        raise ModelError(
            f"input {spec.name!r} has the shape {spec.shape}, with an open dimension besides the batch",
            fixed_input(spec.shape, spec.dtype),
        )
    return tuple(int(size) for size in shape if size is not None)


def _export_keras(model: Model, signature: list[Any], workspace: Path) -> None:
    keras, tf = import_keras(), import_tensorflow()
    archive = keras.export.ExportArchive()
    archive.track(model.keras)
    archive.add_endpoint("serving_default", tf.function(_serving(model), input_signature=signature))
    archive.write_out(str(workspace), verbose=False)


def _serving(model: Model) -> Callable[..., dict[str, Any]]:
    """A function from the inputs of a Keras model to its outputs by their argument names."""
    keras, network, outputs = import_keras(), model.keras, _argument_names(model.outputs)
    assert network is not None  # kind == "keras"

    def serve(*tensors: Any) -> dict[str, Any]:
        result = network(model.pack(tensors), training=False)
        return dict(zip(outputs, keras.tree.flatten(result), strict=True))

    return serve


def _signature(model: Model, batch: int) -> list[Any]:
    tf = import_tensorflow()
    return [
        tf.TensorSpec(static_shape(spec, batch), spec.dtype, name=name)
        for spec, name in zip(model.inputs, _argument_names(model.inputs), strict=True)
    ]


def _export_saved_model(model: Model, signature: list[Any], workspace: Path) -> None:
    tf = import_tensorflow()
    loaded = tf.saved_model.load(str(model.path))
    original = serving_signature(loaded, model.origin)
    arguments = [spec.name for spec in model.inputs]
    renamed = dict(zip([spec.name for spec in model.outputs], _argument_names(model.outputs), strict=True))

    def serve(*tensors: Any) -> dict[str, Any]:
        results = original(**dict(zip(arguments, tensors, strict=True)))
        return {renamed[name]: result for name, result in results.items()}

    loaded.edgekit_serve = tf.function(serve, input_signature=signature)
    tf.saved_model.save(loaded, str(workspace), signatures={"serving_default": loaded.edgekit_serve})


def _argument_names(specs: Sequence[TensorSpec]) -> list[str]:
    """Names that are identifiers, unique, and sort in the given order whatever the model calls them."""
    return [f"t{index:03d}_{re.sub(r'[^A-Za-z0-9_]', '_', spec.name)}" for index, spec in enumerate(specs)]


def _renamed(specs: Sequence[TensorSpec]) -> list[tuple[str, str]]:
    return list(zip(_argument_names(specs), [spec.name for spec in specs], strict=True))


def refuse_half_precision(model: Any) -> None:
    """Raise ModelError for a Keras model whose layers with weights compute in float16 or bfloat16."""
    for layer in nested_layers(model):
        weighted = layer.weights and not isinstance(layer, import_keras().Model)
        if weighted and layer.compute_dtype in ("float16", "bfloat16"):
            raise _in_half_precision(layer.compute_dtype, type(layer).__name__)


def _in_half_precision(dtype: str, operators: str) -> ModelError:
    return ModelError(
        f"the model computes in {dtype}, and TFLite's {operators} do not",
        "build it under keras.config.set_dtype_policy('float32') and give it these weights",
    )


def _conversion_error(cause: Exception) -> ModelError:
    text = str(cause)
    missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", text)))
    listed = re.search(r"(?:Custom|Flex) ops: (.+)", text)
    half = re.search(r"x(b?)f16>", text)
    if missing and half:
        return _in_half_precision("bfloat16" if half[1] else "float16", ", ".join(missing))
    if missing or listed:
        return ModelError(
            f"TFLite has no operator for {', '.join(missing) or (listed[1] if listed else '')}",
            "replace it in the model; Flex (TensorFlow inside the app) and custom operators are not made by edgekit",
        )
    first = next((line for line in text.splitlines() if line.strip()), repr(cause))
    return ModelError(f"the TFLite converter refused the model: {first[:500]}", "simplify the layer it names")
