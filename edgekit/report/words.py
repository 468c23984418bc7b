"""How the report says numbers and verdicts: one place, so that a table, a chart and a sentence never differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit import metrics
from edgekit.errors import InputError
from edgekit.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from edgekit.artifact import Manifest
    from edgekit.bench.result import Measurement
    from edgekit.metrics import Difference, Score
    from edgekit.run import Run
    from edgekit.verify import Verification

NO_BREAK = "\u00a0"
"""Stands between a number and its unit: a space at which no line breaks."""


@dataclass(frozen=True)
class Verdict:
    """What became of a variant: a word, its CSS class, and the reasons."""

    word: str
    kind: str
    reasons: tuple[str, ...] = ()


def verdict(run: Run, manifest: Manifest) -> Verdict:
    """Gate missed, not verified, accepted, or (where no bound was set) verified."""
    missed = tuple(gate for gate in run.gates if gate.startswith(f"{manifest.name} "))
    if missed:
        return Verdict("gate missed", "bad", missed)
    if manifest.verification is None:
        return Verdict("not verified", "warn", ("no data was given",))
    if not manifest.verification.scores:
        return Verdict("not scored", "warn", ("the data has no labels: only agreement with the float model is known",))
    if run.max_drop is None and not run.head_drops:
        return Verdict("verified", "good", ("no bound was set with --max-drop",))
    return Verdict("accepted", "good")


def is_share(metric: str) -> bool:
    """True for metrics that are shares of samples or pixels, which read best in percent; an area under a curve is not.

    `metric` may be that of one output, `accuracy:kind`.
    """
    name = metric.partition(":")[0]
    return metrics.is_share(name) and name != "auc"


def metric_title(metric: str) -> str:
    """`top5` -> `top-5 accuracy`, `mean_iou` -> `mean IoU`."""
    name, _, output = metric.partition(":") if _known(metric) else (metric, "", "")
    words = {"mean_iou": "mean IoU", "auc": "AUC", "mae": "MAE", "mse": "MSE", "rmse": "RMSE"}.get(name, name)
    words = f"top-{k} accuracy" if (k := metrics.top_k(name)) else words
    return f"{words} ({output})" if output else words


def metric_of(score: str) -> str:
    """The metric of a score: `accuracy:kind` -> `accuracy`, `package.module:function:kind` without its last word."""
    return ":".join(score.split(":")[: 1 if _known(score) else 2])


def output_of(score: str) -> str:
    """The output that a score judges, where several are judged: `accuracy:kind` -> `kind`; else empty."""
    return score[len(metric_of(score)) + 1 :]


def _known(metric: str) -> bool:
    return metric.partition(":")[0] in ("accuracy", "auc", "mae", "mse", "rmse", "mean_iou") or is_share(metric)


def number(metric: str, value: float) -> str:
    """A value of a metric: shares in percent, others with four digits."""
    if not math.isfinite(value):
        return "unknown"
    return share(value) if is_share(metric) else _signs(f"{value:.4g}")


def change(metric: str, value: float) -> str:
    """A difference of a metric with its sign: shares in percentage points."""
    if not math.isfinite(value):
        return "unknown"
    value = value if abs(value) > 1e-12 else 0.0
    text = f"{100 * value:+.2f}{NO_BREAK}pp" if is_share(metric) else f"{value:+.3g}"
    return _signs(text.replace("+", "±") if value == 0 else text)


def interval(metric: str, found: Score | Difference, as_change: bool = False) -> str:
    """`96.10 to 98.40 %`: the ends of the 95 % interval."""
    say = change if as_change else number
    low, high = say(metric, found.low), say(metric, found.high)
    unit = next((unit for unit in (f"{NO_BREAK}%", f"{NO_BREAK}pp") if low.endswith(unit) and high.endswith(unit)), "")
    return f"{low.removesuffix(unit)} to {high}"


def times(before: float, after: float) -> str:
    """`3.6× smaller`, `1.2× larger` or `as large`."""
    return ratio(before, after, "smaller", "larger", "as large")


def ratio(before: float, after: float, less: str, more: str, same: str) -> str:
    """`3.6× less`, or what is said of more and of the same; `-` where one of them is nothing."""
    if not before or not after:
        return "-"
    share = before / after
    if 0.95 < share < 1.05:
        return same
    return f"{share:.1f}× {less}" if share > 1 else f"{1 / share:.1f}× {more}"


def seconds(value: float | None) -> str:
    """A time, with a proper micro sign."""
    return format_seconds(value).replace(" us", " µs").replace(" ", NO_BREAK)


def size(count: float | None) -> str:
    """A number of bytes that does not break before its unit."""
    return format_bytes(count).replace(" ", NO_BREAK)


def share(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.2f}{NO_BREAK}%"


def capital(text: str) -> str:
    """The text with a capital at its beginning, and all else as it is."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """The text with one full stop at its end."""
    return text.rstrip(". ") + "."


def place(measurement: Measurement) -> str:
    """Where a measurement was taken: `this host`, or the device's own name."""
    return "this host" if measurement.device == "local" else measurement.device


def machine(measurement: Measurement) -> str:
    """The machine, runtime and threads of a measurement in one line."""
    found, plan = measurement.machine, measurement.plan
    name = found.board or found.processor or found.system
    threads = "1 thread" if plan.threads == 1 else f"{plan.threads} threads"
    parts = (name, f"{found.architecture}, {found.cores} cores", f"{found.system} {found.kernel}")
    delegate = "XNNPACK" if plan.xnnpack else "no XNNPACK"
    return " · ".join((*parts, f"{measurement.runtime.name} {measurement.runtime.version}", delegate, threads))


def headline(manifest: Manifest, latency: float | None, where: str) -> str:
    """One sentence: what was made, how much smaller, what it lost and how sure that is, how fast it ran and where."""
    float_bytes = manifest.history[0].file_bytes or 0
    parts = [f"{_article(manifest.numeric)} {manifest.numeric} file of {size(manifest.file_bytes)}"]
    if manifest.recipe.quantize.scheme != "float32":
        compared = times(float_bytes, manifest.file_bytes)
        parts[0] += f", {compared} {'as' if compared == 'as large' else 'than'} float32,"
    parts.append(f"that {_lost(manifest)}")
    if latency is not None:
        parts.append(f"and takes {seconds(latency)} for one inference on {where}")
    return " ".join(parts).rstrip(",") + "."


def _lost(manifest: Manifest) -> str:
    found = manifest.verification
    if found is None:
        return "was not verified"
    if not found.differences or not found.scores:
        return f"{_agrees(manifest, found)} for {found.samples} unlabelled samples"
    metric, difference = found.scores[0].name, found.differences[0]
    title, ends = metric_title(metric), interval(metric, difference, as_change=True)
    between = f"(95{NO_BREAK}% interval {ends}, {found.samples} test samples)"
    if difference.low <= 0 <= difference.high:
        return f"shows no measurable change of {title}: {change(metric, difference.value)} {between},"
    verb = "gains" if (difference.value > 0) == more_is_better(metric) else "loses"
    amount = change(metric, abs(difference.value)).lstrip("+").replace(f"{NO_BREAK}pp", " percentage points")
    return f"{verb} {amount} of {title} {between}"


def _agrees(manifest: Manifest, found: Verification) -> str:
    decides = manifest.data is not None and manifest.data.task in ("classification", "segmentation")
    what = "decisions" if decides else f"values, within 1{NO_BREAK}% of their range,"
    return f"agrees with the float model in {share(found.agreement.rate)} of the {what}"


def brief(manifest: Manifest, changes: Sequence[str]) -> str:
    """What the file saves and costs in a few words; `changes` are those of size and speed against float32."""
    saved = [change for change in changes if "×" in change]
    told = f"{' and '.join(saved)} than float32, " if saved else ""
    return f"{manifest.numeric}: {told}{_cost(manifest)}."


def _cost(manifest: Manifest) -> str:
    found = manifest.verification
    if found is None:
        return "not verified"
    if not found.differences or not found.scores:
        return _agrees(manifest, found)
    metric, difference = found.scores[0].name, found.differences[0]
    if difference.low <= 0 <= difference.high:
        return f"no measurable change of {metric_title(metric)}"
    verb = "gains" if (difference.value > 0) == more_is_better(metric) else "loses"
    return f"{verb} {change(metric, abs(difference.value)).lstrip('+')} of {metric_title(metric)}"


def more_is_better(score: str) -> bool:
    """Direction of a score's metric; a function that cannot be imported any more is taken to want more."""
    try:
        return metrics.higher_is_better(metric_of(score))
    except InputError:
        return True


def accepted_loss(run: Run, score: str) -> float | None:
    """The greatest loss of a score that the gate accepts; None without a gate.

    The score of an only judged output does not name it; a bound that names one is then of that.
    """
    if len(run.reference.scores) == 1 and run.head_drops:
        return next(iter(run.head_drops.values()))
    return run.head_drops.get(output_of(score), run.max_drop)


def accepted_losses(run: Run) -> str:
    """What each output may lose, in the unit of its own score."""
    losses = {one.name: loss for one in run.reference.scores if (loss := accepted_loss(run, one.name)) is not None}
    said = {output_of(name): f"at most {change(name, loss).lstrip('+')} worse" for name, loss in losses.items()}
    if len(set(said.values())) > 1:
        return ", ".join(f"{output}: {one}" for output, one in said.items())
    return f"{next(iter(said.values()))} than float" if said else "no bound on what may be lost"


def least_accepted(run: Run) -> float | None:
    """The value of the first score that the gate still accepts; None without a gate."""
    if not run.reference.scores:
        return None
    first = run.reference.scores[0]
    drop = accepted_loss(run, first.name)
    return None if drop is None else first.value - drop if more_is_better(first.name) else first.value + drop


def _article(word: str) -> str:
    return "An" if word[0] in "aeiou" else "A"


def _signs(text: str) -> str:
    return text.replace("-", "−")
