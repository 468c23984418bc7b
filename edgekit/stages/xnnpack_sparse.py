"""What zeros buy: XNNPACK's rules for its sparse kernels, and what each family of targets does with pruned weights.

The rules are those of the TensorFlow Lite documentation of the XNNPACK delegate, section "Sparse inference": float32,
weights stored sparse, and a graph from a 3x3 stride-2 convolution on 3 channels to a mean or depth-to-space with
nothing but listed operators between.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.graph.walk import Call, Graph, is_of_keras, walk
from edgekit.stages.kernels import kernels_of
from edgekit.target import Target

LEAST = 2 / 3
_ACTIVATIONS = {"linear", "relu", "relu6", "elu", "leaky_relu", "leakyrelu", "hard_swish", "hard_silu", "sigmoid"}
_ELEMENTWISE = {"Add", "Multiply", "Abs", "Ceil", "Floor", "Negative", "Round", "Square", "Sigmoid", "Relu", "Relu6"}
_LAYERS = {"ReLU", "ELU", "LeakyReLU", "BatchNormalization", "Dropout", "UpSampling2D", "Identity", "Rescaling"}
_ENDS = {"GlobalAveragePooling2D", "Mean", "DepthToSpace"}


def misfits(model: Any) -> tuple[str, ...]:
    """Why XNNPACK would not run this graph with its sparse kernels, whatever the weights; empty where it might."""
    graph = walk(model)
    calls = [call for call in graph.calls if call.kind not in ("Dropout", "Identity", "Rescaling")]
    first = next((place for place, call in enumerate(calls) if call.kind != "ZeroPadding2D"), 0)
    found = [] if calls and _starts(graph, calls[first]) else [_start_problem(calls[first] if calls else None)]
    end = next((place for place, call in enumerate(calls) if call.kind in _ENDS), len(calls))
    if end == len(calls):
        found.append("it has no mean over the image and no depth-to-space, where the sparse part would end")
    strange = [f"{call.name} ({_why(call)})" for call in calls[first + 1 : end] if _why(call)]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        found.append(f"operators that it does not list: {', '.join(strange[:3])}{more}")
    return tuple(found)


def gain(model: Any, target: Target, zeros: float | None = None) -> str:
    """What the zeros in the weights of a model buy on a target, in a sentence; or what a share of `zeros` would."""
    if target.family == "edgetpu":
        return "no speed: the Edge TPU multiplies with every weight; the file is smaller once it is compressed"
    if target.family == "microcontroller":
        return "no speed and no flash: the kernels and the file are dense; an update is smaller once it is compressed"
    if "xnnpack" not in target.runtime.delegates:
        return "no speed: the kernels of this target are dense; the file is smaller once it is compressed"
    reasons = [*misfits(model), *_too_dense(model, zeros)]
    if reasons:
        return f"no speed: XNNPACK's sparse kernels do not apply, because {'; '.join(reasons)}"
    return (
        "perhaps speed: as float32 with the weights stored sparse the graph fits XNNPACK's sparse kernels (it did not "
        "get faster where edgekit was built: measure it); as int8 none"
    )


def _too_dense(model: Any, zeros: float | None) -> list[str]:
    zeros = _zeros(model) if zeros is None else zeros
    return [] if zeros >= LEAST else [f"{zeros:.0%} of the weights of 1x1 convolutions are zero, less than 67 %"]


def _zeros(model: Any) -> float:
    """Share of zeros in the 1x1 convolutions."""
    pointwise = [kernel.value for kernel in kernels_of(model) if kernel.kind == "pointwise"]
    return sum(int((value == 0).sum()) for value in pointwise) / max(sum(value.size for value in pointwise), 1)


def _starts(graph: Graph, call: Call) -> bool:
    """A 3x3 convolution of 3 channels with stride 2 and one pixel of padding on each side."""
    layer = call.operation
    if not is_of_keras(layer) or call.kind != "Conv2D" or len(call.inputs) != 1:
        return False
    image = call.inputs[0]
    before = graph.producers.get(image)
    size = (layer.kernel_size, layer.strides, layer.dilation_rate) == ((3, 3), (2, 2), (1, 1))
    if not size or image.shape[-1] != 3:
        return False
    if layer.padding == "same":
        return all(side is not None and side % 2 == 1 for side in image.shape[1:3])
    return before is not None and before.kind == "ZeroPadding2D" and _padding(before) == {1}


def _padding(call: Call) -> set[int]:
    return {int(side) for side in np.ravel(call.operation.padding)}


def _start_problem(call: Call | None) -> str:
    named = f"{call.name} ({call.kind})" if call else "nothing"
    return f"it begins with {named}, not with a 3x3 convolution of 3 channels, stride 2, padded by 1 on each side"


def _why(call: Call) -> str:
    """Why a call between the ends is not listed; empty where it is."""
    layer, kind = call.operation, call.kind
    if not is_of_keras(layer):
        return f"{kind} of your own"
    if kind in ("Conv2D", "DepthwiseConv2D", "Activation") and (name := _name(layer.activation)) not in _ACTIVATIONS:
        return f"activation {name}"
    if kind == "Conv2D":
        plain = set(layer.kernel_size) == {1} and set(layer.strides) == {1} and layer.groups == 1
        return "" if plain else f"{layer.kernel_size[0]}x{layer.kernel_size[1]} convolution, stride {layer.strides[0]}"
    if kind == "DepthwiseConv2D":
        return _depthwise_problem(call)
    return "" if kind in _LAYERS | _ELEMENTWISE | {"Activation"} else kind


def _name(activation: Any) -> str:
    """The name of an activation, which may be a function or a layer."""
    return str(getattr(activation, "__name__", type(activation).__name__)).lower()


def _depthwise_problem(call: Call) -> str:
    layer, image = call.operation, call.inputs[0]
    if layer.kernel_size not in ((3, 3), (5, 5)) or layer.depth_multiplier != 1 or set(layer.dilation_rate) != {1}:
        return "depthwise, but not 3x3 or 5x5 without dilation"
    if layer.padding == "same" and (
        set(layer.strides) == {1} or all((side or 0) % 2 == 1 for side in image.shape[1:3])
    ):
        return ""
    return "depthwise without the same padding on each side"
