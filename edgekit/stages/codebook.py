"""Codebooks: a few values that stand for many weights, as pure functions on arrays.

k-means in one dimension on sorted values: each step of Lloyd (1982) is one search for the midpoints between the
centroids and one difference of running sums, so a million weights take milliseconds. Starts: k-means++ (Arthur and
Vassilvitskii 2007), evenly spaced values ("linear") or evenly filled ones ("density"), arXiv:1510.00149 section 3.2.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Init = Literal["kmeans++", "linear", "density"]

_SAMPLE = 1 << 18
_STEPS = 100
_ENTRY_BYTES = 4


def codebook(values: npt.NDArray[Any], clusters: int, init: Init, seed: int, zero: bool) -> Floats:
    """At most `clusters` centroids for `values`, sorted; with `zero` one of them is exactly 0 and stays it.

    Where there are no more distinct values than clusters, the values themselves. Above 262,144 values the centroids
    are found on a sample drawn with `seed`, and both ends of the range.
    """
    exact = np.sort(np.asarray(values, np.float64).ravel())
    exact = exact[exact != 0] if zero else exact
    free = clusters - zero
    found = exact[np.diff(exact, append=np.inf) > 0]
    if len(found) > free:
        ordered = _sampled(exact, seed)
        found = _lloyd(ordered, _STARTS[init](ordered, free, seed), zero)
    return np.unique(np.append(found, 0.0)) if zero else found


def assign(values: npt.NDArray[Any], centroids: Floats, zero: bool) -> npt.NDArray[np.int64]:
    """Number of the nearest centroid for each value; with `zero` a weight that is exactly 0 gets the centroid 0."""
    middles = (centroids[1:] + centroids[:-1]) / 2
    found = np.searchsorted(middles, np.asarray(values, np.float64))
    return np.where(values == 0, np.searchsorted(centroids, 0.0), found) if zero else found


def huffman_lengths(counts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Length in bits of the Huffman code of each symbol (Huffman 1952); 0 for symbols that do not occur.

    A single symbol takes one bit, as a decoder has to count.
    """
    heap: list[tuple[int, int, tuple[int, ...]]] = [
        (int(count), symbol, (symbol,)) for symbol, count in enumerate(counts) if count
    ]
    lengths = np.zeros(len(counts), np.int64)
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, first, these), (b, _, those) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[[*these, *those]] += 1
        heapq.heappush(heap, (a + b, first, these + those))
    return lengths


def huffman_bytes(indices: npt.NDArray[Any], centroids: int) -> int:
    """Bytes of Huffman-coded indices with all that a decoder needs.

    That is: the coded indices, one byte of code length for each symbol (a canonical code), and `centroids` codebook
    entries in all.
    """
    counts = np.bincount(indices.ravel())
    bits = int((counts * huffman_lengths(counts)).sum())
    return -(-bits // 8) + len(counts) + centroids * _ENTRY_BYTES


def _sampled(ordered: Floats, seed: int) -> Floats:
    if len(ordered) <= _SAMPLE:
        return ordered
    drawn = np.random.default_rng(seed).choice(len(ordered), _SAMPLE - 2, replace=False)
    return np.asarray(ordered[np.sort(np.append(drawn, [0, len(ordered) - 1]))])


def _plus_plus(ordered: Floats, count: int, seed: int) -> Floats:
    """Each next centroid is drawn with a chance that grows with the square of the distance to the nearest one."""
    draw = np.random.default_rng(seed)
    found = [float(draw.choice(ordered))]
    distance = (ordered - found[0]) ** 2
    for _ in range(count - 1):
        reach = distance.cumsum()
        found.append(float(ordered[np.searchsorted(reach, draw.random() * reach[-1], side="right")]))
        distance = np.minimum(distance, (ordered - found[-1]) ** 2)
    return np.sort(found)


def _linear(ordered: Floats, count: int, seed: int) -> Floats:
    del seed
    return np.linspace(ordered[0], ordered[-1], count) if count > 1 else ordered[[len(ordered) // 2]]


def _density(ordered: Floats, count: int, seed: int) -> Floats:
    del seed
    return np.unique(ordered[((np.arange(count) + 0.5) / count * len(ordered)).astype(np.int64)])


_STARTS: dict[Init, Callable[[Floats, int, int], Floats]] = {
    "kmeans++": _plus_plus,
    "linear": _linear,
    "density": _density,
}


def _lloyd(ordered: Floats, start: Floats, zero: bool) -> Floats:
    """Move each centroid to the mean of its values until nothing moves; one at 0 is held with `zero`."""
    sums = np.append(0.0, ordered.cumsum())
    found = np.unique(np.append(start, 0.0)) if zero else np.unique(start)
    for _ in range(_STEPS):
        ends = np.searchsorted(ordered, (found[1:] + found[:-1]) / 2)
        edges = np.concatenate([[0], ends, [len(ordered)]])
        counts = np.diff(edges)
        moved = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), found)
        moved = np.where(found == 0, 0.0, moved) if zero else moved
        if np.array_equal(moved, found):
            break
        found = moved
    return np.unique(found)
