"""What of a recipe tensorflow-model-optimization can do; anything else is refused by name, and nothing is dropped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from edgekit.errors import MissingDependency, RecipeError
from edgekit.stages.cluster import Cluster
from edgekit.stages.convert import Convert
from edgekit.stages.numerics import Quantize
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.target import Target

TrainingEngine = Literal["native", "tfmot"]

NATIVE = "leave engine out: edgekit's own training does it"
INSTALL = "pip install 'edgekit[tfmot]'"

_HONOURED: dict[type, set[str]] = {
    PruneWeights: {"sparsity", "schedule", "power", "begin", "end", "layers", "training"},
    Cluster: {"clusters", "init", "zeros", "skip_first", "skip_last", "only", "layers", "training"},
    QuantizeAware: {"preserve", "training"},
}
_DONE_SO: dict[tuple[Any, str], object] = {
    (PruneWeights, "teacher"): 0.0,  # it trains by the labels alone
    (Cluster, "teacher"): 0.0,
    (QuantizeAware, "ranges"): "moving",
}
_PACKAGES = {"tensorflow_model_optimization": "tensorflow-model-optimization", "tf_keras": "tf_keras"}


def refuse_unsupported(stages: Iterable[Any]) -> None:
    """Raise ValueError for a stage or a setting that tensorflow-model-optimization does not have."""
    stages = [stage for stage in stages if not isinstance(stage, (Convert, Quantize))]
    if not stages:
        raise ValueError(
            "engine 'tfmot' trains, and no step of the recipe does; leave engine out, or add a step like qat"
        )
    strange = [_word(type(stage)) for stage in stages if type(stage) not in _HONOURED]
    if strange:
        known = ", ".join(f"`{_word(kind)}`" for kind in _HONOURED)
        raise ValueError(f"mixing engines: 'tfmot' has no `{strange[0]}`, only {known}; {NATIVE}")
    for stage in stages:
        _refuse_settings(stage)


def _refuse_settings(stage: Any) -> None:
    for field in msgspec.structs.fields(type(stage)):
        value = getattr(stage, field.name)
        meant = (field.default, _DONE_SO.get((type(stage), field.name), field.default))
        if field.name not in _HONOURED[type(stage)] and value not in meant:
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            raise ValueError(f"engine 'tfmot' does not have `{field.name} = {shown}` of {_word(type(stage))}; {NATIVE}")


def _word(stage: Any) -> str:
    return str(stage.__struct_config__.tag)


def as_trained(stage: Quantize, target: Target) -> Quantize:
    """The quantization with dense layers on one scale, as tensorflow-model-optimization trains them.

    It stays as it is where it says otherwise, or the target rules that out.
    """
    if stage.dense_granularity != "auto" or "per-tensor" not in target.numerics.dense_granularity:
        return stage
    return msgspec.structs.replace(stage, dense_granularity="per-tensor")


def refuse_untrained_scales(stage: Quantize) -> None:
    """Raise RecipeError where a resolved quantization has other scales than those that were trained."""
    if stage.granularity == "per-tensor":
        raise RecipeError(
            "engine 'tfmot' trains convolutions with a scale for each channel, and the file would have one for all",
            f"say per-channel where the target allows it, or {NATIVE}",
        )


def refuse_missing() -> None:
    """Raise MissingDependency where a package of this engine is not installed; nothing is imported."""
    missing = [name for module, name in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingDependency(f"engine 'tfmot' needs {' and '.join(missing)}, not installed here", INSTALL)
