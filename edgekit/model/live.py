"""From a Keras model in memory to a `Model`: what it takes and gives, that its weights are sound, its digest."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np

from edgekit.errors import ModelError
from edgekit.model.line import line_of
from edgekit.model.loaded import Model, TensorSpec
from edgekit.python_reference import source_digest
from edgekit.tf import import_keras

_LIBRARIES = {"edgekit", "keras", "numpy", "tensorflow", *sys.stdlib_module_names}
_NO_SHAPE = "call it once on an array of the right shape, or begin it with `keras.Input(shape)`"


def from_keras(model: Any, origin: str, name: str, sha256: str | None, healed: tuple[str, ...] = ()) -> Model:
    """A `Model` around a Keras 3 model; the digest is that of architecture and weights where `sha256` is None.

    The code of the user's own layers is in either digest; `sha256` stays where there are none.
    Raises ModelError for a model without input shapes, with tensors of text, or with NaN or infinity in its weights.
    """
    model = _with_inputs(model, origin)
    inputs, outputs = contract(model)
    refuse_text((*inputs, *outputs), origin)
    _refuse_unsound_weights(model, origin)
    healed = (*healed, *_with_traceable_names(model))
    sha256 = _with_code(sha256, model) if sha256 else digest(model)
    return Model(origin, name, "keras", sha256, inputs, outputs, healed, model, None)


def contract(model: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What a Keras model that knows its inputs takes, and what it gives."""
    structure = (None, None) if isinstance(model, import_keras().Sequential) else (model.input, model.output)
    return _specs(model.inputs, structure[0]), _specs(model.outputs, structure[1])


def _with_traceable_names(model: Any) -> list[str]:
    """Give layers names that TensorFlow can trace (`my model` is none, though Keras takes it); what was changed."""
    changed = []
    for layer in nested_layers(model):
        name = _traceable(layer.name)
        if name != layer.name:
            changed.append(f"layer {layer.name!r} is called {name!r}, because TensorFlow cannot trace its name")
            layer.name = name
    for variable in (weight._value for weight in model.variables) if changed else ():
        variable._handle_name = _traceable(variable.name)  # an export names the copy after it; no public setter
    return changed


def _traceable(name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.\\/>:-]", "_", name)
    return name if re.match("[A-Za-z0-9.]", name) else f"layer{name}"


def _with_inputs(model: Any, origin: str) -> Any:
    """The model itself where Keras knows its inputs; a subclassed one becomes the layer of a functional model."""
    keras = import_keras()
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ModelError(f"{origin}: a Sequential model without input shape", _NO_SHAPE)
        return model
    if getattr(model, "inputs", None):
        return model
    build = model.get_build_config() if model.built else None
    if not build:
        raise ModelError(f"{origin}: a subclassed model ({type(model).__name__}) that was never called", _NO_SHAPE)
    if "input_shape" not in build:
        raise ModelError(
            f"{origin}: {type(model).__name__}.call takes several arguments, whose inputs cannot be told apart",
            "take one list or dictionary of tensors as the only argument, or return a functional model",
        )
    return _functional(model, build["input_shape"], origin)


def _functional(model: Any, shapes: Any, origin: str) -> Any:
    keras = import_keras()

    def made(shape: Any, name: str | None = None) -> Any:
        if isinstance(shape, dict):
            return {key: made(item, str(key)) for key, item in shape.items()}
        if all(item is None or isinstance(item, int) for item in shape):
            return keras.Input(batch_shape=(None, *shape[1:]), dtype=model.input_dtype, name=name)
        return [made(item) for item in shape]

    inputs = made(shapes)
    try:
        return keras.Model(inputs, model(inputs), name=model.name)
    except Exception as cause:
        raise ModelError(
            f"{origin}: {type(model).__name__}.call cannot be traced: {line_of(cause)}",
            "write `call` with keras.ops and without branches on values",
        ) from cause


def _specs(tensors: list[Any], structure: Any) -> tuple[TensorSpec, ...]:
    names = [tensor._keras_history.operation.name for tensor in tensors]
    if isinstance(structure, dict):
        order = import_keras().tree.pack_sequence_as(structure, list(range(len(tensors))))
        places = {place: key for key, place in order.items() if isinstance(place, int)}
        names = [str(places.get(place, name)) for place, name in enumerate(names)]
    return tuple(
        TensorSpec(name, tuple(tensor.shape), str(tensor.dtype))
        for name, tensor in zip(_unique(names), tensors, strict=True)
    )


def _unique(names: list[str]) -> list[str]:
    return [
        name if names.count(name) == 1 else f"{name}_{names[:place].count(name)}" for place, name in enumerate(names)
    ]


def refuse_text(specs: tuple[TensorSpec, ...], origin: str) -> None:
    """Raise ModelError for the first tensor that holds text."""
    for spec in specs:
        if spec.dtype == "string":
            raise ModelError(
                f"{origin}: {spec.name!r} holds text, and TFLite runs on numbers",
                "strip the text layers (TextVectorization, StringLookup) from the model, and look tokens up before it",
            )


def _refuse_unsound_weights(model: Any, origin: str) -> None:
    refuse_unsound(((weight.path, np.asarray(weight)) for weight in model.weights), origin)


def refuse_unsound(weights: Any, origin: str) -> None:
    """Raise ModelError naming the first weights that hold NaN or infinity; `weights` gives pairs of name and array."""
    bad = [name for name, value in weights if value.dtype.kind == "f" and not np.isfinite(value).all()]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise ModelError(
            f"{origin}: NaN or infinity in the weights {', '.join(bad[:3])}{more}",
            "the training diverged; take an earlier checkpoint or train again with a lower learning rate",
        )


def digest(model: Any) -> str:
    """SHA-256 of architecture, weights and own code. Names, which Keras numbers by process, do not enter."""
    sha = hashlib.sha256(_architecture(model).encode())
    for weight in model.weights:
        sha.update(np.ascontiguousarray(weight).tobytes())
    return _with_code(sha.hexdigest(), model)


def _with_code(sha256: str, model: Any) -> str:
    """A digest, behind it that of the code which architecture and weights leave out, where there is any."""
    code = "".join(sorted({source_digest(own) for own in own_objects(model)}))
    return f"{sha256}-{hashlib.sha256(code.encode()).hexdigest()[:16]}" if code else sha256


def parts_of(layer: Any) -> list[Any]:
    """A layer and all that it holds in whatever attribute, to any depth, outer ones first; of anything else none."""
    return list(layer._flatten_layers()) if isinstance(layer, import_keras().Layer) else []


def own_objects(layer: Any) -> set[Any]:
    """The classes and functions that a layer and all inside it are made of, and that no library brings."""
    found: set[Any] = set()
    for inner in parts_of(layer):
        held = vars(inner).values()
        found.update(type(inner).__mro__, (one if isinstance(one, FunctionType) else type(one) for one in held))
    return {one for one in found if str(one.__module__).partition(".")[0] not in _LIBRARIES}


def _architecture(model: Any) -> str:
    try:
        config = json.loads(model.to_json())
    except (NotImplementedError, TypeError, ValueError):  # a class of the user's without get_config: its structure then
        config = [
            [type(layer).__name__, [list(weight.shape) for weight in layer.weights]] for layer in nested_layers(model)
        ]
    places = {name: f"#{place}" for place, name in enumerate(dict.fromkeys(_names(config)))}

    def numbered(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: numbered(value) for key, value in node.items() if key != "compile_config"}
        if isinstance(node, list):
            return [numbered(value) for value in node]
        return places.get(node, node) if isinstance(node, str) else node

    return json.dumps(numbered(config), sort_keys=True)


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        settings = node.get("config")
        if "class_name" in node and isinstance(settings, dict) and isinstance(settings.get("name"), str):
            yield settings["name"]
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _names(value)


def nested_layers(layer: Any) -> list[Any]:
    """A layer and all that it holds or wraps, to any depth, in the order of the model."""
    inside = [*getattr(layer, "layers", ()), *([layer.layer] if hasattr(layer, "layer") else [])]
    return [layer, *(found for inner in inside for found in nested_layers(inner))]
