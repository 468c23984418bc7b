"""Diagnosis: an int8 file beside its float file on the user's data: scores, layers, and causes in words."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from edgekit.data.parts import Dataset, Part
from edgekit.doctor.calibration_lint import lint_dataset
from edgekit.doctor.cause import causes, suffered
from edgekit.doctor.defects import unsound_scales
from edgekit.doctor.layer_error import Array, LayerError, look_inside
from edgekit.doctor.mismatch import mismatches
from edgekit.doctor.pairing import paired
from edgekit.errors import RunError
from edgekit.finding import Finding
from edgekit.metrics import mean_value
from edgekit.talk import Say
from edgekit.verify import run_file

LOOKED_AT = 32
"""Samples on which inner tensors are compared; scores are taken on all."""


class Diagnosis(Struct, frozen=True):
    """What was found. Scores are None without labels or where the file cannot be run.

    `layers` are in the order of harm, the worst first; empty where a defect makes running pointless. `suffered` says
    whether more than a hundredth of an output is noise.
    """

    part: str
    samples: int
    metric: str | None
    float_score: float | None
    int8_score: float | None
    findings: tuple[Finding, ...]
    layers: tuple[LayerError, ...]
    suffered: bool


def diagnose(
    quantized: bytes, source: bytes, data: Dataset, part: Part | None = None, *, say: Say = lambda _: None
) -> Diagnosis:
    """Explain an int8 file; `source` is its float32 file, `data` was matched to it. The default part is `judging_part`.

    Raises ModelError where the files are no pair, DataError where the data do not fit, RunError if a file that has no
    defect cannot be run.
    """
    part = part or judging_part(data)
    pairing = paired(quantized, source)
    defects = tuple(unsound_scales(pairing.int8))
    say("doctor: score the float file")
    outputs = run_file(source, part).arrays
    before = _score(data, part, outputs)
    if defects:
        return Diagnosis(
            part.name, len(part), data.metric, before, _if_it_runs(quantized, data, part), defects, (), True
        )
    after = _score(data, part, run_file(quantized, part).arrays)
    say("doctor: look inside both files")
    look = look_inside(quantized, source, part.take(max(LOOKED_AT, pairing.float.batch)).array())
    inputs = tuple(pairing.int8.tensors[index] for index in pairing.int8.inputs)
    found = (*mismatches(source, data, part, inputs, outputs), *causes(look), *_linted(data, source))
    return Diagnosis(part.name, len(part), data.metric, before, after, found, look.ranked, suffered(look))


def judging_part(data: Dataset) -> Part:
    """The part to explain and repair by: validation, else train, else whatever there is; test only if alone."""
    found = data.validation or data.train or data.calibration or data.test
    return found if found is not None else data.part("test")


def _linted(data: Dataset, source: bytes) -> Iterator[Finding]:
    """What is suspicious in the calibration part; not what could not be checked."""
    if data.calibration is not None:
        yield from (finding for finding in lint_dataset(data, source) if finding.level != "info")


def _score(data: Dataset, part: Part, outputs: tuple[Array, ...]) -> float | None:
    judged = data.judged(part, outputs)
    return mean_value(data.metric, *judged) if judged and data.metric else None


def _if_it_runs(file: bytes, data: Dataset, part: Part) -> float | None:
    """The score of a defective file, None where the runtime refuses it or dies of it."""
    try:
        return _score(data, part, run_file(file, part).arrays)
    except RunError:
        return None
