"""Choose how a layer is split: every kind and rank with what it keeps and costs, and the cheapest that will do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import RecipeError
from edgekit.stages.low_rank import Geometry, Kind, chain, energies, windows

Array = npt.NDArray[Any]

_ROUNDING = 1e-9
_GRID = 128
_HALVINGS = 40
WORDS: dict[Kind, str] = {
    "output": "SVD",
    "input": "SVD of the inputs",
    "vertical": "k x 1, 1 x k",
    "horizontal": "1 x k, k x 1",
    "tucker": "Tucker-2",
}


@dataclass(frozen=True)
class Split:
    """One layer that will be split: `ranks` has one number, or two (in, out) for Tucker-2.

    `energy` is the share of the sum of squares that is kept, at least; MACs are those of all calls of the layer.
    """

    name: str
    kind: Kind
    ranks: tuple[int, ...]
    energy: float
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True, eq=False)
class _Options:
    """Ways to split one layer, one entry each, cheapest first; `kinds` and `ranks [entries, 1 or 2]` say which."""

    kinds: npt.NDArray[np.str_]
    ranks: npt.NDArray[np.int64]
    energy: npt.NDArray[np.float64]
    macs: npt.NDArray[np.int64]
    parameters: npt.NDArray[np.int64]

    def take(self, entries: Array) -> _Options:
        """Some of the entries."""
        return _Options(*(getattr(self, field)[entries] for field in self.__dataclass_fields__))

    def with_energy(self, energy: float) -> int | None:
        """The cheapest entry that keeps this energy."""
        entry = int(np.searchsorted(np.maximum.accumulate(self.energy), energy - _ROUNDING)) if len(self.energy) else 0
        return entry if entry < len(self.energy) else None


@dataclass(frozen=True)
class Wish:
    """What a layer is to keep: one of the three, or nothing where a budget of the model decides."""

    energy: float | None = None
    rank_ratio: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Limits:
    """What every split has to respect; `by_parameters` says what is counted as its cost instead of MACs."""

    rank_multiple: int = 1
    min_saving: float = 0.0
    by_parameters: bool = False


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer that can be split: all its options, and those that pay."""

    name: str
    macs: int
    parameters: int
    wish: Wish
    limits: Limits
    options: _Options
    paying: _Options

    def chosen(self, energy: float | None) -> Split | None:
        """The split for its own wish, or for the energy that a budget leaves; None where none pays."""
        entry = self._entry(self.paying, energy)
        return None if entry is None else self._split(self.paying, entry)

    def refusal(self, energy: float | None) -> str:
        """Why no split was chosen: what the cheapest one would have cost, and the limit that this does not meet."""
        entry = self._entry(self.options, energy)
        split = self._split(self.options, len(self.options.energy) - 1 if entry is None else entry)
        kept = "full rank" if split.energy > 1 - _ROUNDING else f"keeping {split.energy:.1%} of the energy"
        rank = " x ".join(map(str, split.ranks))
        return f"{kept} does not pay: rank {rank} ({WORDS[split.kind]}) needs {self._cost(split)}"

    def _cost(self, split: Split) -> str:
        """What of a split is too much."""
        change = split.macs_after / self.macs - 1
        if change >= 0:
            return f"{change:.0%} more MACs"
        if -change <= self.limits.min_saving:
            return f"{-change:.0%} fewer MACs, and min_saving asks for {self.limits.min_saving:.0%}"
        return f"{split.parameters_after / self.parameters - 1:.0%} more parameters"

    def _entry(self, options: _Options, energy: float | None) -> int | None:
        wished = self.wish.energy if self.wish.energy is not None else energy
        if self.wish.rank_ratio is None and self.wish.rank is None and wished is not None:
            return options.with_energy(wished)
        return int(options.energy.argmax()) if len(options.energy) else None

    def _split(self, options: _Options, entry: int) -> Split:
        return Split(
            self.name,
            str(options.kinds[entry]),  # type: ignore[arg-type]
            tuple(int(rank) for rank in options.ranks[entry] if rank),
            float(options.energy[entry]),
            self.macs,
            int(options.macs[entry]),
            self.parameters,
            int(options.parameters[entry]),
        )


def candidate(
    name: str, kernel: Array, places: Sequence[Geometry], kinds: Sequence[Kind], wish: Wish, limits: Limits
) -> Candidate:
    """All ways to split a layer that is applied at `places`. Raises RecipeError for a rank above the full one."""
    macs = kernel.size * sum(place.macs_per_weight() for place in places)
    if wish.rank:
        _check_rank(name, kernel, wish.rank)
    everything = _joined([_entries(kind, kernel, places, wish, limits) for kind in kinds], limits.by_parameters)
    pays = everything.macs < macs * (1 - limits.min_saving)
    if limits.by_parameters:
        pays &= everything.parameters < kernel.size
    return Candidate(name, macs, kernel.size, wish, limits, everything, everything.take(pays))


def _check_rank(name: str, kernel: Array, rank: int) -> None:
    full = min(math.prod(kernel.shape[:-1]), kernel.shape[-1])
    if rank > full:
        raise RecipeError(f"layer {name!r} has full rank {full}, not {rank}", f"give a rank of 1 to {full}")


def _entries(kind: Kind, kernel: Array, places: Sequence[Geometry], wish: Wish, limits: Limits) -> _Options:
    """All ranks of one kind that may be chosen, with what they keep and cost."""
    kept = energies(kernel, kind)
    axes = [_ranks(full, kept.ndim, wish, limits.rank_multiple) for full in kept.shape]
    ranks = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, kept.ndim)
    widths = [np.full(len(ranks), kernel.shape[-2]), *ranks.T, np.full(len(ranks), kernel.shape[-1])]
    macs, parameters = np.zeros(len(ranks), np.int64), np.zeros(len(ranks), np.int64)
    chains = [chain(kind, place) for place in places]
    for place, window in enumerate(windows(kind, kernel.shape[:-2])):
        weights = math.prod(window) * widths[place] * widths[place + 1]
        parameters += weights
        macs += weights * sum(parts[place].macs_per_weight() for parts in chains)
    padded = np.pad(ranks, ((0, 0), (0, 2 - kept.ndim)))
    return _Options(np.full(len(ranks), kind), padded, kept[tuple(ranks.T - 1)], macs, parameters)


def _ranks(full: int, axes: int, wish: Wish, multiple: int) -> Array:
    """Ranks to try along one axis; a pair of axes is thinned to a grid of 128 by 128."""
    if wish.rank:
        return np.array([min(wish.rank, full)])
    if wish.rank_ratio:
        return np.array([min(full, multiple * math.ceil(wish.rank_ratio * full / multiple - _ROUNDING))])
    step = multiple * (math.ceil(full / _GRID / multiple) if axes > 1 else 1)
    return np.unique(np.append(np.arange(step, full, step), full))


def _joined(options: list[_Options], by_parameters: bool) -> _Options:
    """The entries of all kinds together, cheapest first; of equal ones that with the most energy."""
    whole = _Options(*(np.concatenate([getattr(o, f) for o in options]) for f in _Options.__dataclass_fields__))
    return whole.take(np.lexsort((-whole.energy, whole.parameters if by_parameters else whole.macs)))


def energy_for(budget: float, whole: int, found: Sequence[Candidate], by_parameters: bool) -> float:
    """The most energy that all layers can keep so that `budget` of the `whole` MACs or parameters remains.

    Found by bisection. Raises RecipeError where rank 1 in every layer is still too much.
    """
    word = "parameters" if by_parameters else "macs"

    def share(energy: float) -> float:
        splits = [split for candidate in found if (split := candidate.chosen(energy))]
        if by_parameters:
            return 1 - sum(split.parameters_before - split.parameters_after for split in splits) / whole
        return 1 - sum(split.macs_before - split.macs_after for split in splits) / whole

    low, high = 0.0, 1.0
    if share(low) > budget:
        least = math.ceil(share(low) * 1000) / 1000
        ask = f"ask for {word} = {least:g} or more" if least < 1 else "drop this stage"
        raise RecipeError(
            f"factorize: {word} = {budget:g} cannot be reached: the lowest ranks everywhere leave {share(low):.1%}",
            f"{ask}, or prune channels as well",
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) <= budget else (low, middle)
    return low
