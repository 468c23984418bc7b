"""Evidence: what the rules about causes share, their thresholds and how a finding is written."""

from __future__ import annotations

from edgekit.doctor.equalizable import links
from edgekit.doctor.layer_error import Look, Observed
from edgekit.doctor.pairing import brief
from edgekit.finding import Finding

NOISE = 0.01
"""Noise to signal from which a layer is asked for a cause: -20 dB."""

BIASED = 10**-2.5
"""The same for noise that all samples share: -25 dB."""

FEW_LEVELS = 16
"""Levels that values have to fill, of the 256 of an activation or the 127 on each side of a weight."""

UNLIKE = 8.0
"""How many times wider the rest has to be: three of the eight bits are gone."""

IN_FLOAT = "keep the layer in float (`--repair` tries it; with training, `keep = true` in quantize_aware)"
"""How a layer stays in float; all operators of a type do by the option `keep-float=TYPE` of a recipe."""

DFQ = "arXiv:1906.04721, section 3.1"
SURVEY = "arXiv:1806.08342, section 3.1"


def warn(code: str, one: Observed, problem: str, mend: str, source: str = "") -> Finding:
    """A finding about one tensor."""
    return Finding("warn", code, brief(one.tensor.name), f"{one.error.operator}: {problem}", mend, source)


def linked(look: Look, one: Observed) -> bool:
    """Whether a neighbour can take the scales of a layer."""
    return any(one.pair[0].index in (link.first.index, link.second.index) for link in links(look.pairing.float))
