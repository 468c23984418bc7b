"""Legacy `.h5` and `.hdf5` models of Keras 2, tf_keras and Keras 3, rebuilt in Keras 3 with their weights.

The layout is that of `save_model_to_hdf5`: the attribute `model_config` (JSON), and in the group `model_weights` one
group a layer with the attribute `weight_names`. The user's file is only read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import ModelError
from edgekit.model.guard import check_config, check_hdf5
from edgekit.model.heal import AS_SAVED_MODEL, OLD_CLASSES, Healing, of_keras, register
from edgekit.model.line import line_of
from edgekit.model.live import parts_of
from edgekit.model.rebuild import Rebuilt, rebuild
from edgekit.model.tfmot import Wrapper, Wrappers, name_outputs, plain_weights, told, trained_ranges, unwrap

_AGAIN = "save it again from its source, and compare checksums after copying"
_TF_OPERATIONS = {
    "TFOpLambda",
    "SlicingOpLambda",
    "TensorFlowOpLayer",
    "ClassMethod",
    "InstanceMethod",
    "InstanceProperty",
}
_GONE = {
    "LocallyConnected1D",
    "LocallyConnected2D",
    "CuDNNLSTM",
    "CuDNNGRU",
    "DenseFeatures",
    "RandomHeight",
    "RandomWidth",
}
_STATE = {"count", "StateVar"}  # kept by preprocessing layers of Keras 2 for adapt() and random numbers


def load_hdf5(path: Path, origin: str, trust: bool) -> tuple[Any, tuple[str, ...]]:
    """The Keras 3 model in an HDF5 file, uncompiled, and what was healed.

    Raises ModelError for a file without architecture, damaged, hostile, or with layers that Keras 3 has not.
    """
    register()  # with Keras, which brings h5py, or says how to install both
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if not trust:
                check_hdf5(file, origin)
            return _load(file, origin, trust)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as cause:
        raise ModelError(f"{origin}: damaged or truncated HDF5 file ({line_of(cause)})", _AGAIN) from cause


def _load(file: Any, origin: str, trust: bool) -> tuple[Any, tuple[str, ...]]:
    if "model_config" not in file.attrs:
        raise _without_architecture(file, origin)
    config, wrappers = unwrap(
        json.loads(_text(file.attrs["model_config"])), _weight_names(file["model_weights"]), origin
    )
    _refuse_old_backend(file, origin)
    refuse_unportable(config, origin)
    if not trust:
        check_config(config, origin, OLD_CLASSES)
    healing = Healing(keras_2=not _keras_version(file).startswith("3."))
    told(wrappers, healing)
    try:
        rebuilt = rebuild(config, healing, trust)
    except ModelError as error:
        raise ModelError(f"{origin}: {error.problem}", error.mend) from error
    except Exception as cause:  # Keras raises anything for settings that make no sense
        raise ModelError(
            f"{origin}: its configuration is not one of a Keras model ({line_of(cause)})", _AGAIN
        ) from cause
    _assign(rebuilt, file["model_weights"], wrappers, origin)
    name_outputs(rebuilt.model, wrappers)
    return rebuilt.model, (*healing.told(), *_training_left_out(file))


def _without_architecture(file: Any, origin: str) -> ModelError:
    if "layer_names" in file.attrs or "layers" in file or "_layer_checkpoint_dependencies" in file:
        found = "weights only: the architecture is not in the file"
    elif "optimizer_weights" in file:
        found = "the state of an optimizer only"
    else:
        found = f"no Keras model: there is no model_config, only {', '.join(list(file)[:5]) or 'nothing'}"
    mend = "build the model in Python, call `model.load_weights(...)`, and `model.save('name.keras')`"
    return ModelError(f"{origin}: holds {found}", mend)


def _refuse_old_backend(file: Any, origin: str) -> None:
    backend = _text(file.attrs.get("backend", "tensorflow"))
    version = _keras_version(file)
    if version.startswith("1."):
        raise ModelError(
            f"{origin}: written by Keras {version}, whose weights have another order", "save it with Keras 2"
        )
    if backend in {"theano", "cntk"}:
        raise ModelError(
            f"{origin}: written on the {backend} backend, whose kernels are flipped", "save it on TensorFlow"
        )


def _keras_version(file: Any) -> str:
    return _text(file.attrs.get("keras_version", "1"))


def refuse_unportable(config: Any, origin: str) -> None:
    """Raise ModelError for what a configuration of Keras 2 holds and Keras 3 has no counterpart of."""
    entries = list(_entries(config))
    operations = {
        str(entry["config"].get("function", "?")) for entry in entries if entry["class_name"] in _TF_OPERATIONS
    }
    if operations:
        raise ModelError(
            f"{origin}: holds TensorFlow operations that are no Keras layers ({', '.join(sorted(operations))})",
            f"replace them with Keras layers; or {AS_SAVED_MODEL}",
        )
    for entry in entries:
        name, settings = entry["class_name"], entry["config"]
        if name in _GONE and of_keras(entry):
            label = f"{origin}: {name} {settings.get('name')!r}"
            raise ModelError(f"{label} is not in Keras 3 as it was in Keras 2", AS_SAVED_MODEL)
        if name == "InputLayer" and (settings.get("ragged") or settings.get("sparse")):
            kind = "ragged" if settings.get("ragged") else "sparse"
            raise ModelError(
                f"{origin}: input {settings.get('name')!r} is {kind}, and TFLite has only dense tensors",
                "pad to a fixed shape before the model and save it with a dense input",
            )


def _entries(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if isinstance(node.get("class_name"), str) and isinstance(node.get("config"), dict):
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _entries(item)


def _assign(rebuilt: Rebuilt, group: Any, wrappers: Wrappers, origin: str) -> None:
    """Give every layer the weights stored under its old name. Raises ModelError for any that do not fit."""
    missing = {name for name, layer in rebuilt.layers.items() if layer.weights}
    for stored in _names(group, "layer_names"):
        values = [(weight, group[stored][weight][()]) for weight in _names(group[stored], "weight_names")]
        if not values:
            continue
        if stored in wrappers:
            missing -= _assign_ranges(rebuilt, values, stored, wrappers[stored], origin)
            if wrappers[stored].kind == "QuantizeLayer":
                continue
        name = wrappers[stored].chain[0] if stored in wrappers else stored
        if name not in rebuilt.layers:
            raise ModelError(f"{origin}: weights of {stored!r}, a layer that the architecture does not have", _AGAIN)
        layer = rebuilt.layers[name]
        if wrappers:
            values = plain_weights(values, stored, wrappers, _targets(layer), origin)
        _fill(layer, [(_leaf(weight), value) for weight, value in values], name, origin)
        missing.discard(name)
    if missing:
        raise ModelError(f"{origin}: no weights for layer {', '.join(sorted(missing)[:3])}", _AGAIN)


def _assign_ranges(
    rebuilt: Rebuilt, values: list[tuple[str, Any]], name: str, wrapper: Wrapper, origin: str
) -> set[str]:
    """Give the layers that round the ranges that a wrapper learned; their names."""
    found = trained_ranges(values, name, wrapper)
    for layer, (low, high) in found.items():
        if np.shape(low) or np.shape(high) or not -np.inf < low <= 0 <= high < np.inf or low == high:
            raise ModelError(
                f"{origin}: {name!r} has the range {low} to {high}, which is empty, without zero, or not finite",
                "train it for some steps more, so that it sees data",
            )
        rebuilt.layers[layer].low.assign(low)
        rebuilt.layers[layer].high.assign(high)
    return set(found)


def _targets(layer: Any) -> list[Any]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _fill(layer: Any, values: list[tuple[str, Any]], name: str, origin: str) -> None:
    targets = _targets(layer)
    if len(values) > len(targets):
        values = [(leaf, value) for leaf, value in values if leaf not in _STATE]
    wanted = [(_leaf(target.path), tuple(target.shape)) for target in targets]
    stored = [(leaf, np.shape(value)) for leaf, value in values]
    same_names = sorted(leaf for leaf, _ in wanted) == sorted(leaf for leaf, _ in stored)
    if [shape for _, shape in wanted] != [shape for _, shape in stored] or (same_names and wanted != stored):
        raise ModelError(f"{origin}: layer {name!r} takes the weights {wanted}, and the file has {stored}", _AGAIN)
    for target, (_, value) in zip(targets, values, strict=True):
        target.assign(value)
    for inner in parts_of(layer):
        if hasattr(inner, "finalize_state"):  # adapted preprocessing layers compute with constants made of weights
            inner.finalize_state()


def _weight_names(group: Any) -> dict[str, list[str]]:
    return {layer: _names(group[layer], "weight_names") for layer in _names(group, "layer_names")}


def _leaf(name: str) -> str:
    return name.rsplit("/", 1)[-1].split(":")[0]


def _names(group: Any, key: str) -> list[str]:
    """A list attribute; one that passed the header limit of HDF5 lies in pieces `key0`, `key1`, ..."""
    if key in group.attrs:
        return [_text(item) for item in group.attrs[key]]
    pieces: list[str] = []
    while f"{key}{len(pieces)}" in group.attrs:
        pieces.append(f"{key}{len(pieces)}")
    return [_text(item) for piece in pieces for item in group.attrs[piece]]


def _training_left_out(file: Any) -> tuple[str, ...]:
    text = _text(file.attrs.get("training_config", ""))
    marks = {"lr": '"lr":', "reduction = auto": '"reduction": "auto"'}
    found = [name for name, mark in marks.items() if mark in text]
    if not found:
        return ()
    return (f"the training configuration was left out, since Keras 3 refuses settings in it: {', '.join(found)}",)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
