"""Checks of the NNAPI delegate: each is asked of an operator at an API level, and returns the fault that it finds.

Source: NNAPIDelegateKernel::Validate in tensorflow/lite/delegates/nnapi/nnapi_delegate.cc. Which operator is asked what
is in `nnapi_rules`; versions, levels and first inputs are in `targets/operators/nnapi.toml`.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.forecast.node import RESHAPED, STATIC, Fault, Node
from edgekit.tflite.graph import Tensor

LevelRule = Callable[[Node, int], Fault | None]

NNAPI_1_2, NNAPI_1_3, FEATURE_LEVEL_6 = 29, 30, 1_000_006
MOST_DIMENSIONS = 4
_REFERENCE_WINDOW = 256
_EIGHT_BITS = ("int8", "uint8")
LSTM_INPUTS = (20, 24)
_BASIC_LSTM = 5
NEWER = "ask for a newer Android, or replace the layer"


def asked(code: str, reason: str, mend: str, fits: Callable[[Node, int], bool]) -> LevelRule:
    """A rule: the fault, unless `fits` holds for the operator at the level."""

    def rule(node: Node, level: int) -> Fault | None:
        return None if fits(node, level) else Fault(code, reason, mend)

    return rule


def before(level: int, rule: LevelRule) -> LevelRule:
    """A rule that holds below an API level only."""
    return lambda node, found: rule(node, found) if found < level else None


def ranks(*places: int, least: int = 0, most: int | None = MOST_DIMENSIONS) -> LevelRule:
    """These inputs have no more dimensions (None: any number), nor fewer."""
    bounds = ["no" if least == 1 else f"fewer than {least}"] if least else []
    bounds += [f"more than {most}"] if most is not None else []

    def fits(node: Node, _: int) -> bool:
        found = [len(node.input(place).shape) for place in places]
        return all(least <= count and (most is None or count <= most) for count in found)

    return asked("too-many-dimensions", f"an input has {' or '.join(bounds)} dimensions", RESHAPED, fits)


def constant(place: int, kind: str = "") -> LevelRule:
    """This input is a constant (of a type)."""
    return asked(
        "computed-input",
        f"input {place} is not {'an ' + kind if kind else 'a'} constant",
        STATIC,
        lambda node, _: node.input(place).constant and kind in ("", node.input(place).dtype),
    )


def typed(place: int, *kinds: str) -> LevelRule:
    """This input has one of these types."""
    return asked(
        "unsupported-type",
        f"input {place} is not {' or '.join(kinds)}",
        "compute in one of these types",
        lambda node, _: node.input(place).dtype in kinds,
    )


def gives(*kinds: str) -> LevelRule:
    """The output has one of these types."""
    return asked(
        "unsupported-type",
        f"the result is not {' or '.join(kinds)}",
        "compute in one of these types",
        lambda node, _: node.output().dtype in kinds,
    )


def inputs(*counts: int) -> LevelRule:
    """The operator has one of these numbers of inputs."""
    return asked(
        "input-count",
        f"not {' or '.join(map(str, counts))} inputs",
        "replace the layer",
        lambda node, _: len(node.inputs) in counts,
    )


def unset(*options: str) -> LevelRule:
    """None of these options is set."""
    return asked(
        "setting",
        f"{' or '.join(options)} is set",
        "make the layer without it",
        lambda node, _: not any(node.option(name) for name in options),
    )


plain = asked(
    "fused-activation",
    "a fused activation",
    "put the activation into a layer of its own",
    lambda node, _: node.operator.activation == "NONE",
)
plain_integers = asked(
    "fused-activation",
    "an activation fused to int32",
    "compute in float32",
    lambda node, _: node.input(0).dtype != "int32" or node.operator.activation == "NONE",
)
has_dimensions = asked(
    "scalar-result", "a result without dimensions", "keep the dimensions", lambda node, _: bool(node.output().shape)
)
not_empty = asked("shape", "an empty input", "leave the layer out", lambda node, _: 0 not in node.input(0).shape)


def _hybrid(node: Node, weights: int) -> bool:
    return node.input(0).dtype == "float32" and node.input(weights).dtype in _EIGHT_BITS


def not_hybrid(weights: int) -> LevelRule:
    """Weights are not 8-bit under float data."""
    return asked(
        "hybrid",
        "8-bit weights under float32 data (dynamic range)",
        "quantize fully (`--recipe int8`), or not at all",
        lambda node, _: not _hybrid(node, weights),
    )


def _restricted(node: Node, _: int) -> bool:
    if node.input(0).dtype != "uint8":
        return True
    scales = [tensor.scales[0] if tensor.scales else 0.0 for tensor in (node.input(0), node.input(1), node.output())]
    return scales[0] * scales[1] < scales[2]


restricted_scales = asked("scales", "input scale x weight scale is not below the output scale", NEWER, _restricted)
one_weight_scale = asked(
    "per-channel-weights",
    "one weight scale for each channel",
    "make it with `--recipe int8:per-tensor`, or ask for a newer Android",
    lambda node, _: len(node.input(1).scales) <= 1,
)
undilated = asked(
    "setting",
    "a dilation",
    NEWER,
    lambda node, _: node.option("DilationWFactor") == node.option("DilationHFactor") == 1,
)
ungrouped = asked("setting", "groups", NEWER, lambda node, _: node.input(0).shape[3:4] == node.input(1).shape[3:4])
small_window = asked(
    "setting",
    "a window above 256 elements, 8-bit",
    "pool in two steps",
    lambda node, _: (
        node.input(0).dtype not in _EIGHT_BITS
        or node.option("FilterWidth") * node.option("FilterHeight") <= _REFERENCE_WINDOW
    ),
)


def mul_version(node: Node, level: int) -> Fault | None:
    """Version 3 goes to accelerators only, which are chosen from API level 29 on."""
    if node.operator.version <= 2 or level >= NNAPI_1_2:
        return None
    return Fault("operator-version", "version 3 of the operator", NEWER)


def kept_dimensions(node: Node, level: int) -> Fault | None:
    """Dimensions are kept from NNAPI 1.3 on."""
    if not node.option("KeepNumDims") or level >= NNAPI_1_3:
        return None
    return Fault("api-level", f"kept dimensions need API level {NNAPI_1_3}", NEWER)


def axis(node: Node, _: int) -> Fault | None:
    """An axis is int32, or a constant of int64 that fits; the result is int32."""
    found = node.input(1)
    if (found.dtype == "int32" or (found.dtype == "int64" and _small(found))) and node.output().dtype == "int32":
        return None
    return Fault("unsupported-type", "the axis or the result is not int32", "set output_type to int32")


def new_shape(node: Node, _: int) -> Fault | None:
    """The new shape is a constant, and not that of a scalar."""
    if len(node.inputs) >= 2:
        return constant(1)(node, 0)
    wanted = node.operator.options.get("NewShape", ())
    if isinstance(wanted, tuple) and wanted and wanted != (0,):
        return None
    return Fault("scalar-result", "a reshape to a scalar", "keep a dimension of 1")


def up_to_1_2(rule: LevelRule) -> LevelRule:
    """A rule that holds for NNAPI 1.2 and before."""
    return before(NNAPI_1_2 + 1, rule)


def small_ranks(node: Node, _: int) -> Fault | None:
    """Two or four dimensions."""
    if len(node.input(0).shape) in (2, 4):
        return None
    return Fault("shape", "neither two nor four dimensions", NEWER)


def pad_value(node: Node, level: int) -> Fault | None:
    """A value to pad with, and 8-bit padding, came with NNAPI 1.2."""
    if len(node.inputs) < 2:
        return Fault("input-count", "no paddings", "make the file again")
    if level >= NNAPI_1_2 or (len(node.inputs) == 2 and node.input(0).dtype == "float32"):
        return None
    return Fault("api-level", f"8-bit padding, or a value to pad with, needs API level {NNAPI_1_2}", NEWER)


def crops(node: Node, _: int) -> Fault | None:
    """Nothing is cropped, at two dimensions."""
    values = node.input(2).values()
    if values is not None and values.dtype.itemsize * values.size == 16 and not values.any():
        return None
    return Fault("setting", "crops that are not four zeros", RESHAPED)


def same_quantization(node: Node, _: int) -> Fault | None:
    """All uint8 inputs have one scale and zero point."""
    found = {(tensor.scales[:1], tensor.zero_points[:1]) for tensor in node.inputs if tensor is not None}
    if node.input(0).dtype != "uint8" or len(found) == 1:
        return None
    return Fault("scales", "uint8 inputs of different scales", NEWER)


def symmetric(node: Node, level: int) -> Fault | None:
    """NNAPI 1.2 has int8 with zero point 0 only."""
    if level != NNAPI_1_2 or node.input(0).dtype != "int8" or not any(node.input(0).zero_points[:1]):
        return None
    return Fault("zero-point", "int8 with a zero point other than 0", NEWER)


def squeezed(node: Node, level: int) -> Fault | None:
    """NNAPI 1.1 squeezes only what is named."""
    if level != 28 or node.operator.options.get("SqueezeDims"):
        return None
    return Fault("setting", "no dimensions are named to squeeze", NEWER)


def sparse_projection(node: Node, level: int) -> Fault | None:
    """A sparse projection has no weights, and came with NNAPI 1.2."""
    if node.option("Type") != 1 or (level >= NNAPI_1_2 and len(node.inputs) == 2):
        return None
    return Fault("setting", "a sparse projection, with weights or before API level 29", NEWER)


def scalars_constant(node: Node, _: int) -> Fault | None:
    """Operands without dimensions are constants."""
    if all(tensor.constant or tensor.shape for tensor in (node.input(0), node.input(1))):
        return None
    return Fault("computed-input", "a computed scalar", "give it a dimension of 1")


def cast_result(node: Node, level: int) -> Fault | None:
    """A cast gives float32, int32 or 8 bits; int8 since NNAPI 1.3."""
    kinds = ("float32", "int32", "uint8", *(("int8",) if level >= NNAPI_1_3 else ()))
    return gives(*kinds)(node, level)


def split_input(node: Node, level: int) -> Fault | None:
    """What is split is float32, int32 or uint8; int8 since NNAPI 1.3."""
    kinds = ("float32", "uint8", "int32", *(("int8",) if level >= NNAPI_1_3 else ()))
    return typed(1, *kinds)(node, level)


def split_sizes(node: Node, _: int) -> Fault | None:
    """Sizes are a constant vector of int32 without zeros, also where one is left open."""
    sizes, place = node.input(1).values(), node.input(2).values()
    if node.input(1).dtype != "int32" or sizes is None or sizes.ndim != 1 or place is None or place.size != 1:
        return Fault("computed-input", "sizes or axis are not int32 constants", STATIC)
    shape, at = node.input(0).shape, int(place.reshape(-1)[0])
    if not -len(shape) <= at < len(shape):
        return Fault("shape", f"axis {at} of {len(shape)} dimensions", "make the file again")
    rest = shape[at] - int(sizes[sizes != -1].sum()) if (sizes == -1).any() else -1
    return None if (sizes != 0).all() and rest != 0 else Fault("shape", "a part of size 0", "leave it out")


def quantized_scales(node: Node, level: int) -> Fault | None:
    """Quantized is with scales above 0, to uint8, and to int8 since NNAPI 1.3."""
    scaled = [node.output()] + ([node.input(0)] if node.input(0).dtype in _EIGHT_BITS else [])
    if any(not tensor.scales or tensor.scales[0] <= 0 for tensor in scaled):
        return Fault("scales", "a scale that is not above 0", "make the file again")
    return gives("uint8", *(("int8",) if level >= NNAPI_1_3 else ()))(node, level)


def condition(node: Node, _: int) -> Fault | None:
    """Condition and values have one shape."""
    if node.input(0).shape == node.input(1).shape:
        return None
    return Fault("broadcast", "condition and values differ in shape", "give them one shape")


def filled(node: Node, _: int) -> Fault | None:
    """Constant dimensions, at least one, and a value of a type that NNAPI has."""
    sizes, value = node.input(0), node.input(1)
    fits = sizes.dtype in ("int32", "int64") and _small(sizes) and sizes.shape[:1] != (0,)
    fits &= value.dtype in ("float32", "int32") or (value.dtype == "int64" and (not value.constant or _small(value)))
    return None if fits else Fault("setting", "it fills constant sizes with float32, int32 or small int64", STATIC)


def _small(tensor: Tensor) -> bool:
    """The values are constants that int32 holds."""
    values = tensor.values()
    return values is not None and all(-(2**31) <= int(value) < 2**31 for value in values.reshape(-1))


def not_last(offset: int, until: int) -> LevelRule:
    """The axis is not the last dimension, before a level."""

    def rule(node: Node, level: int) -> Fault | None:
        if level >= until or node.option("Axis") not in (-1, len(node.input(0).shape) + offset):
            return None
        return Fault("setting", "along the last dimension", "use another axis, and transpose")

    return rule


def matrices(node: Node, _: int) -> Fault | None:
    """Two matrices of one type, without broadcasting."""
    left, right = node.input(0), node.input(1)
    if left.dtype != right.dtype:
        return Fault("hybrid", "matrices of different types", "quantize both, or none")
    if len(left.shape) == len(right.shape) and left.shape[:-2] == right.shape[:-2]:
        return None
    return Fault("broadcast", "matrices that are broadcast", "give both the same leading dimensions")


def lstm(node: Node, level: int) -> Fault | None:
    """Weights of the full kernel have a type; the basic kernel is one of constants and fixed scales."""
    if len(node.inputs) == _BASIC_LSTM:
        return _basic_lstm(node)
    if len(node.inputs) == 24 and level < NNAPI_1_2:
        return Fault("api-level", f"24 inputs need API level {NNAPI_1_2}", NEWER)
    kinds = ("float32", "uint8", *(("int8",) if level >= NNAPI_1_3 else ()))
    hybrid = not_hybrid(2)(node, level) if level < NNAPI_1_2 and len(node.inputs) in LSTM_INPUTS else None
    return hybrid or typed(4, *kinds)(node, level)


def _basic_lstm(node: Node) -> Fault | None:
    state = node.output(1)
    fits = node.input(2).dtype == "uint8" and all(_quantized(tensor) for tensor in (node.input(0), node.output()))
    fits &= state.scales[:1] == (16 / 32768,) or not any(state.zero_points[:1])
    if fits and node.input(2).constant and node.input(3).constant:
        return None
    return Fault("setting", "a basic LSTM without uint8 constants and the scales of its definition", "unroll it")


def _quantized(tensor: Tensor) -> bool:
    return tensor.scales[:1] == (1 / 128,) and tensor.zero_points[:1] == (128,)
