"""Models trained with quantization awareness by tensorflow-model-optimization, as Keras 3 computes them.

A `QuantizeWrapper` becomes its layer, with the kernel rounded as the wrapper rounds it, then a `FakeQuantize` layer for
each range that it learned: before the activation, after it, or at its end. So the model computes what the trained one
does, and `stages.trained_ranges` finds the ranges again in the converted file.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import ModelError
from edgekit.tf import import_keras, import_tensorflow

Array = npt.NDArray[Any]
Entry = dict[str, Any]

QUANTIZED = {"QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer"}
_KNOWN = {
    "Default8BitActivationQuantizeConfig",
    "Default8BitQuantizeConfig",
    "Default8BitConvQuantizeConfig",
    "Default8BitConvTransposeQuantizeConfig",
    "Default8BitOutputQuantizeConfig",
    "NoOpQuantizeConfig",
}
_OUTPUT_ONLY = "OutputOnlyConfig"  # around one of them, of a layer before those that were chosen: its kernel stays
_WAYS = "give the float model and let edgekit train it: -r qat-int8"


@cache
def fake_quantize() -> Any:
    """The layer class that rounds to 256 levels of a range, registered with Keras so that models can be saved."""
    keras, tf = import_keras(), import_tensorflow()

    @keras.saving.register_keras_serializable(package="edgekit")
    class FakeQuantize(import_keras().layers.Layer):  # type: ignore[misc]
        """Rounds to the integers of an 8-bit range (Jacob et al. 2018, arXiv:1712.05877, equation 12)."""

        def build(self, input_shape: Any) -> None:
            self.low = self.add_weight(name="low", shape=(), initializer="zeros", trainable=False)
            self.high = self.add_weight(name="high", shape=(), initializer="ones", trainable=False)

        def call(self, inputs: Any) -> Any:
            return tf.quantization.fake_quant_with_min_max_vars(inputs, self.low.value, self.high.value)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

    return FakeQuantize


def chain_of(node: Entry, ranges: set[str], origin: str) -> list[Entry]:
    """The layers that compute what a quantizing entry of a configuration does; `ranges` are those that it learned.

    Raises ModelError for a quantization that is not the 8-bit default.
    """
    settings = node["config"]
    if node["class_name"] == "QuantizeLayer":
        quantizer = settings.get("quantizer")
        _refuse_unknown(quantizer, {"AllValuesQuantizer", "MovingAverageQuantizer"}, settings["name"], origin)
        return [_range_entry(settings["name"])]
    _refuse_unknown(_within(settings.get("quantize_config")), _KNOWN, settings["name"], origin)
    inner = settings["layer"]
    name, activation = inner["config"]["name"], _activation(inner["config"])
    before = "pre_activation" in ranges
    plain = {**inner["config"], **({"activation": "linear" if before else activation} if activation else {})}
    chain = [{**inner, "config": plain}]
    if before:
        act = {"name": f"{name}_activation", "activation": activation}
        chain += [_range_entry(f"{name}_before"), {"class_name": "Activation", "config": act}]
    chain += [_range_entry(f"{name}_{kind}") for kind in ("post_activation", "output") if kind in ranges]
    return chain


def ranges_of(names: list[str]) -> set[str]:
    """What the weights of a wrapper say that it has learned the range of: `pre_activation`, `kernel`, ..."""
    leaves = {name.split(":")[0].split("/")[-1] for name in names}
    return {leaf.removesuffix("_min") for leaf in leaves if leaf.endswith("_min") and f"{leaf[:-4]}_max" in leaves}


def targets_of(name: str, kind: str, layer: str) -> dict[str, str]:
    """Which range goes into which `FakeQuantize` layer of the chain of the wrapper `name` around `layer`."""
    if kind == "QuantizeLayer":
        return {name: name}
    ends = {"pre_activation": "before", "post_activation": "post_activation", "output": "output"}
    return {found: f"{layer}_{end}" for found, end in ends.items()}


def rounded(weight: Array, low: Array, high: Array) -> Array:
    """A kernel on its 255 levels: one range for all, or one for each index of the last axis.

    Raises ValueError where the range does not fit, or is empty.
    """
    if not (np.all(np.isfinite([low, high])) and np.all(low <= 0) and np.all(high >= 0) and np.all(low < high)):
        raise ValueError("a range of a kernel that is empty, without zero, or not finite")
    if low.shape != high.shape or low.shape not in ((), weight.shape[-1:]):
        raise ValueError(f"ranges of shape {low.shape} and {high.shape} for a kernel of shape {weight.shape}")
    tf = import_tensorflow().quantization
    apply = tf.fake_quant_with_min_max_vars_per_channel if low.ndim else tf.fake_quant_with_min_max_vars
    return np.asarray(apply(weight, low, high, num_bits=8, narrow_range=True))


def _range_entry(name: str) -> Entry:
    registered = import_keras().saving.get_registered_name(fake_quantize())
    config = {"name": name, "trainable": False}
    return {"module": None, "class_name": "FakeQuantize", "config": config, "registered_name": registered}


def _activation(settings: Entry) -> Any:
    """The activation without the rounding around it; None where the layer has none."""
    found = settings.get("activation")
    if isinstance(found, dict) and found.get("class_name") == "QuantizeAwareActivation":
        found = found["config"]["activation"]
    return "linear" if isinstance(found, dict) and found.get("class_name") == "NoOpActivation" else found


def _within(found: Any) -> Any:
    """The quantization that another one restricts to the output; any other as it is."""
    only = isinstance(found, dict) and found.get("class_name") == _OUTPUT_ONLY and isinstance(found.get("config"), dict)
    return found["config"].get("quantize_config") if only else found


def _refuse_unknown(found: Any, known: set[str], name: str, origin: str) -> None:
    kind = found.get("class_name") if isinstance(found, dict) else found
    kind = kind.rpartition(">")[2] if isinstance(kind, str) else kind
    settings = found.get("config") if isinstance(found, dict) else None
    bits = settings.get("num_bits", 8) if isinstance(settings, dict) else 8
    if kind not in known or bits != 8:
        what = f"{kind} with {bits} bits" if kind in known else f"{kind}"
        raise ModelError(
            f"{origin}: layer {name!r} was quantized by {what}, not by the 8-bit default of "
            "tensorflow-model-optimization, so what it computes is not known",
            _WAYS,
        )
