"""Calibration samples held against training samples: each rule of a difference that matters and is no chance.

A difference is told where it is beyond what drawing so many training samples brings (`by_chance`), and large: half a
deviation in the mean, a factor of 1.5 in the deviation, twice the range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.data.spec import Preprocessing
from edgekit.doctor.preprocessing_slips import slip
from edgekit.doctor.sample_statistics import Samples, beyond_chance, by_chance
from edgekit.finding import Finding

Array = npt.NDArray[Any]

_RATIO, _SHIFT = 1.5, 0.5
_OUTLIERS, _WIDENED, _TAILED = 0.05, 2.0, 4.0


def unlike_training(
    name: str, ours: Samples, theirs: Samples, preprocessing: Preprocessing | None
) -> Iterator[Finding]:
    """All differences of an input's calibration samples from its training samples."""
    far = _beyond(ours, theirs)
    if len(far):
        yield _outlier(name, ours, far, ours.widest / theirs.widest, "the training data reaches")
        ours = ours.take(np.setdiff1d(np.arange(len(ours)), far))
    scale = list(_scale(name, ours, theirs, preprocessing))
    yield from scale
    yield from _channels(name, ours, theirs)
    yield from _places(name, ours, theirs)
    if not scale:
        yield from _alike(name, ours, theirs)
        tails = () if len(far) else outliers(name, ours)
        yield from (Finding("info", "calibration-tails", name, one.problem, _CUT) for one in tails)


def _beyond(ours: Samples, theirs: Samples) -> Array:
    """The few samples that go twice as far as anything in the training data; none where many do."""
    far = np.flatnonzero(ours.reach > _WIDENED * theirs.widest)
    return far if len(far) <= max(1, _OUTLIERS * len(ours)) else far[:0]


def _scale(name: str, ours: Samples, theirs: Samples, preprocessing: Preprocessing | None) -> Iterator[Finding]:
    ratio = ours.spread / theirs.spread if theirs.spread else np.inf
    shift = abs(ours.level - theirs.level) / theirs.spread if theirs.spread else np.inf
    spread_off = not 1 / _RATIO < ratio < _RATIO and beyond_chance(
        np.log(max(ours.spread, 1e-300)), by_chance(theirs, len(ours), lambda some: np.log(max(some.spread, 1e-300)))
    )
    level_off = shift > _SHIFT and beyond_chance(ours.level, by_chance(theirs, len(ours), lambda some: some.level))
    if not (spread_off or level_off):
        return
    problem = (
        f"mean {ours.level:.3g}, deviation {ours.spread:.3g}, range {span(ours)}; "
        f"the training data has {theirs.level:.3g}, {theirs.spread:.3g}, {span(theirs)}"
    )
    known = slip(ours, theirs, preprocessing)
    if known:
        yield Finding("warn", "calibration-preprocessing", name, f"{problem}: {known.what}", known.mend)
    else:
        mend = "prepare the samples as those for training were"
        yield Finding("warn", "calibration-scale", name, problem, mend)


def _channels(name: str, ours: Samples, theirs: Samples) -> Iterator[Finding]:
    channels = theirs.first.shape[1]
    if channels < 2:
        return
    known = theirs.channel_pattern

    def distance(some: Samples, order: Sequence[int]) -> float:
        return float(np.linalg.norm(some.channel_pattern[:, list(order)] - known))

    straight = tuple(range(channels))
    chance = by_chance(theirs, len(ours), lambda some: distance(some, straight))
    orders = permutations(straight) if channels <= 6 else iter([straight[::-1]])
    best = min(orders, key=lambda order: distance(ours, order))
    seen = distance(ours, straight)
    if seen > chance.mean() + 6 * chance.std() and distance(ours, best) < seen / 3:
        turned = "in reverse order (BGR for RGB)" if best == straight[::-1] else f"in the order {best}"
        problem = f"channel means and deviations fit those of the training data {turned}, and not as they are"
        yield Finding("warn", "calibration-channels", name, problem, f"reorder them: x = x[..., {list(best)}]")


def _places(name: str, ours: Samples, theirs: Samples) -> Iterator[Finding]:
    if ours.maps.shape[1:] != theirs.maps.shape[1:] or min(ours.maps.shape[1:]) < 2:
        return
    usual = theirs.maps.mean(axis=0)

    def likeness(some: Array) -> float:
        return float(np.corrcoef(some.ravel(), usual.ravel())[0, 1]) if some.std() and usual.std() else 1.0

    chance = by_chance(theirs, len(ours), lambda some: likeness(some.maps.mean(axis=0)))
    mean = ours.maps.mean(axis=0)
    seen = likeness(mean)
    lowest = float(chance.min()) - 0.1
    if lowest < 0.7 or seen > lowest or not beyond_chance(seen, chance):
        return
    problem = f"the mean sample correlates with that of the training data by {seen:.2f}, usual is {chance.mean():.2f}"
    swapped = likeness(mean.T) if mean.shape[0] == mean.shape[1] else 0.0
    if swapped > max(lowest, seen + 0.1):
        mend = "height and width are swapped: np.swapaxes(x, 1, 2)"
        yield Finding("warn", "calibration-layout", name, f"{problem}; with its axes swapped {swapped:.2f}", mend)
    elif seen < 0.5:
        mend = "axes were reordered by reshape instead of transpose, or these are other samples"
        yield Finding("warn", "calibration-layout", name, problem, mend)


def _alike(name: str, ours: Samples, theirs: Samples) -> Iterator[Finding]:
    chance = by_chance(theirs, len(ours), lambda some: some.variety)
    if ours.variety < 0.4 * chance.mean() and beyond_chance(ours.variety, chance):
        problem = (
            f"the samples differ from each other {ours.variety / chance.mean():.2f} times as much as training samples"
        )
        yield Finding("warn", "calibration-alike", name, problem, "draw them at random from the training data")


def outliers(name: str, ours: Samples) -> Iterator[Finding]:
    """Few samples that reach several times further than all others."""
    bulk = float(np.sort(ours.reach)[int((1 - _OUTLIERS) * (len(ours) - 1))])
    factor = float(ours.reach.max()) / bulk if bulk else 1.0
    if factor > _TAILED:
        far = np.flatnonzero(ours.reach > 2 * bulk)
        yield _outlier(name, ours, far, factor, f"{1 - _OUTLIERS:.0%} of the samples reach")


_CUT = "calibrate with calibration=percentile:99.9 or mse, which cut such tails off"


def _outlier(name: str, ours: Samples, far: Array, factor: float, others: str) -> Finding:
    problem = (
        f"{numbered(far)} of {len(ours)} samples widen the range to {span(ours)}, {factor:.1f} times what {others}: "
        f"{np.log2(factor):.1f} of 8 bits lost for all others"
    )
    return Finding("warn", "calibration-outliers", name, problem, f"leave them out if they are faulty; else {_CUT}")


def span(samples: Samples) -> str:
    """`-0.42 to 2.8`."""
    return f"{samples.bounds[0]:.3g} to {samples.bounds[1]:.3g}"


def numbered(rows: Array) -> str:
    """`3 (4, 17, 90)`."""
    return f"{len(rows)} ({', '.join(map(str, rows[:5]))}{', ...' if len(rows) > 5 else ''})"
