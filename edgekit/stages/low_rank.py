"""Low-rank factors of a kernel, as pure functions on arrays.

A kernel is `[*window, in, out]`; a dense layer has no window. Each kind of split is exact at full rank:

    output      K -> [window, in, r] then [1, r, out]          SVD, arXiv:1505.06798; dense and 1x1: W = U V
    input       K -> [1, in, r] then [window, r, out]          SVD
    vertical    K -> [h, 1, in, r] then [1, w, r, out]         SVD, arXiv:1405.3866 (scheme 2)
    horizontal  K -> [1, w, in, r] then [h, 1, r, out]         SVD, arXiv:1405.3866
    tucker      K -> [1, in, p], [window, p, q], [1, q, out]   HOSVD, then HOOI, arXiv:1511.06530

Energy is the share of the sum of squares of the kernel that a rank keeps: 1 - (relative weight error)^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Kind = Literal["output", "input", "vertical", "horizontal", "tucker"]
Padding = Literal["same", "valid", "causal"]

_SWEEPS = 10
_GAIN = 1e-6


def kinds_of(window: tuple[int, ...]) -> tuple[Kind, ...]:
    """The kinds of split that differ from each other for this window."""
    if all(size == 1 for size in window):
        return ("output",)
    flat = len(window) == 2 and min(window) > 1
    return tuple(kind for kind in get_args(Kind) if flat or kind not in ("vertical", "horizontal"))


def energies(kernel: npt.NDArray[Any], kind: Kind) -> Floats:
    """Energy kept by rank 1, 2, ... `[full]`; for `tucker` by every pair `[in, out]` of ranks, before HOOI.

    A kernel of zeros has all its energy at rank 1.
    """
    if kind == "tucker":
        squares = _full_core(kernel) ** 2
        kept = squares.reshape(-1, *kernel.shape[-2:]).sum(axis=0).cumsum(axis=0).cumsum(axis=1)
    else:
        kept = np.maximum(np.linalg.eigvalsh(_gram(_matrix(kernel, kind)))[::-1], 0.0).cumsum()
    total = kept.flat[-1]
    return np.asarray(kept / total if total > 0 else np.ones_like(kept))


def factors(kernel: npt.NDArray[Any], kind: Kind, ranks: tuple[int, ...]) -> tuple[Floats, ...]:
    """The kernels of the layers that replace `kernel`, first to last; their scale is shared evenly."""
    if kind == "tucker":
        return _tucker(np.asarray(kernel, np.float64), *ranks)
    left, right = _halves(_matrix(kernel, kind), *ranks)
    *window, taken, given = kernel.shape
    ones, rank = [1] * len(window), ranks[0]
    if kind == "output":
        return left.reshape(*window, taken, rank), right.reshape(*ones, rank, given)
    if kind == "input":
        return left.reshape(*ones, taken, rank), np.moveaxis(right.reshape(rank, *window, given), 0, -2)
    height, width = window
    first, second = ((height, 1), (1, width)) if kind == "vertical" else ((1, width), (height, 1))
    return left.reshape(*first, taken, rank), np.moveaxis(right.reshape(rank, *second, given), 0, -2)


def product(parts: tuple[npt.NDArray[Any], ...]) -> Floats:
    """The one kernel that a chain of factor kernels computes."""
    whole = np.asarray(parts[0], np.float64)
    for part in parts[1:]:
        window = [a * b for a, b in zip(whole.shape[:-2], part.shape[:-2], strict=True)]
        joined = np.tensordot(whole, np.asarray(part, np.float64), axes=(-1, -2))  # [*a, in, *b, out]
        count = len(window)
        order = [axis for pair in zip(range(count), range(count + 1, 2 * count + 1), strict=True) for axis in pair]
        whole = joined.transpose(*order, count, 2 * count + 1).reshape(*window, whole.shape[-2], part.shape[-1])
    return whole


def _matrix(kernel: npt.NDArray[Any], kind: Kind) -> Floats:
    """The kernel as the matrix whose rank the split keeps."""
    exact = np.asarray(kernel, np.float64)
    if kind == "output":
        return exact.reshape(-1, exact.shape[-1])
    if kind == "input":
        return np.moveaxis(exact, -2, 0).reshape(exact.shape[-2], -1)
    height, width, taken, given = exact.shape
    if kind == "vertical":
        return exact.transpose(0, 2, 1, 3).reshape(height * taken, width * given)
    return exact.transpose(1, 2, 0, 3).reshape(width * taken, height * given)


def _gram(matrix: Floats) -> Floats:
    """Products of the shorter side, whose eigenvalues are the squared singular values.

    Several times faster than an SVD, and its eigenvectors are orthonormal to rounding, so that projecting on all of
    them is exact.
    """
    return matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix


def _halves(matrix: Floats, rank: int) -> tuple[Floats, Floats]:
    """The best `left @ right` of that rank (Eckart and Young 1936)."""
    basis = _top(_gram(matrix), rank)
    if matrix.shape[0] < matrix.shape[1]:
        left, right = basis, basis.T @ matrix
    else:
        left, right = matrix @ basis, basis.T
    scale = _even(np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=1))
    return left * scale, right / scale[:, None]


def _even(before: Floats, after: Floats) -> Floats:
    """What `before` has to be scaled by, and `after` divided by, to become equal; 1 where one of them is zero."""
    sound = (before > 0) & (after > 0)
    return np.sqrt(np.divide(after, before, out=np.ones_like(after), where=sound), where=sound, out=np.ones_like(after))


def _unfolded(tensor: Floats, axis: int) -> Floats:
    return np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)


def _top(gram: Floats, count: int) -> Floats:
    """Eigenvectors of the largest eigenvalues, as columns."""
    return np.asarray(np.linalg.eigh(gram)[1][:, ::-1][:, :count])


def _leading(tensor: Floats, axis: int, rank: int) -> Floats:
    unfolded = _unfolded(tensor, axis)
    return _top(unfolded @ unfolded.T, rank)


def _projected(kernel: Floats, taken: Floats | None, given: Floats | None) -> Floats:
    """The kernel in the coordinates of the two bases."""
    inner = kernel if taken is None else np.moveaxis(np.tensordot(kernel, taken, axes=(-2, 0)), -1, -2)
    return inner if given is None else np.tensordot(inner, given, axes=(-1, 0))


def _full_core(kernel: npt.NDArray[Any]) -> Floats:
    exact = np.asarray(kernel, np.float64)
    return _projected(exact, _leading(exact, -2, exact.shape[-2]), _leading(exact, -1, exact.shape[-1]))


def _tucker(kernel: Floats, rank_in: int, rank_out: int) -> tuple[Floats, Floats, Floats]:
    """HOSVD refined by HOOI (De Lathauwer et al. 2000) until the energy stops growing."""
    taken, given = _leading(kernel, -2, rank_in), _leading(kernel, -1, rank_out)
    before = 0.0
    for _ in range(_SWEEPS):
        kept = float((_projected(kernel, taken, given) ** 2).sum())
        if kept <= before * (1 + _GAIN):
            break
        before = kept
        taken = _leading(_projected(kernel, None, given), -2, rank_in)
        given = _leading(_projected(kernel, taken, None), -1, rank_out)
    core = _projected(kernel, taken, given)
    ahead = _even(np.ones(rank_in), np.linalg.norm(_unfolded(core, -2), axis=1))
    core = core / ahead[:, None]
    behind = _even(np.linalg.norm(_unfolded(core, -1), axis=1), np.ones(rank_out))
    first, last = taken * ahead, given.T / behind[:, None]
    ones = [1] * (kernel.ndim - 2)
    return first.reshape(*ones, *first.shape), core * behind, last.reshape(*ones, *last.shape)


@dataclass(frozen=True)
class Geometry:
    """Where a kernel is applied: sizes, strides, dilation of each axis of the window, and how often in a run.

    `sizes` are those of the layer's input; `repeats` counts what multiplies everything, as the steps of a dense layer
    on a sequence or the calls of a shared layer.
    """

    window: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: Padding = "valid"
    repeats: int = 1

    def shrunk(self) -> tuple[int, ...]:
        """Sizes of the output."""
        reach = [(size - 1) * step + 1 for size, step in zip(self.window, self.dilation, strict=True)]
        open_ends = [0 if self.padding != "valid" else extent - 1 for extent in reach]
        return tuple(
            -(-(size - lost) // stride) for size, lost, stride in zip(self.sizes, open_ends, self.strides, strict=True)
        )

    def macs_per_weight(self) -> int:
        """How often each weight is used in one run."""
        return self.repeats * int(np.prod(self.shrunk(), dtype=np.int64))


def _strides_at(kind: Kind, place: int, axis: int) -> bool:
    """Whether factor `place` moves by the stride of `axis`."""
    if kind in ("input", "tucker"):
        return place == 1
    return place == {"output": 0, "vertical": axis, "horizontal": 1 - axis}[kind]


def windows(kind: Kind, window: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Window of each factor, first to last."""
    ones = (1,) * len(window)
    if kind == "vertical":
        return (window[0], 1), (1, window[1])
    if kind == "horizontal":
        return (1, window[1]), (window[0], 1)
    return {"output": (window, ones), "input": (ones, window), "tucker": (ones, window, ones)}[kind]


def chain(kind: Kind, whole: Geometry) -> tuple[Geometry, ...]:
    """Geometry of each factor, first to last, each on what the one before leaves."""
    found: list[Geometry] = []
    sizes = whole.sizes
    for place, window in enumerate(windows(kind, whole.window)):
        moving = [_strides_at(kind, place, axis) for axis in range(len(window))]
        strides = tuple(stride if here else 1 for stride, here in zip(whole.strides, moving, strict=True))
        dilation = tuple(step if size > 1 else 1 for step, size in zip(whole.dilation, window, strict=True))
        found.append(Geometry(window, sizes, strides, dilation, whole.padding, whole.repeats))
        sizes = found[-1].shrunk()
    return tuple(found)
