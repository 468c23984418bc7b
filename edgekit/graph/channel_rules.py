"""What each layer and operation does to the identities of channels, one rule for a family.

A rule says what leaves a call; anything without a rule, or outside its rule's conditions, locks what enters it.
Adding a layer is one rule and one entry in `_LAYERS` or `_OPERATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.graph.identities import Identities, Ids
from edgekit.graph.walk import Call, Tensor, is_of_keras, tensors
from edgekit.tf import import_keras

Rule = Callable[[Identities, Call], "list[Ids | None]"]


class LockedError(Exception):
    """The call is outside of what its rule understands; the text is the reason shown to the user."""


def apply_rule(found: Identities, call: Call) -> None:
    """Enter what leaves `call` into `found`."""
    try:
        leaving = _rule(call)(found, call)
    except LockedError as reason:
        text = f"{call.kind} {call.name!r} {reason}"
        for tensor in call.inputs:
            found.lock(found.carried[tensor], text)
        leaving = [found.locked(tensor, text) for tensor in call.results]
    for tensor, ids in zip(call.results, leaving, strict=True):
        found.carried[tensor] = ids if ids is None or len(ids) == tensor.shape[-1] else _mismatch(call, tensor, ids)


def _mismatch(call: Call, tensor: Tensor, ids: Ids) -> Ids:
    raise AssertionError(f"rule of {call.kind} gives {len(ids)} channels for {tensor.shape}")


def _rule(call: Call) -> Rule:
    table = _LAYERS if isinstance(call.operation, import_keras().Layer) else _OPERATIONS
    if not is_of_keras(call.operation):
        return _unknown
    if getattr(call.operation, "lora_enabled", False) or getattr(call.operation, "quantization_mode", None):
        return _unknown
    return table.get(call.kind, _unknown)


def _unknown(found: Identities, call: Call) -> list[Ids | None]:
    raise LockedError(_REASONS.get(call.kind, "is not known to keep channels apart"))


def _one(found: Identities, call: Call) -> Ids:
    """The identities of the tensor that a call works on; others, such as masks and states, are locked."""
    if not call.args or not isinstance(call.args[0], Tensor):
        raise LockedError("takes several tensors")
    for other in tensors((call.args[1:], call.kwargs)):
        found.lock(found.carried[other], f"mask or state of {call.kind} {call.name!r}")
    return _closed(found.carried[call.args[0]])


def _closed(ids: Ids | None) -> Ids:
    if ids is None:
        raise LockedError("has an open number of channels")
    return ids


def _activated(found: Identities, call: Call, ids: Ids) -> list[Ids | None]:
    """What leaves a layer that makes `ids` and has an activation inside."""
    if not _elementwise(call.operation.activation):
        found.lock(ids, f"{call.kind} {call.name!r} has the activation {_name(call.operation.activation)}")
    return [ids]


def _elementwise(activation: Any) -> bool:
    known = import_keras().activations
    return activation is None or any(activation is getattr(known, name, None) for name in _ELEMENTWISE_ACTIVATIONS)


def _name(activation: Any) -> str:
    return str(getattr(activation, "__name__", type(activation).__name__))


# Layers that make channels


def _convolution(found: Identities, call: Call) -> list[Ids | None]:
    layer, entering = call.operation, _one(found, call)
    if layer.groups != 1:
        return _grouped(found, call, entering)
    found.slot(call, layer.kernel, -2, entering)
    return _made(found, call, -1, "filters")


def _grouped(found: Identities, call: Call, entering: Ids) -> list[Ids | None]:
    """A convolution with one channel a group is a depthwise one."""
    layer = call.operation
    if layer.groups != len(entering):
        raise LockedError(f"has {layer.groups} groups of several channels")
    leaving = np.repeat(entering, layer.filters // layer.groups)
    found.slot(call, layer.kernel, -1, leaving)
    _bias(found, call, leaving)
    found.settings[call.name] = lambda count: {"filters": count(leaving), "groups": count(entering)}
    return _activated(found, call, leaving)


def _transposed(found: Identities, call: Call) -> list[Ids | None]:
    found.slot(call, call.operation.kernel, -1, _one(found, call))
    return _made(found, call, -2, "filters")


def _dense(found: Identities, call: Call) -> list[Ids | None]:
    found.slot(call, call.operation.kernel, 0, _one(found, call))
    return _made(found, call, 1, "units")


def _made(found: Identities, call: Call, axis: int, setting: str) -> list[Ids | None]:
    """The channels along an axis of the kernel, with their biases."""
    leaving = found.make(call, call.operation.kernel, axis)
    _bias(found, call, leaving)
    found.settings[call.name] = lambda count: {setting: count(leaving)}
    return _activated(found, call, leaving)


def _bias(found: Identities, call: Call, ids: Ids) -> None:
    if call.operation.use_bias:
        found.slot(call, call.operation.bias, 0, ids)


def _depthwise(found: Identities, call: Call) -> list[Ids | None]:
    layer, entering = call.operation, _one(found, call)
    leaving = np.repeat(entering, layer.depth_multiplier)
    found.slot(call, layer.kernel, -2, entering)
    _bias(found, call, leaving)
    return _activated(found, call, leaving)


def _separable(found: Identities, call: Call) -> list[Ids | None]:
    layer, entering = call.operation, _one(found, call)
    found.slot(call, layer.depthwise_kernel, -2, entering)
    found.slot(call, layer.pointwise_kernel, -2, np.repeat(entering, layer.depth_multiplier))
    leaving = found.make(call, layer.pointwise_kernel, -1)
    _bias(found, call, leaving)
    found.settings[call.name] = lambda count: {"filters": count(leaving)}
    return _activated(found, call, leaving)


def _embedding(found: Identities, call: Call) -> list[Ids | None]:
    for tensor in call.inputs:
        found.lock(found.carried[tensor], f"Embedding {call.name!r} takes it for indices")
    leaving = found.make(call, call.operation.embeddings, 1)
    found.settings[call.name] = lambda count: {"output_dim": count(leaving)}
    return [leaving]


def _recurrent(found: Identities, call: Call) -> list[Ids | None]:
    """Input channels can go; the units are tied to the state and stay."""
    layer, entering = call.operation, _one(found, call)
    parts = [layer.forward_layer, layer.backward_layer] if call.kind == "Bidirectional" else [layer]
    if not all(type(part).__name__ in ("LSTM", "GRU", "SimpleRNN") for part in parts):
        raise LockedError("wraps a layer that is not known to keep channels apart")
    for part in parts:
        found.slot(call, part.cell.kernel, 0, entering)
    return [found.locked(tensor, f"state of {call.kind} {call.name!r}") for tensor in call.results]


# Layers that keep each channel to itself


def _through(found: Identities, call: Call) -> list[Ids | None]:
    return [_one(found, call) for _ in call.results]


def _activation(found: Identities, call: Call) -> list[Ids | None]:
    if not _elementwise(call.operation.activation):
        raise LockedError(f"computes {_name(call.operation.activation)}, which may mix channels")
    return _through(found, call)


def _batch_normalization(found: Identities, call: Call) -> list[Ids | None]:
    layer, ids = call.operation, _one(found, call)
    axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
    _last_axis(call, axis)
    for weight in layer.weights:
        found.slot(call, weight, 0, ids)
    return [ids]


def _group_normalization(found: Identities, call: Call) -> list[Ids | None]:
    """With one channel a group each channel is normalized by itself."""
    layer, ids = call.operation, _one(found, call)
    _last_axis(call, layer.axis)
    if layer.groups not in (-1, len(ids)):
        raise LockedError("normalizes over several channels")
    for weight in layer.weights:
        found.slot(call, weight, 0, ids)
    found.settings[call.name] = lambda count: {"groups": count(ids)}
    return [ids]


def _prelu(found: Identities, call: Call) -> list[Ids | None]:
    layer, ids = call.operation, _one(found, call)
    if layer.alpha.shape[-1] == len(ids) > 1:
        found.slot(call, layer.alpha, -1, ids)
    return [ids]


def _layer_scale(found: Identities, call: Call) -> list[Ids | None]:
    ids = _one(found, call)
    found.slot(call, call.operation.gamma, 0, ids)
    found.settings[call.name] = lambda count: {"projection_dim": count(ids)}
    return [ids]


def _rescaling(found: Identities, call: Call) -> list[Ids | None]:
    if np.ndim(call.operation.scale) or np.ndim(call.operation.offset):
        raise LockedError("has a scale for each channel")
    return _through(found, call)


def _softmax(found: Identities, call: Call) -> list[Ids | None]:
    axes = np.atleast_1d(call.operation.axis)
    _not_last_axis(call, axes)
    return _through(found, call)


def _last_axis(call: Call, axis: int) -> None:
    if axis % len(call.inputs[0].shape) != len(call.inputs[0].shape) - 1:
        raise LockedError("works along another axis than the last")


def _not_last_axis(call: Call, axes: Any) -> None:
    rank = len(call.inputs[0].shape)
    if any(axis is None or axis % rank == rank - 1 for axis in axes):
        raise LockedError("mixes all channels")


# Operations on several tensors


def _binary(found: Identities, call: Call) -> list[Ids | None]:
    """Element by element: equal widths are united; a width of one is broadcast and not tied."""
    widths: list[Ids | None] = []
    for leaf in import_keras().tree.flatten((call.args, call.kwargs)):
        if isinstance(leaf, Tensor):
            widths.append(found.carried[leaf])
        elif np.ndim(leaf) and np.shape(leaf)[-1] != 1:
            raise LockedError("has a constant for each channel")
    wide = [ids for ids in widths if ids is None or len(ids) > 1]
    for ids in wide[1:]:
        found.unite(wide[0], ids)
    return [wide[0] if wide else widths[0]]


def _concatenate(found: Identities, call: Call) -> list[Ids | None]:
    parts = call.args[0] if len(call.args) == 1 and isinstance(call.args[0], (list, tuple)) else ()
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        raise LockedError("joins a constant")
    ids = [_closed(found.carried[part]) for part in parts]
    rank = len(parts[0].shape)
    if call.operation.axis % rank == rank - 1:
        return [np.concatenate(ids)]
    for other in ids[1:]:
        found.unite(ids[0], other)
    return [ids[0]]


def _split(found: Identities, call: Call) -> list[Ids | None]:
    ids, operation = _one(found, call), call.operation
    if operation.axis % len(call.inputs[0].shape) != len(call.inputs[0].shape) - 1:
        return [ids for _ in call.results]
    widths = [tensor.shape[-1] or 0 for tensor in call.results]
    parts = np.split(ids, np.cumsum(widths)[:-1])
    found.settings[call.name] = lambda count: {
        "indices_or_sections": tuple(int(end) for end in np.cumsum([count(part) for part in parts])[:-1])
    }
    return list(parts)


# Operations that move channels


def _reshape(found: Identities, call: Call) -> list[Ids | None]:
    """Where one channel of the result holds several of the input, these are united."""
    moved = _moved(found, call)
    leaving = moved.reshape(-1, moved.shape[-1])
    if len(np.unique(leaving)) < leaving.shape[-1]:
        raise LockedError("moves channels to another axis")
    for row in leaving[1:]:
        found.unite(leaving[0], row)
    ids = leaving[0]
    key = "target_shape" if call.kind == "Reshape" and hasattr(call.operation, "target_shape") else "newshape"
    shape = getattr(call.operation, key, None)
    if shape is not None and shape[-1] != -1:
        found.settings[call.name] = lambda count: {key: (*shape[:-1], count(ids))}
    return [ids]


def _flatten(found: Identities, call: Call) -> list[Ids | None]:
    return [_moved(found, call)[0].reshape(-1)]


def _rearranged(found: Identities, call: Call) -> list[Ids | None]:
    """Allowed where each channel is still at its place along the last axis."""
    moved, ids = _moved(found, call), _one(found, call)
    if moved.shape[-1] != len(ids) or not (moved == ids).all():
        raise LockedError("moves channels to another place")
    return [ids]


def _moved(found: Identities, call: Call) -> Any:
    """The identities of a whole tensor, moved by the operation itself; the batch axis is one."""
    ids, tensor = _one(found, call), call.args[0]
    shape = (tensor.shape[0] or 1, *tensor.shape[1:])
    if None in shape:
        raise LockedError("has an open dimension")
    whole = np.broadcast_to(ids, shape).astype("int32")
    if len(call.results) != 1:
        raise LockedError("gives several tensors")
    args, kwargs = import_keras().tree.map_structure(
        lambda leaf: import_keras().ops.convert_to_tensor(whole) if isinstance(leaf, Tensor) else leaf,
        (call.args, call.kwargs),
    )
    moved = np.asarray(call.operation.call(*args, **kwargs))
    if moved.ndim < 2 or moved.shape[-1] != call.results[0].shape[-1]:
        raise LockedError("moves channels to another axis")
    return moved


def _reduction(found: Identities, call: Call) -> list[Ids | None]:
    axes = call.operation.axis
    _not_last_axis(call, [None] if axes is None else np.atleast_1d(axes))
    return _through(found, call)


def _pad(found: Identities, call: Call) -> list[Ids | None]:
    widths = call.operation.pad_width
    if len(widths) != len(call.inputs[0].shape) or any(widths[-1]):
        raise LockedError("adds channels")
    return _through(found, call)


_ELEMENTWISE_ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu"),
    *("linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus"),
    *("softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink", "threshold"),
)

_REASONS = {
    "LayerNormalization": "normalizes over all channels",
    "RMSNormalization": "normalizes over all channels",
    "UnitNormalization": "normalizes over all channels",
    "MultiHeadAttention": "shares its channels out to heads",
    "GroupQueryAttention": "shares its channels out to heads",
    "Matmul": "mixes channels",
    "Dot": "mixes channels",
    "Einsum": "mixes channels",
    "Softmax": "mixes all channels",
}


def _family(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_LAYERS: dict[str, Rule] = {
    **_family(_convolution, "Conv1D Conv2D Conv3D"),
    **_family(_transposed, "Conv1DTranspose Conv2DTranspose Conv3DTranspose"),
    **_family(_depthwise, "DepthwiseConv1D DepthwiseConv2D"),
    **_family(_separable, "SeparableConv1D SeparableConv2D"),
    **_family(_dense, "Dense"),
    **_family(_embedding, "Embedding"),
    **_family(_recurrent, "LSTM GRU SimpleRNN Bidirectional"),
    **_family(_batch_normalization, "BatchNormalization"),
    **_family(_group_normalization, "GroupNormalization"),
    **_family(_prelu, "PReLU"),
    **_family(_layer_scale, "LayerScale"),
    **_family(_rescaling, "Rescaling"),
    **_family(_activation, "Activation"),
    **_family(_softmax, "Softmax"),
    **_family(
        _through,
        """ReLU LeakyReLU ELU Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise
        GaussianDropout AlphaDropout ActivityRegularization StochasticDepth Resizing CenterCrop
        MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D
        GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
        GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
        AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
        AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D
        ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D
        UpSampling1D UpSampling2D UpSampling3D""",
    ),
    **_family(_binary, "Add Subtract Multiply Maximum Minimum Average CustomScaleLayer"),
    **_family(_concatenate, "Concatenate"),
    **_family(_reshape, "Reshape"),
    **_family(_flatten, "Flatten"),
    **_family(_rearranged, "Permute RepeatVector"),
}

_OPERATIONS: dict[str, Rule] = {
    **_family(_binary, "Add Subtract Multiply Divide TrueDivide DivideNoNan Maximum Minimum"),
    **_family(_concatenate, "Concatenate"),
    **_family(_split, "Split"),
    **_family(_reshape, "Reshape"),
    **_family(_rearranged, "Transpose Squeeze ExpandDims GetItem Moveaxis Swapaxes Flip Tile Repeat Roll"),
    **_family(_reduction, "Mean Max Amax Min Amin Sum Var Std"),
    **_family(_softmax, "Softmax LogSoftmax"),
    **_family(_pad, "Pad"),
    **_family(
        _through,
        """Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign SoftShrink SparsePlus Silu Squareplus LogSigmoid LeakyRelu
        HardSigmoid HardSilu Elu Selu Gelu Celu TanhShrink HardTanh HardShrink Threshold Tanh Absolute Abs Negative Exp
        Log Log1p Expm1 Sqrt Rsqrt Square Reciprocal Sign Round Floor Ceil Sin Cos Erf Copy StopGradient Cast""",
    ),
}
