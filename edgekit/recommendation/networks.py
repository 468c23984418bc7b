"""Techniques of the network as techniques: held against the network as it is, in the format it is deployed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.errors import ModelError
from edgekit.graph.macs import Cost, costs, total
from edgekit.graph.rebuild import copy
from edgekit.graph.unroll import unrolled
from edgekit.graph.walk import walk
from edgekit.model.live import from_keras
from edgekit.recommendation.evidence import EVIDENCE
from edgekit.recommendation.files import Draft, Network, planned, sparse
from edgekit.recommendation.judging import LITTLE, reason, saved, verdict
from edgekit.recommendation.technique import Latency, Need, Technique, Verdict
from edgekit.recommendation.variations import TRAINING, Variation, variation
from edgekit.stages.convert import lower_at_once
from edgekit.stages.integer_ops import RULES
from edgekit.stages.numerics import Scheme
from edgekit.stages.train import refuse_fixed_batch
from edgekit.target import Target

WORDS = ("channels50", "factorize50", "student50", "prune80", "cluster16", "drop10")
LADDER = ("channels25", "channels50", "channels75", "channels90")
MOST_CALLS = 64
"""Operations of a network of which every variation is converted; a larger one is only planned, unless asked for."""
_AT_MOST = "what it saves is known only with data, which tells the branches that can go"
_UNROLLED = "it unrolls recurrent layers: all integers where there was a loop in float, in another file than int8 alone"
_LOOPS = {"WHILE", "IF", "CALL_ONCE", "UNIDIRECTIONAL_SEQUENCE_LSTM"}


@dataclass(frozen=True)
class Changed:
    """A variation, and its file or what is planned of it; None where there is none."""

    variation: Variation
    draft: Draft | None = None


def changed(
    model: Any, words: Sequence[str], deployed: Draft, scheme: Scheme, target: Target, make: bool
) -> list[Changed]:
    """Each technique planned on a Keras model, and made into a file where `make` says so.

    All are refused where the model cannot be copied, or not be trained for its fixed batch.
    """
    try:
        refuse_fixed_batch(model)
        copy(model)
    except ModelError as cause:
        return [Changed(Variation(word, refused=cause.problem)) for word in words]
    before = total(costs(walk(model)))
    found = []
    for word in words:
        one = variation(model, word, target)
        try:
            found.append(Changed(one, _draft(one, before, deployed, scheme, target, make)))
        except ModelError as cause:
            found.append(Changed(Variation(word, refused=cause.problem)))
    return found


def _draft(one: Variation, before: Cost, deployed: Draft, scheme: Scheme, target: Target, make: bool) -> Draft | None:
    if one.cost is None:
        return None
    if one.zeros:
        return sparse(deployed, one.zeros, target)
    if one.make is None or not make:
        return planned(deployed, before, one.cost, scheme)
    network = from_keras(one.make(), one.name, one.name, None)
    return Network(lower_at_once(network, 1), target).draft(scheme)


def technique(
    found: Changed, deployed: Draft, scheme: Scheme, latencies: dict[str, Latency], target: Target
) -> Technique:
    """What a changed network brings beside the network as it is, in one number format."""
    one, phrase = found.variation, f"{found.variation.name}-{scheme}"
    if one.refused:
        return Technique(one.name, "not-allowed", one.refused)
    kind = one.name.rstrip("0123456789")
    if found.draft is None:
        worth: Verdict = "pays-little" if one.most >= LITTLE else "does-not-pay"
        return Technique(one.name, worth, _AT_MOST, phrase, scheme, needs=one.needs, risk=one.risk, notes=one.notes)
    size, latency = found.draft.size, latencies[scheme if one.same else one.name]
    if latency.kind == "refused":
        return Technique(one.name, "not-allowed", latency.basis)
    saves = saved(deployed.size, size, latencies[scheme], latency)
    return Technique(
        one.name,
        verdict(saves, target),
        reason(saves, deployed.size, size, latency, target),
        phrase,
        scheme,
        saves,
        size,
        latency,
        one.needs,
        one.risk,
        EVIDENCE.get(kind, ""),
        one.notes,
    )


def aware(model: Any, made: dict[Scheme, Draft], latencies: dict[str, Latency]) -> Technique:
    """Quantization-aware training: no byte and no time, but the accuracy that rounding costs."""
    scheme = next((one for one in ("int8", "int16x8") if one in made), None)
    if scheme is None:
        return Technique("qat", "not-allowed", "it trains int8 and int16x8 files, and none runs here")
    try:
        unrolled(model)
    except ModelError as cause:
        return Technique("qat", "not-allowed", cause.problem)
    names = {op.name for op in made[scheme].contents.operators}
    needs: tuple[Need, ...] = ("calibration data", *TRAINING)
    if names & _LOOPS:
        return Technique(
            "qat", "pays-little", _UNROLLED, f"qat-{scheme}", scheme, needs=needs, evidence=EVIDENCE["qat"]
        )
    if unknown := sorted(names - RULES.keys()):
        return Technique("qat", "not-allowed", f"it has no rule for the operators {', '.join(unknown)}")
    return Technique(
        "qat",
        "pays-little",
        "the file and its latency stay; it pays where the integer file loses accuracy, which only data tells",
        f"qat-{scheme}",
        scheme,
        {"file": 0.0, "latency": 0.0},
        made[scheme].size,
        latencies[scheme],
        needs,
        "none to speed or size; it needs the labels or the float model's answers",
        EVIDENCE["qat"],
    )
