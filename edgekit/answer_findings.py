"""What is wrong with the answers of a file though its accuracy may look right. Each rule has a bound and holds against
chance: the end of an interval that is kindest to the file has to lie beyond it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgekit.answers import Answers, ClassChange
from edgekit.finding import Finding

CLASS_BOUND = 0.05
"""How much more than the average a class may lose, in points of one."""

CHURN_BOUND = 0.05
"""Share of answers that may change beyond what the difference of the accuracies explains."""

CONFIDENCE_BOUND = 0.02
"""How much the expected calibration error may grow."""


def answer_findings(found: Answers, names: Sequence[str] = ()) -> Iterator[Finding]:
    """Warnings about the answers of a file beside its float model; `names` are those of the classes."""
    yield from (_collapse(found, one, names) for one in found.worst if collapsed(found, one))
    if found.excess_low > CHURN_BOUND:
        yield _churn(found)
    if found.confidence.low > CONFIDENCE_BOUND:
        yield _confidence(found)


def collapsed(found: Answers, one: ClassChange) -> bool:
    """Whether a class surely loses more than the average does, by more than the bound."""
    return one.high < min(found.difference, 0) - CLASS_BOUND


def class_name(label: int, names: Sequence[str]) -> str:
    """The name of a class, or its number where it has none."""
    return names[label] if label < len(names) else str(label)


def _collapse(found: Answers, one: ClassChange, names: Sequence[str]) -> Finding:
    return Finding(
        "warn",
        "class-collapse",
        f"class {class_name(one.label, names)}",
        f"right in {one.before:.1%} of its {one.samples} samples in float and {one.after:.1%} in the file (change "
        f"{100 * one.low:+.1f} to {100 * one.high:+.1f} points), while the average changes by "
        f"{100 * found.difference:+.2f} points",
        "calibrate with more samples of this class, or let edgekit doctor find the layer",
        "Tango's paired interval at 95 % for all classes together; the bound is 5 points beyond the average",
    )


def _churn(found: Answers) -> Finding:
    return Finding(
        "warn",
        "churn",
        "answers",
        f"{found.churn:.1%} of the answers differ from those of the float model ({found.broken:.1%} were right and are "
        f"wrong, {found.mended:.1%} the other way), while the accuracy changes by {100 * found.difference:+.2f} points",
        "compare layer by layer with `edgekit doctor`, whose `--repair` keeps the worst in float; or train as the file "
        "computes (`-r qat-int8`)",
        "Wilson's interval of the churn beyond the difference of the accuracies; the bound is 5 %",
    )


def _confidence(found: Answers) -> Finding:
    one = found.confidence
    return Finding(
        "warn",
        "confidence",
        "confidence",
        f"the expected calibration error rises from {one.before:.3f} to {one.after:.3f} (by {one.low:.3f} to "
        f"{one.high:.3f})",
        "choose thresholds on the confidence by the file's own outputs, or give it a wider output type",
        "15 bins, arXiv:1706.04599; Student's t, paired, at 95 %; the bound is 0.02",
    )
