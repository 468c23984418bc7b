"""Settings of Keras 1 and 2 layers that Keras 3 refuses or reads otherwise, brought over where that is exact."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from edgekit.errors import ModelError
from edgekit.model.tfmot_qat import fake_quantize
from edgekit.tf import import_keras

Settings = dict[str, Any]

AS_SAVED_MODEL = "in tf_keras: `model.export('folder')`, and give that folder (post-training stages only)"

# Settings that Keras 3 dropped, and the value at which dropping them changes nothing (None: at any value).
_DROPPED: dict[str, tuple[Any, ...] | None] = {
    "groups": (1,),
    "time_major": (False,),
    "renorm": (False,),
    "virtual_batch_size": (None,),
    "fused": None,
    "implementation": None,
    "rng_type": None,
    "force_generator": None,
    "query_shape": None,
    "key_shape": None,
    "value_shape": None,
    "softmax_robust_masking": (False,),
    "trainable": None,
    "noise_shape": (None,),
    "kernel_initializer": None,
    "kernel_regularizer": None,
    "kernel_constraint": None,
    "input_length": None,
    "batch_input_shape": None,
    "sparse": (False,),
    "ragged": (False,),
}
_SILENT = {"batch_input_shape", "implementation", "input_length"}  # Keras 3 passes over these by itself

# class of Keras 2 -> (class of Keras 3 that computes the same, its renamed settings)
_RENAMED: dict[str, tuple[str, dict[str, str]]] = {
    "ThresholdedReLU": ("ReLU", {"theta": "threshold"}),
    "BatchNormalizationV1": ("BatchNormalization", {}),
    "BatchNormalizationV2": ("BatchNormalization", {}),
    "SyncBatchNormalization": ("BatchNormalization", {}),
    "Convolution1D": ("Conv1D", {}),
    "Convolution2D": ("Conv2D", {}),
}
_FUNCTIONAL = "keras.src.models.functional"  # where Keras 3 has what Keras 2 had in keras.src.engine.functional
OLD_CLASSES = {*_RENAMED, "Model", "Functional", "Policy", "PolicyV1"}


@dataclass
class Healing:
    """What was healed so far: a sentence for each rule, with the layers that it was applied to.

    `keras_2` is False for a file that Keras 3 wrote, whose words mean what they mean in Keras 3.
    """

    keras_2: bool = True
    sentences: dict[str, list[str]] = field(default_factory=dict)

    def note(self, sentence: str, layer: str) -> None:
        """Record that `sentence` holds for `layer`."""
        self.sentences.setdefault(sentence, []).append(layer)

    def told(self) -> tuple[str, ...]:
        """One sentence a rule, naming at most three of its layers."""
        return tuple(f"{sentence}: {_listed(layers)}" for sentence, layers in self.sentences.items())


def heal_layer(name: str, settings: Settings, healing: Healing) -> tuple[str, Settings]:
    """Class name and settings that Keras 3 takes, for a layer of Keras 2.

    Raises ModelError where a setting changes what the layer computes and Keras 3 has no counterpart.
    """
    label = str(settings.get("name", name))
    if name in _RENAMED:
        name, settings = _renamed(name, settings, label, healing)
    for rule in (_policy, _hard_sigmoid, _old_gru, _single_axis):
        settings = rule(name, settings, label, healing)
    return name, _without_dropped(name, settings, label, healing)


def heal_config(node: Any, healing: Healing) -> Any:
    """The configuration of a `.keras` file of Keras 2, with every layer in the words of Keras 3, to any depth.

    Raises ModelError as `heal_layer` does.
    """
    if isinstance(node, list):
        return [heal_config(item, healing) for item in node]
    if not isinstance(node, dict):
        return node
    healed = {key: heal_config(value, healing) for key, value in node.items()}
    name, settings = healed.get("class_name"), healed.get("config")
    if name == "Functional":
        healed["module"] = _FUNCTIONAL
    elif of_keras(healed) and isinstance(name, str) and name != "InputLayer" and isinstance(settings, dict):
        healed["class_name"], healed["config"] = heal_layer(name, settings, healing)
    return healed


def of_keras(entry: Mapping[str, Any]) -> bool:
    """Whether a class of a configuration is one of Keras, and not the user's own of the same name."""
    return str(entry.get("module") or "keras").split(".")[0] in ("keras", "tf_keras")


def _renamed(name: str, settings: Settings, label: str, healing: Healing) -> tuple[str, Settings]:
    new, keys = _RENAMED[name]
    healing.note(f"{name} became {new}, which computes the same", label)
    return new, {keys.get(key, key): value for key, value in settings.items()}


def _policy(name: str, settings: Settings, label: str, healing: Healing) -> Settings:
    dtype = settings.get("dtype")
    if not isinstance(dtype, dict) or dtype.get("class_name") not in {"Policy", "PolicyV1"}:
        return settings
    healing.note("the number type was read from a mixed-precision policy of Keras 2", label)
    return {**settings, "dtype": dtype["config"]["name"]}


def _hard_sigmoid(name: str, settings: Settings, label: str, healing: Healing) -> Settings:
    if not healing.keras_2:
        return settings
    healed = {key: _old_hard_sigmoid() for key, value in settings.items() if _is_hard_sigmoid(key, value)}
    if healed:
        healing.note(
            "hard_sigmoid kept as Keras 2 defines it, clip(0.2 x + 0.5, 0, 1); Keras 3 has relu6(x + 3) / 6", label
        )
    return {**settings, **healed}


def _is_hard_sigmoid(key: str, value: Any) -> bool:
    if key not in {"activation", "recurrent_activation"}:
        return False
    return value == "hard_sigmoid" or (
        isinstance(value, dict) and value.get("class_name") == "function" and value.get("config") == "hard_sigmoid"
    )


def _old_hard_sigmoid() -> Settings:
    name = import_keras().saving.get_registered_name(keras_2_hard_sigmoid())
    return {"module": "edgekit", "class_name": "function", "config": name, "registered_name": name}


@cache
def keras_2_hard_sigmoid() -> Callable[[Any], Any]:
    """The hard sigmoid of Keras 2, registered with Keras so that healed models can be saved and loaded."""
    keras = import_keras()

    @keras.saving.register_keras_serializable(package="edgekit")  # type: ignore[untyped-decorator]
    def keras_2_hard_sigmoid(x: Any) -> Any:
        return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)

    return keras_2_hard_sigmoid  # type: ignore[no-any-return]


def register() -> None:
    """Make known to Keras what healed models have of edgekit, so that files they are saved to can be read."""
    fake_quantize()
    keras_2_hard_sigmoid()


def _old_gru(name: str, settings: Settings, label: str, healing: Healing) -> Settings:
    if name not in {"GRU", "GRUCell"} or "reset_after" in settings:
        return settings
    healing.note("`reset_after` set to False, the meaning of its absence before Keras 2.1", label)
    return {**settings, "reset_after": False}


def _single_axis(name: str, settings: Settings, label: str, healing: Healing) -> Settings:
    axis = settings.get("axis")
    return {**settings, "axis": int(axis[0])} if isinstance(axis, list) and len(axis) == 1 else settings


def _without_dropped(name: str, settings: Settings, label: str, healing: Healing) -> Settings:
    known = _parameters(name)
    dropped = [key for key in settings if key in _DROPPED and known and key not in known]
    for key in dropped:
        neutral = _DROPPED[key]
        if neutral is not None and settings[key] not in neutral:
            raise ModelError(
                f"layer {label!r} ({name}): `{key} = {settings[key]}` has no counterpart in Keras 3", AS_SAVED_MODEL
            )
    if told := [f"`{key}`" for key in dropped if key not in _SILENT]:
        healing.note(f"{', '.join(told)} left out, as Keras 3 has no such setting there and it changes nothing", label)
    return {key: value for key, value in settings.items() if key not in dropped}


def _parameters(name: str) -> set[str]:
    """Settings that the constructors of a Keras layer name, its base classes included as far as they are reached."""
    layer = getattr(import_keras().layers, name, None)
    if not isinstance(layer, type):
        return set()
    names: set[str] = set()
    for base in layer.__mro__:
        constructor = vars(base).get("__init__")
        if constructor is None:
            continue
        parameters = inspect.signature(constructor).parameters
        names.update(parameters)
        if not any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
            break
    return names


def _listed(names: Iterable[str]) -> str:
    first = list(dict.fromkeys(names))
    more = f" and {len(first) - 3} more" if len(first) > 3 else ""
    return ", ".join(first[:3]) + more
