"""int8 activations that XNNPACK lacks, out of operators that it has.

An int8 tensor holds [-128, 127] and no more: a tensor whose zero point is -128 clamps at zero by itself, and one whose
scale is b / 255 also at b. So a clamp costs no operator of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.surgery.edit import Edit

_LEAST = -128
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_ROOT = float(np.sqrt(6.0))


def relu(edit: Edit, operator: Any) -> bool:
    """RELU and RELU6 as the change of scale that they are, the clamp at zero being that of the integers.

    max(0, x) on a grid whose least value is zero is the nearest value of that grid. RELU6 needs a grid that ends at
    6 or before.
    """
    source, out = (int(side[0]) for side in (operator.inputs, operator.outputs))
    before, after = _int8_grid(edit, source), _int8_grid(edit, out)
    if before is None or after is None or after[1] != _LEAST:
        return False
    if edit.name(operator) == "RELU6" and after[0] * 255 > 6.0 + after[0] / 2:
        return False
    if not 1 / 256 <= before[0] / after[0] <= 128:
        return False
    edit.replace(operator, edit.operator("QUANTIZE", [source], [out]))
    return True


def hard_swish(edit: Edit, operator: Any) -> bool:
    """x * relu6(x + 3) / 6 (Howard et al. 2019, arXiv:1905.02244, section 5.2) as one ADD and one MUL.

    With x = sqrt(6) u it is u * clamp(u + 3 / sqrt(6), 0, sqrt(6)), and the clamp is that of the integers. A layer that
    writes x for this operator alone writes u by the scales of its weights: its integers stay. Otherwise the factor is
    taken out by one more MUL.
    """
    source, out = (int(side[0]) for side in (operator.inputs, operator.outputs))
    before, after = _int8_grid(edit, source), _int8_grid(edit, out)
    if before is None or after is None:
        return False
    maker = edit.makers.get(source)
    scaled = maker is not None and edit.only_reader(source) is operator and _divided(edit, maker, _ROOT, dry=True)
    factor = _ROOT if scaled else 1.0
    step = 6.0 / factor / 255
    if not (_close(before[0] / factor, step) and _product_fits(before[0] / factor * step, after[0])):
        return False
    if scaled:
        _divided(edit, maker, _ROOT)
    three = edit.store("three", np.array(127, np.int8), [3.0 / factor / 127])
    gate = edit.like(source, "_gate", quantization=edit.grid_of([step], [_LEAST]))
    parts = [edit.operator("ADD", [source, three], [gate])]
    if not scaled:
        sixth = edit.store("sixth", np.array(127, np.int8), [1 / 6 / 127])
        whole = edit.like(source, "_share", quantization=edit.grid_of([1 / 255], [_LEAST]))
        parts.append(edit.operator("MUL", [gate, sixth], [whole]))
        gate = whole
    edit.replace(operator, *parts, edit.operator("MUL", [source, gate], [out]))
    return True


def _divided(edit: Edit, maker: Any, factor: float, dry: bool = False) -> bool:
    """Declare what a layer writes, and with it weights and bias, to be smaller by a factor; `dry` only asks."""
    if edit.name(maker) not in _LAYERS or len(maker.inputs) != 3 or maker.builtinOptions is None:
        return False
    weights, bias, out = int(maker.inputs[1]), int(maker.inputs[2]), int(maker.outputs[0])
    stored = all(edit.constant(index) is not None for index in (weights, bias))
    scaled = all(edit.tensor(index).quantization is not None for index in (weights, bias))
    if not stored or not scaled or maker.builtinOptions.fusedActivationFunction:
        return False
    if dry:
        return True
    less = [edit.alias(index, edit.tensor(index).quantization.scale / np.float32(factor)) for index in (weights, bias)]
    maker.inputs = np.array([maker.inputs[0], *less], np.int32)
    scale, zero = edit.grid(out) or (0.0, 0)
    edit.tensor(out).quantization = edit.grid_of([scale / factor], [zero])
    return True


def _int8_grid(edit: Edit, index: int) -> tuple[float, int] | None:
    grid = edit.grid(index) if edit.dtype(index) == "int8" else None
    return grid if grid and np.isfinite(grid[0]) and grid[0] > 0 else None


def _close(scale: float, out: float) -> bool:
    """The range of XNNPACK's ADD, [1/1024, 256), with room for the rounding of float32."""
    return 1 / 1000 <= scale / out <= 250


def _product_fits(product: float, out: float) -> bool:
    """The range of XNNPACK's MUL, [1/65536, 256)."""
    return 1 / 65000 <= product / out <= 250
