"""Open a model in tf_keras as a plain one: wrappers of an earlier pruning or clustering are taken off. Child side."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, ModelError
from edgekit.model.guard import refuse_code
from edgekit.tfmot.settings import NATIVE
from edgekit.tfmot.wrapping import import_tfmot, remask

METADATA = "keras_metadata.pb"
_QUANTIZED = {"QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer"}


def opened(path: Path, origin: str, trust: bool) -> Any:
    """The tf_keras model in an `.h5`, a `.keras` or a SavedModel folder, without wrappers.

    Raises ModelError for a file that tf_keras cannot open, naming the class where it is a custom one, a model whose
    graph it cannot see, and one that is trained for rounding already.
    """
    model = _stripped(_loaded(path, origin, trust))
    if not getattr(model, "_is_graph_network", False) and not _is_sequential(model):
        raise ModelError(
            f"{origin}: {type(model).__name__} is no functional or Sequential model in tf_keras, "
            "and tensorflow-model-optimization takes no other",
            f"build it as keras.Model(inputs, outputs) in tf_keras; or {NATIVE}",
        )
    if any(type(layer).__name__ in _QUANTIZED for layer in model.layers):
        raise ModelError(
            f"{origin}: trained for rounding by tensorflow-model-optimization already",
            "its ranges are taken as they are: give it with -r int8",
        )
    return model


def _loaded(path: Path, origin: str, trust: bool) -> Any:
    tfmot, keras = import_tfmot(), importlib.import_module("tf_keras")
    parts = importlib.import_module("tensorflow_model_optimization.python.core.clustering.keras.cluster_wrapper")
    more = {name: getattr(parts, name) for name in ("ClusterWeightsRNN", "ClusterWeightsMHA") if hasattr(parts, name)}
    if path.is_dir() and not trust:
        _refuse_code(path, origin)
    options = {"safe_mode": not trust} if path.suffix == ".keras" else {}
    try:
        with (
            tfmot.sparsity.keras.prune_scope(),
            tfmot.clustering.keras.cluster_scope(),
            tfmot.quantization.keras.quantize_scope(),
            keras.utils.custom_object_scope(more),
        ):
            return keras.models.load_model(path, compile=False, **options)
    except EdgekitError:
        raise
    except Exception as cause:  # tf_keras raises anything for a file that is not its own
        raise _refused(cause, origin) from cause


def _refuse_code(folder: Path, origin: str) -> None:
    """Raise ModelError for a SavedModel with a layer that carries code, which tf_keras would run."""
    found = importlib.import_module("tf_keras.protobuf.saved_metadata_pb2").SavedMetadata()
    found.ParseFromString((folder / METADATA).read_bytes())
    for node in (node for node in found.nodes if node.metadata):
        layer = json.loads(node.metadata)  # beside a layer's settings are types of its inputs, which run nothing
        refuse_code({key: layer.get(key) for key in ("class_name", "config")}, origin)


def _refused(cause: Exception, origin: str) -> ModelError:
    text = " ".join(str(cause).split())
    unknown = re.search(r"Unknown (?:layer|object|class|config_item)[^'\"]*['\"]?([\w>]+)", text)
    if unknown:
        return ModelError(
            f"{origin}: tf_keras does not know the class {unknown[1]!r}, which the model has of its own",
            "build it of tf_keras layers; or leave engine out, and give `module:function` returning a Keras 3 model",
        )
    return ModelError(f"{origin}: tf_keras cannot open it: {text[:300] or type(cause).__name__}", NATIVE)


def _stripped(model: Any) -> Any:
    tfmot = import_tfmot()
    if not hasattr(model, "layers"):
        return model
    kinds = {type(layer).__name__ for layer in model.layers}
    if "PruneLowMagnitude" in kinds:
        remask(model)
        model = tfmot.sparsity.keras.strip_pruning(model)
    if any(kind.startswith("ClusterWeights") for kind in kinds):
        model = tfmot.clustering.keras.strip_clustering(model)
    return model


def _is_sequential(model: Any) -> bool:
    return isinstance(model, importlib.import_module("tf_keras").Sequential) and bool(model.built)
