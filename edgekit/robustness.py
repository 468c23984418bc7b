"""Robustness: a compressed file beside its float model, on samples as they are and on corrupted ones.

A quantizer sees clean samples only, so a file may be as good as its float model on those and fall behind on others.
Each corruption (`edgekit.corruptions`) is applied to the raw samples of a part; both models see the very same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import Struct

from edgekit.answer_findings import answer_findings
from edgekit.artifact import Manifest
from edgekit.bench.plan import Plan
from edgekit.corruptions import Corruption, Kind, corrupted, corruptions, kind_of
from edgekit.dataset import Dataset, Part, match
from edgekit.errors import DataError, ModelError
from edgekit.evaluate import chosen_part, open_file, specs_of
from edgekit.finding import Finding
from edgekit.metrics import (
    Difference,
    Pairs,
    Score,
    higher_is_better,
    is_share,
    paired_changes,
    paired_differences,
    scores,
)
from edgekit.model import TensorSpec, load_model
from edgekit.talk import Say
from edgekit.tflite import flatbuffer
from edgekit.tflite.inspect import read_contents
from edgekit.verify import Verification, run_file, verify

Array = np.ndarray[Any, Any]
Predict = Callable[[Part], tuple[Array, ...]]
Specs = tuple[TensorSpec, ...]

BOUND = 0.05
"""How much further than on clean samples a file may fall behind: in points of one for shares."""

RELATIVE_BOUND = 0.1
"""The same for other metrics, as a part of the float model's own value under that corruption."""

_BATCH = 256


class Trial(Struct, frozen=True):
    """Both models under one corruption, with an entry for each judged output.

    `differences` are file minus float, with 95 % intervals. `behind` is by how much that is more than on the clean
    samples; its intervals hold for all trials together (Bonferroni).
    """

    corruption: str
    severity: int
    amount: str
    before: tuple[Score, ...]
    after: tuple[Score, ...]
    differences: tuple[Difference, ...]
    behind: tuple[Difference, ...]


class Robustness(Struct, frozen=True):
    """What `beside_float` finds; `before` are the scores of the float model on the clean samples.

    `metric` names that of all judged outputs, or those of the heads: `accuracy, rmse`.
    """

    model: str
    source: str
    part: str
    metric: str
    class_names: tuple[str, ...]
    before: tuple[Score, ...]
    clean: Verification
    kind: Kind | None
    seed: int
    trials: tuple[Trial, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]


def beside_float(
    model: str | Path,
    source: str | Path,
    data: str | Path | Dataset | Any,
    *,
    corrupt: bool = True,
    kind: Kind | Literal["auto"] = "auto",
    part: str = "test",
    samples: int | None = None,
    seed: int = 0,
    plan: Plan | None = None,
    trust: bool = False,
    data_options: Mapping[str, object] | None = None,
    say: Say = lambda text: None,
) -> Robustness:
    """Judge a `.tflite` (or an artifact) beside its float model `source`, also on corrupted samples if `corrupt`.

    `kind` is what the inputs are; `auto` goes by their shape (`edgekit.corruptions.kind_of`).
    Raises ModelError or DataError for what cannot be used, RunError if the file cannot be run.
    """
    file, dataset = open_file(model, data, data_options, trust)
    metric, chosen = dataset.metrics, chosen_part(dataset, part, samples)
    found_kind = (kind_of(chosen) if kind == "auto" else kind) if corrupt else None
    plans = corruptions(chosen, found_kind) if found_kind else ()
    if metric is None or (chosen.labels is None and dataset.task != "autoencoder"):
        raise DataError(f"the {part} part has no labels, so there is nothing to judge by", "give y_... arrays")
    reference = _float_model(source, dataset, trust)
    pair = _Pair(dataset, metric, reference, lambda one: run_file(file, one, plan=plan).arrays)
    say(f"run both models on {len(chosen)} samples")
    before, outputs = reference(chosen), run_file(file, chosen, plan=plan)
    _refuse_other_network(before, outputs.arrays, source)
    clean = pair.judged(chosen, before, outputs.arrays)
    verified = verify(dataset, chosen, before, outputs)
    trials = tuple(_trials(pair, chosen, clean, plans, seed, say))
    names = dataset.class_names
    return Robustness(
        model=str(model),
        source=str(source),
        part=part,
        metric=metric if isinstance(metric, str) else ", ".join(dict.fromkeys(metric)),
        class_names=names,
        before=tuple(scores(metric, clean[0], clean[1], dataset.output_names)),
        clean=verified,
        kind=found_kind,
        seed=seed,
        trials=trials,
        findings=(
            *(finding for one in verified.answers for finding in answer_findings(one, names)),
            *corruption_findings(metric, trials),
        ),
        warnings=dataset.warnings,
    )


def hidden_losses(manifests: Sequence[Manifest]) -> list[str]:
    """What the accuracy of the file of each manifest hides; variants of which the same is true are named together."""
    named: dict[str, list[str]] = {}
    for manifest in manifests:
        for one in manifest.verification.answers if manifest.verification else ():
            for finding in answer_findings(one, manifest.data.class_names if manifest.data else ()):
                named.setdefault(f"{finding.subject}: {finding.problem}", []).append(manifest.name)
    return [f"{', '.join(names)}: {said}" for said, names in named.items()]


def corruption_findings(metric: str | Sequence[str], trials: Sequence[Trial]) -> Iterator[Finding]:
    """Warnings about trials in which a file surely falls further behind than on clean samples, by more than the bound.

    The bound is 5 points for shares and a tenth of the float model's value for other metrics. `metric` is one for all
    judged outputs, or one for each.
    """
    for trial in trials:
        names = [metric] * len(trial.before) if isinstance(metric, str) else metric
        for name, before, after, behind in zip(names, trial.before, trial.after, trial.behind, strict=True):
            bound = BOUND if is_share(name) else RELATIVE_BOUND * abs(before.value)
            least = -behind.high if higher_is_better(name) else behind.low
            if least > bound:
                yield _falls_behind(trial, before, after, behind)


def _falls_behind(trial: Trial, before: Score, after: Score, behind: Difference) -> Finding:
    return Finding(
        "warn",
        "corruption",
        f"{trial.corruption}, severity {trial.severity}",
        f"{before.name} {before.value:.4g} in float and {after.value:.4g} in the file: further apart than on clean "
        f"samples by {behind.value:+.4g} ({behind.low:+.4g} to {behind.high:+.4g})",
        "calibrate with such samples too, and let edgekit doctor look for ranges that they leave",
        f"{behind.method}, at 95 % for all trials together; corruptions as of arXiv:1903.12261",
    )


@dataclass(frozen=True)
class _Pair:
    """The two models and what they are judged by."""

    data: Dataset
    metric: str | tuple[str, ...]
    reference: Predict
    file: Predict

    def judged(self, part: Part, before: Sequence[Array], after: Sequence[Array]) -> Pairs:
        """Labels, and the outputs of both that belong to them."""
        first, second = self.data.judged(part, before), self.data.judged(part, after)
        assert first  # beside_float has made sure of labels
        assert second
        return first[0], first[1], second[1]

    def on(self, part: Part) -> Pairs:
        """The same, of a part that is yet to be run."""
        return self.judged(part, self.reference(part), self.file(part))


def _trials(pair: _Pair, part: Part, clean: Pairs, plans: Sequence[Corruption], seed: int, say: Say) -> Iterator[Trial]:
    level = 1 - 0.05 / max(len(plans), 1)
    for number, one in enumerate(plans, 1):
        say(f"{one.name}, severity {one.severity} ({number} of {len(plans)})")
        found, metric, names = pair.on(corrupted(part, one, seed)), pair.metric, pair.data.output_names
        yield Trial(
            corruption=one.name,
            severity=one.severity,
            amount=one.said,
            before=tuple(scores(metric, found[0], found[1], names)),
            after=tuple(scores(metric, found[0], found[2], names)),
            differences=paired_differences(metric, *found),
            behind=paired_changes(metric, clean, found, level=level),
        )


def _float_model(source: str | Path, data: Dataset, trust: bool) -> Predict:
    """What gives the outputs of the float model. Raises ModelError where it takes other samples than the file."""
    inputs, outputs, run = _tflite(source) if flatbuffer.is_tflite(Path(source)) else _keras(source, trust)

    def fitting(part: Part) -> Part:  # its inputs may come in another order than the file's, which has the labels
        bare = replace(part, name="test", labels=None)
        alone = replace(data, train=None, validation=None, calibration=None, test=bare)
        return match(alone, inputs, outputs).part("test")

    try:
        for part in data.parts:
            fitting(part)
    except DataError as cause:
        raise ModelError(
            f"{source} does not take what the file takes: {cause.problem}",
            "give the float model that the file was made from",
        ) from None
    return lambda part: run(fitting(part))


def _tflite(source: str | Path) -> tuple[Specs, Specs, Predict]:
    model = bytes(flatbuffer.read_bytes(Path(source)))
    contents = read_contents(model, str(source))
    if contents.numeric in ("int8", "int16x8"):
        raise ModelError(f"{source} is {contents.numeric}, and no float model", "give the model it was made from")
    return *specs_of(contents), lambda part: run_file(model, part).arrays


def _keras(source: str | Path, trust: bool) -> tuple[Specs, Specs, Predict]:
    loaded = load_model(source, trust=trust)

    def predict(part: Part) -> tuple[Array, ...]:
        done = [tuple(loaded.predict(inputs)) for inputs in part.batches(_BATCH)]
        return tuple(np.concatenate(column) for column in zip(*done, strict=True))

    return tuple(loaded.inputs), tuple(loaded.outputs), predict


def _refuse_other_network(before: Sequence[Array], after: Sequence[Array], source: str | Path) -> None:
    shapes = [[array.shape[1:] for array in arrays] for arrays in (before, after)]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"{source} gives outputs of shape {shapes[0]}, the file {shapes[1]}",
            "give the float model that the file was made from",
        )
