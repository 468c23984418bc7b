"""Sparsity: which weights of a matrix are zero, in blocks (`1x4`) or in groups (`2:4`), and the schedule towards it.

Magnitudes decide: a block by the mean of its absolute values. LAMP scores (Lee et al. 2021, arXiv:2010.07611, eq. 4)
make the magnitudes of different layers comparable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pattern:
    """Zeros come in blocks of `rows` outputs by `columns` inputs; or, with `group`, of each `group` neighbouring inputs
    of an output `kept` stay."""

    rows: int = 1
    columns: int = 1
    kept: int = 0
    group: int = 0

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """`RxC` or `N:M`. Raises ValueError naming the mend for anything else."""
        if block := re.fullmatch(r"(\d{1,2})x(\d{1,2})", text):
            rows, columns = int(block[1]), int(block[2])
            if rows and columns:
                return cls(rows, columns)
        if group := re.fullmatch(r"(\d{1,2}):(\d{1,2})", text):
            kept, size = int(group[1]), int(group[2])
            if 0 < kept < size:
                return cls(kept=kept, group=size)
        raise ValueError(
            f"pattern {text!r}: give blocks as outputs x inputs (1x1, 1x4, 4x1), or kept:group with fewer kept (2:4)"
        )

    @property
    def sparsity(self) -> float | None:
        """The share of zeros that a group pattern fixes; None for blocks."""
        return 1 - self.kept / self.group if self.group else None


def scores(matrix: Array, pattern: Pattern) -> Array:
    """Mean magnitude of each block `[rows / block rows, columns / block columns]`; edge blocks may be smaller."""
    if pattern.rows == pattern.columns == 1:
        return np.abs(matrix)
    sums = np.add.reduceat(np.abs(matrix), np.arange(0, matrix.shape[0], pattern.rows), axis=0)
    sums = np.add.reduceat(sums, np.arange(0, matrix.shape[1], pattern.columns), axis=1)
    return sums / sizes(matrix.shape, pattern)


def sizes(shape: tuple[int, ...], pattern: Pattern) -> Array:
    """Weights in each block."""
    rows, columns = (
        np.minimum(np.arange(0, size, step) + step, size) - np.arange(0, size, step)
        for size, step in zip(shape, (pattern.rows, pattern.columns), strict=True)
    )
    return np.outer(rows, columns)


def lamp(magnitudes: Array) -> Array:
    """Each squared magnitude over the sum of those that are not smaller: 1 for the largest of a layer."""
    square = magnitudes.astype(np.float64).ravel() ** 2
    order = np.argsort(square, kind="stable")
    left = np.cumsum(square[order][::-1])[::-1]
    found = np.empty_like(square)
    found[order] = square[order] / np.maximum(left, np.finfo(np.float64).tiny)
    return found.reshape(magnitudes.shape)


def mask(matrix: Array, sparsity: float, pattern: Pattern) -> Mask:
    """True where a weight stays; the share `sparsity` of the blocks (rounded; never all) with the least score does not.

    In a group pattern only the smallest of each group may go, and an incomplete group at the end of a row stays.
    """
    found = scores(matrix, pattern)
    if pattern.group:
        found = np.where(_may_go(np.abs(matrix), pattern), found, np.inf)
    count = min(round(sparsity * found.size), found.size - 1, int(np.isfinite(found).sum()))
    stays = np.ones(found.size, np.bool_)
    if count > 0:
        stays[np.argpartition(found.ravel(), count - 1)[:count]] = False
    spread = np.repeat(np.repeat(stays.reshape(found.shape), pattern.rows, axis=0), pattern.columns, axis=1)
    return spread[: matrix.shape[0], : matrix.shape[1]]


def _may_go(magnitudes: Array, pattern: Pattern) -> Mask:
    whole = magnitudes.shape[1] // pattern.group * pattern.group
    groups = magnitudes[:, :whole].reshape(-1, pattern.group)
    small = np.argsort(groups, axis=1, kind="stable")[:, : pattern.group - pattern.kept]
    found = np.zeros(groups.shape, np.bool_)
    np.put_along_axis(found, small, True, axis=1)
    may = np.zeros(magnitudes.shape, np.bool_)
    may[:, :whole] = found.reshape(magnitudes.shape[0], whole)
    return may


def shares(matrices: list[Array], sparsity: float, pattern: Pattern, *, comparable: bool) -> list[float]:
    """Share of each matrix's blocks to prune so that `sparsity` of all weights go, the least scores first.

    `comparable` ranks by LAMP scores instead of plain magnitudes. The largest block of a matrix stays.
    """
    found = [scores(matrix, pattern) for matrix in matrices]
    ranked = [lamp(score) if comparable else score for score in found]
    for score in ranked:
        score.flat[np.argmax(score)] = np.inf
    flat = np.concatenate([score.ravel() for score in ranked])
    counts = np.concatenate([sizes(matrix.shape, pattern).ravel() for matrix in matrices])
    order = np.argsort(flat, kind="stable")
    goes = np.zeros(len(flat), np.bool_)
    goes[order] = (np.cumsum(counts[order]) <= sparsity * counts.sum() + 0.5) & np.isfinite(flat[order])
    parts = np.split(goes, np.cumsum([score.size for score in ranked])[:-1])
    return [float(part.mean()) for part in parts]


def below(matrix: Array, threshold: float, pattern: Pattern) -> float:
    """Share of the blocks whose mean magnitude is below the threshold."""
    return float((scores(matrix, pattern) < threshold).mean())


def scheduled(final: float, progress: float, power: int) -> float:
    """Sparsity at a progress of 0..1 (Zhu & Gupta 2017, arXiv:1710.01878, eq. 1, from 0; power 3 there)."""
    return final * (1 - (1 - min(max(progress, 0.0), 1.0)) ** power)
