"""What an agreement found, as text."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.doctor.agreement import COMPARED, Agreements, Leg, OperatorDifference
from edgekit.doctor.pairing import brief

_RULE = (
    "a quantum is the scale of a quantized tensor, and a ten-thousandth of the range of any other\n"
    f"operators are compared, given the same inputs, on the {COMPARED} samples whose outputs differ most"
)


def agreement_text(found: Agreements) -> str:
    """Each pair of sides: whether they agree, and if not, where they part; then the rule."""
    lines = [f"{found.model} on {found.samples} samples of the {found.part} part"]
    lines += [line for leg in found.legs for line in _leg(leg)]
    lines += [f"not compared: {reason}" for reason in found.left_out]
    return "\n".join([*lines, _RULE])


def where(found: OperatorDifference) -> str:
    """A tensor and what computes it, as `'digit' (FULLY_CONNECTED, #6)`."""
    return f"{brief(found.tensor)!r} ({found.operator}, #{found.index})"


def _leg(leg: Leg) -> Iterator[str]:
    yield f"{'agree' if leg.same else 'PART ':5}  {leg.one} and {leg.other}"
    if parted := leg.parted:
        yield f"       first at {where(parted)}: by up to {_quanta(parted.quanta)}, and {parted.bound:g} may be;"
        yield f"       {parted.beyond:.2%} of its values differ by more, and so do {_later(leg)} later tensors"
    elif leg.operators:
        worst = max(leg.operators, key=lambda one: one.quanta / one.bound)
        near = f"{_quanta(worst.quanta)} apart, and {worst.bound:g} may be, at {where(worst)}"
        yield f"       {len(leg.operators)} tensors compared; closest to its bound: {near}"
    if leg.unseen:
        yield f"       operators cannot be compared one by one: {leg.unseen}"
    for output in leg.outputs:
        yield f"       as both run, output {output.tensor!r} is at most {_quanta(output.quanta)} apart{_decisions(leg)}"


def _later(leg: Leg) -> int:
    return sum(one.quanta > one.bound + 0.01 for one in leg.operators) - 1


def _decisions(leg: Leg) -> str:
    return "" if leg.decisions is None else f"; {leg.decisions:.2%} of the decisions are the same"


def _quanta(number: float) -> str:
    return f"{number:.3g} {'quantum' if number == 1 else 'quanta'}"
