"""Cause: why an operator of an int8 file adds so much error, in words, from what was seen.

A rule looks at one tensor and what writes it. It speaks only where a hundredth of the signal is noise (20 dB), each
channel counted the same, and an output of the file has suffered: layers of sound files lay above 27 dB when this was
written but for some with channels that are almost silent, most of those with planted faults (`tests/doctor/planted.py`)
below 15. A step is too coarse for values that fill fewer than 16 of its levels: that is a 4-bit number, where rounding
to the nearest breaks networks (Nagel et al. 2020, arXiv:2004.10568).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from edgekit.doctor import defects
from edgekit.doctor.cause_weights import coarse_weights
from edgekit.doctor.evidence import BIASED, DFQ, FEW_LEVELS, IN_FLOAT, NOISE, SURVEY, UNLIKE, linked, warn
from edgekit.doctor.layer_error import Array, Look, Observed, by_channel, channel_noise, ends_of
from edgekit.doctor.pairing import brief
from edgekit.finding import Finding, grouped
from edgekit.stages.integer_graph import FIXED_RANGE
from edgekit.tflite.graph import Operator

_MOST = 0.999
_FLAT = {"LOGISTIC": (-6.0, 6.0), "TANH": (-3.0, 3.0), "HARD_SWISH": (-3.0, np.inf)}
"""Where each activation is not flat: beyond, it is within 0.3 % of its end (0.5 % for tanh), or exactly zero."""


@dataclass(frozen=True)
class Cause:
    """A reason and how much it hurts: noise to signal of the layer it was found at."""

    finding: Finding
    noise: float


Rule = Callable[[Look, Observed], Finding | None]


def causes(look: Look) -> tuple[Finding, ...]:
    """The reasons why the file is bad, the greatest harm first; those with one code are put together.

    What the numbers of the file say comes first. Of layers is spoken only where an output has suffered; of errors that
    all samples share already where it has a third of that noise.
    """
    static = [*defects.overflowing_biases(look.pairing), *defects.other_weights(look.pairing)]
    if static or not suffered(look, BIASED):
        return tuple(static)
    rule = _first if suffered(look) else biased_error
    found = [Cause(finding, one.noise) for one in _all(look) if (finding := rule(look, one))]
    together = grouped(found, lambda cause: cause.finding.code).values()
    ranked = sorted(together, key=lambda group: -sum(cause.noise for cause in group))
    return tuple(_joined(group) for group in ranked)


def suffered(look: Look, least: float = NOISE) -> bool:
    """Whether an output has more than this noise, as it runs; in a channel, unless its grid is dictated."""
    return any(max(output_noise(one)) >= least for one in look.layers if _is_output(look, one))


def output_noise(one: Observed) -> tuple[float, float]:
    """Noise to signal of a tensor as the file runs: of all values, and the mean over channels."""
    signal = max(float(np.square(one.real).sum()), 1e-12)
    whole = float(np.square(one.real - one.running).sum()) / signal
    return whole, 0.0 if one.pair[1].name in FIXED_RANGE else float(channel_noise(one.real, one.running).mean())


def _all(look: Look) -> tuple[Observed, ...]:
    return (*look.inputs, *look.layers)


def _is_output(look: Look, one: Observed) -> bool:
    """Whether a tensor goes out, maybe through a cast."""
    graph = look.pairing.int8
    index = one.pair[1].outputs[0]
    casts = (op for op in graph.operators if op.name in ("DEQUANTIZE", "QUANTIZE"))
    return index in graph.outputs or index in {op.inputs[0] for op in casts if op.outputs[0] in graph.outputs}


def _first(look: Look, one: Observed) -> Finding | None:
    if max(one.noise, one.grid_noise) < NOISE:
        return biased_error(look, one)
    return next((found for rule in RULES if (found := rule(look, one))), None)


def _joined(group: list[Cause]) -> Finding:
    worst = max(group, key=lambda cause: cause.noise).finding
    more = f"; and at {len(group) - 1} more tensors" if len(group) > 1 else ""
    return Finding(worst.level, worst.code, worst.subject, worst.problem + more, worst.mend, worst.source)


# The input of a flat activation.


def flat_activation(look: Look, one: Observed) -> Finding | None:
    """A sigmoid, tanh or hard-swish, or what it reads, where the input spans far into its flat parts."""
    operator = _flat_operator(look, one)
    tensor = None if operator is None else look.pairing.int8.tensors[operator.inputs[0]]
    if operator is None or tensor is None or not tensor.scales:
        return None
    (low, high), bounds = ends_of(tensor), _FLAT[operator.name]
    lively = max(0.0, min(high, bounds[1]) - max(low, bounds[0]))
    if lively * UNLIKE / 2 > high - low:
        return None
    return warn(
        "saturated-activation",
        one,
        f"the input of {operator.name} spans {low:.4g}..{high:.4g}, and it is flat in all but "
        f"{lively / (high - low):.1%} of that: {lively / tensor.scales[0]:.0f} of 256 levels are left",
        "clip the input to the part that matters (a percentile in calibration), or keep this operator in float: "
        f"`-r int8:keep-float={operator.name}`",
        "arXiv:1905.02244, section 5.2",
    )


def _flat_operator(look: Look, one: Observed) -> Operator | None:
    """The flat activation that writes a tensor, or is all that reads it."""
    if one.pair[1].name in _FLAT:
        return one.pair[1]
    read = [op for op in look.pairing.int8.operators if one.pair[1].outputs[0] in op.inputs]
    return read[0] if len(read) == 1 and read[0].name in _FLAT else None


# What does not fit on the grid.


def narrow_range(_: Look, one: Observed) -> Finding | None:
    """Values beyond the ends of the grid, which make most of the noise."""
    if not one.tensor.scales or one.grid_noise < NOISE:
        return None
    low, high = ends_of(one.tensor)
    outside = (one.real < low) | (one.real > high)
    off = np.square(one.real - one.snapped)
    if not outside.any() or off[outside].sum() < off.sum() / 2 or np.square(one.real).sum() * NOISE > off.sum() * 2:
        return None
    return warn(
        "narrow-range",
        one,
        f"{outside.mean():.2%} of the values are cut off: the grid holds {low:.4g}..{high:.4g}, the samples reach "
        f"{one.real.min():.4g}..{one.real.max():.4g}",
        "calibrate on more samples, of all kinds, prepared as in use",
        SURVEY,
    )


# Activations of unlike size on one grid.


def unlike_parts(look: Look, one: Observed) -> Finding | None:
    """A tensor that has to share a wide grid, because it is joined to a wider one."""
    graph = look.pairing.int8
    if one.pair[1].name in ("CONCATENATION", "PACK"):
        join = one.pair[1]
    else:
        reading = [op for op in graph.operators if op.name in ("CONCATENATION", "PACK")]
        same = [op for op in reading if one.pair[1].outputs[0] in op.inputs and _one_grid(look, op, one)]
        if not same:
            return None
        join = same[0]
    wide = graph.tensors[join.outputs[0]]
    real = {each.pair[1].outputs[0]: each.real for each in _all(look)}
    parts = [index for index in join.inputs if index in real]
    spans = [_span(real[index]) for index in parts]
    if not wide.scales or len(spans) < 2 or max(spans) < 2 * UNLIKE * min(spans):
        return None
    narrow = brief(graph.tensors[parts[int(np.argmin(spans))]].name)
    return warn(
        "concat-scales",
        one,
        f"{join.name} joins parts of unlike size on one grid: {narrow!r} spans {min(spans):.3g}, the widest "
        f"{max(spans):.3g}, so {min(spans) / wide.scales[0]:.0f} of 256 levels are left to it",
        "scale the parts alike before they are joined (the next layer can take the factor), or join them in float: "
        f"`-r int8:keep-float={join.name}`",
        "arXiv:1712.05877, appendix A.3",
    )


def _one_grid(look: Look, join: Operator, one: Observed) -> bool:
    wide = look.pairing.int8.tensors[join.outputs[0]]
    return wide.scales == one.tensor.scales


def tiny_output(look: Look, one: Observed) -> Finding | None:
    """An output of the file with channels of unlike size."""
    if not _is_output(look, one) or one.grid_noise < NOISE or one.pair[1].name in FIXED_RANGE:
        return None
    spans = by_channel(one.real).max(0) - by_channel(one.real).min(0)
    if len(spans) < 2 or spans.max() < 2 * UNLIKE * spans.min():
        return None
    return warn(
        "tiny-output",
        one,
        f"an output of {spans.min():.3g} (channel {int(spans.argmin())}) lies on the grid of one of {spans.max():.3g} "
        f"(channel {int(spans.argmax())}): {spans.min() / one.tensor.scales[0]:.1f} of 256 levels are left to it",
        "give the model one output for each, or scale them alike inside the model and back outside",
        "arXiv:1712.05877, section 2.1",
    )


def outlier_activation(_: Look, one: Observed) -> Finding | None:
    """A grid that a few values, of these samples or of those that it was calibrated with, have made wide."""
    if not one.tensor.scales or one.grid_noise < NOISE or one.pair[1].name in FIXED_RANGE:
        return None
    low, high = ends_of(one.tensor)
    ends = np.quantile(one.real, [1 - _MOST, _MOST])
    bulk = max(float(ends[1]), 0.0) - min(float(ends[0]), 0.0)
    if bulk * UNLIKE > high - low:
        return None
    reached = _span(one.real) * 2 > high - low
    why = "a few values reach its ends" if reached else "no value of these samples comes near its ends"
    return warn(
        "activation-outlier",
        one,
        f"its grid spans {low:.4g}..{high:.4g}, and {_MOST:.1%} of the values lie in {ends[0]:.4g}..{ends[1]:.4g}: "
        f"{why}",
        "calibrate by a percentile or by the least square error, and look for samples unlike the others",
        SURVEY,
    )


def unlike_channels(look: Look, one: Observed) -> Finding | None:
    """Channels of an inner tensor too small for its grid."""
    if not one.tensor.scales or one.grid_noise < NOISE or one.pair[1].index < 0:
        return None
    rows = by_channel(one.real)
    levels = (rows.max(0) - rows.min(0)) / one.tensor.scales[0]
    small = (levels > 0) & (levels < FEW_LEVELS)
    if not small.any() or small.sum() * 4 < (levels > 0).sum():
        return None
    return warn(
        "scale-disparity",
        one,
        f"{int(small.sum())} of {len(levels)} channels fill less than {FEW_LEVELS} of 256 levels of its grid",
        "equalize the layers (exact in float)" if linked(look, one) else f"use `-r int16x8`, or {IN_FLOAT}",
        DFQ,
    )


def biased_error(_: Look, one: Observed) -> Finding | None:
    """An error that all samples share: from layer to layer it adds up in amplitude, so it counts at -25 dB already.

    Weights that were cut off instead of rounded left 0.4 to 0.9 % of noise in the outputs of small networks, and cost
    0.6 points (benchmarks/results/doctor.md); in sound files of the same networks it is below 0.04 %.
    """
    if one.error.bias < 0.3 or one.noise < BIASED or one.error.operator == "INPUT":
        return None
    return warn(
        "biased-error",
        one,
        f"{one.error.bias:.0%} of its noise is a shift of each channel that all samples have",
        "correct the biases by the mean error (it costs nothing at run time)",
        "arXiv:1906.04721, section 4.2",
    )


def _span(values: Array) -> float:
    """The width of a range with zero in it."""
    return max(float(values.max()), 0.0) - min(float(values.min()), 0.0)


RULES: Iterable[Rule] = (
    flat_activation,
    narrow_range,
    coarse_weights,
    unlike_parts,
    tiny_output,
    outlier_activation,
    unlike_channels,
    biased_error,
)
"""Asked in this order; the first that speaks is the cause."""
