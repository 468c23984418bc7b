"""Mismatch: data or labels that are not what the float model was made for, by what another reading of them scores.

A quantizer cannot be blamed for a model that is wrong in float. So the float file is scored on the data as they are,
and where that is poor, on the usual other preparations, and on labels with other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from edgekit.data.parts import Dataset, Part
from edgekit.data.spec import Preprocessing
from edgekit.doctor.layer_error import Array, ends_of
from edgekit.finding import Finding
from edgekit.formulas import decisions
from edgekit.metrics import mean_value
from edgekit.tflite.graph import Tensor
from edgekit.verify import run_file

BETTER = 0.2
"""How much a score must rise, in points of one, for another reading to be looked for."""

_FEWEST, _MOST = 32, 256

_READINGS: dict[str, Callable[[Array], Array]] = {
    "divided by 255": lambda x: x / 255,
    "times 255": lambda x: x * 255,
    "divided by 127.5, less 1": lambda x: x / 127.5 - 1,
    "plus 1, times 127.5": lambda x: (x + 1) * 127.5,
    "times 2, less 1": lambda x: x * 2 - 1,
    "plus 1, halved": lambda x: (x + 1) / 2,
    "with the channels in the opposite order": lambda x: x[..., ::-1],
    "subtracted from their greatest value": lambda x: x.max() - x,
}


def mismatches(
    source: bytes, data: Dataset, part: Part, inputs: Sequence[Tensor], outputs: Sequence[Array]
) -> Iterator[Finding]:
    """Findings about labelled classification data; `inputs` are the tensors of the int8 file.

    `source` is the float file, and `outputs` are what it makes of the part.

    Nothing is said without labels, of other tasks, or of fewer than 32 samples.
    """
    if data.task != "classification" or part.labels is None or data.metric != "accuracy" or len(part) < _FEWEST:
        return
    judged = data.judged(part, outputs)
    assert judged is not None  # the part has labels
    score = mean_value(data.metric, *judged)
    if score + BETTER > 1:
        return
    renumbered = list(_labels(*judged))
    yield from renumbered or _preparation(source, data, part.take(_MOST), inputs, score)


def _better(score: float, other: float) -> bool:
    """Whether another reading is the right one: it takes away half of the errors, and not a few."""
    return other - score >= max(BETTER, (1 - score) / 2)


def _labels(labels: tuple[Array, ...], outputs: tuple[Array, ...]) -> Iterator[Finding]:
    """Whether another numbering of the first head's classes, learned on half of the samples, fits the other half."""
    truth, said = decisions(labels[0], outputs[0])
    if truth.ndim > 1:
        return
    score = float(np.mean(truth == said))
    half = np.arange(len(truth)) % 2 == 0
    renamed = {int(c): int(np.bincount(truth[half & (said == c)]).argmax()) for c in np.unique(said[half])}
    after = float(np.mean([renamed.get(int(c), -1) == t for c, t in zip(said[~half], truth[~half], strict=True)]))
    moved = [f"{old} -> {new}" for old, new in sorted(renamed.items()) if old != new]
    if not moved or len(set(renamed.values())) * 2 <= len(np.unique(truth)) or not _better(score, after):
        return
    shown = ", ".join([*moved[:4], *(["..."] if len(moved) > 4 else [])])
    yield Finding(
        "error",
        "labels",
        "labels",
        f"the float model scores {score:.1%}, and {after:.1%} if its classes are numbered otherwise ({shown})",
        "give the labels in the order in which the model was trained",
    )


def _preparation(source: bytes, data: Dataset, part: Part, inputs: Sequence[Tensor], score: float) -> Iterator[Finding]:
    if len(part.inputs) != 1 or part.array()[0].dtype.kind != "f":
        return
    scored = {name: _scored(source, data, part, read) for name, read in _readings(inputs[0], part.array()[0]).items()}
    name, best = max(scored.items(), key=lambda found: found[1])
    if not _better(score, best):
        return
    x = part.array()[0]
    grid = "{:.4g}..{:.4g}".format(*ends_of(inputs[0])) if inputs[0].scales else "unknown"
    yield Finding(
        "error",
        "preprocessing",
        inputs[0].name,
        f"the float model scores {score:.1%} on the data as they are ({x.min():.4g}..{x.max():.4g}; the file's input "
        f"holds {grid}), and {best:.1%} on the data {name}",
        "prepare the data as in training (preprocessing.scale, preprocessing.mean in data.toml)",
    )


def _readings(tensor: Tensor, x: Array) -> dict[str, Callable[[Array], Array]]:
    if not tensor.scales or x.max() <= x.min():
        return _READINGS
    low, high = ends_of(tensor)
    factor = float((high - low) / (x.max() - x.min()))
    fitted = {f"stretched to {low:.4g}..{high:.4g}": lambda x: (x - x.min()) * factor + low}
    return _READINGS | fitted


def _scored(source: bytes, data: Dataset, part: Part, read: Callable[[Array], Array]) -> float:
    other = replace(part, inputs=(read(part.array()[0]).astype(np.float32),), preprocessing=Preprocessing())
    judged = data.judged(other, run_file(source, other, batch=1).arrays)
    assert judged is not None  # the part has labels
    return mean_value(data.metric or "accuracy", *judged)
