"""Who goes to which part: seeded, stratified, never overlapping, groups kept together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def draw(strata: npt.NDArray[Any], count: int, seed: int | tuple[int, ...]) -> Indices:
    """Positions of `count` members, sorted; each stratum in proportion, and present at all where that is possible.

    A stratum is never emptied while another one can give. Ties are broken by the seed.
    """
    rng = np.random.default_rng(seed)
    _, codes, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    quotas = _quotas(sizes, min(count, len(strata)))
    shuffled = rng.permutation(len(strata))
    by_stratum = shuffled[np.argsort(codes[shuffled], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    chosen = [by_stratum[start : start + quota] for start, quota in zip(starts, quotas, strict=True)]
    together: Indices = np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))
    return together


def _quotas(sizes: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """How many of each stratum, `count` in all: largest remainders, first one each, then keep one of each."""
    ideal = sizes * (count / max(sizes.sum(), 1))
    quotas = np.floor(ideal).astype(np.int64)
    quotas[(quotas == 0) & (sizes > 1)] = 1
    keep = np.where(sizes > 1, sizes - 1, 0)
    room = keep if count <= keep.sum() else sizes
    quotas = np.asarray(np.minimum(quotas, room), np.int64)
    while quotas.sum() < count:
        quotas[np.argmax(np.where(quotas < room, ideal - quotas, -np.inf))] += 1
    while quotas.sum() > count:
        quotas[np.argmax(np.where(quotas > 0, quotas - ideal + (quotas > 1) * sizes.sum(), -np.inf))] -= 1
    return quotas


def carve(
    strata: npt.NDArray[Any], groups: npt.NDArray[Any] | None, wanted: dict[str, int], seed: int
) -> dict[str, Indices]:
    """Positions of each wanted part, and of `train`, which keeps the rest.

    `strata` `[samples]` is what to stratify by, `groups` `[samples]` what to keep together (None: nothing).
    Calibration gets at most a quarter of what is left, and no part takes the last unit.
    """
    unit = np.arange(len(strata)) if groups is None else np.unique(groups, return_inverse=True)[1]
    _, first, sizes = np.unique(unit, return_index=True, return_counts=True)
    left, parts = np.arange(len(first)), {}
    for step, (name, samples) in enumerate(wanted.items()):
        most = _quarter(strata[first[left]]) if name == "calibration" else len(left) - 1
        units = max(round(samples / sizes.mean()), 1) if samples else 0
        chosen = draw(strata[first[left]], max(min(units, most, len(left) - 1), 0), (seed, step))
        parts[name] = np.flatnonzero(np.isin(unit, left[chosen]))
        left = np.delete(left, chosen)
    return {**parts, "train": np.flatnonzero(np.isin(unit, left))}


def _quarter(strata: npt.NDArray[Any]) -> int:
    """A quarter, or in small sets as many as there are strata, but never more than half."""
    return max(len(strata) // 4, min(len(np.unique(strata)), len(strata) // 2))
