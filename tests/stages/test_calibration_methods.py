"""Each method gives the range that its definition says, and they work in both engines and in a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import RecipeError
from edgekit.recipe import Recipe
from edgekit.stages.calibrate import Observed, ranges
from edgekit.stages.calibration_methods import METHODS
from edgekit.stages.numerics import Quantize
from edgekit.stages.observing import Running

Array = np.ndarray[Any, Any]

NORMAL = np.random.default_rng(0).normal(size=(50, 4000)).astype(np.float32)


def _observed(*tensors: Array, names: tuple[str, ...] = ()) -> Observed:
    running = Running(len(tensors), True)
    running.add(iter(enumerate(tensors)), len(tensors[0]))
    names = names or tuple(f"t{index}" for index in range(len(tensors)))
    return Observed("", len(tensors[0]), names, running.extremes, running.smoothed, running.exponents, running.counts)


def _range(values: Array, method: str, bits: int = 8) -> tuple[float, float]:
    return ranges(_observed(values), method, bits)["t0"]


def _squared_error(values: Array, low: float, high: float) -> float:
    scale = (high - low) / 255
    zero = np.round(-low / scale)
    found = (np.clip(np.round(values / scale) + zero, 0, 255) - zero) * scale
    return float(((values - found).astype(np.float64) ** 2).mean())


@pytest.mark.parametrize("method", METHODS)
def test_no_method_leaves_what_was_seen_or_loses_zero(method: str) -> None:
    for values in (NORMAL, np.abs(NORMAL), -np.abs(NORMAL) - 5, np.zeros((3, 7), np.float32)):
        low, high = _range(values, method)
        assert min(float(values.min()), 0) <= low <= 0 <= high <= max(float(values.max()), 0)


def test_minmax_keeps_all() -> None:
    assert _range(NORMAL, "minmax") == (float(NORMAL.min()), float(NORMAL.max()))


@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9])
def test_a_percentile_cuts_equal_parts_off_both_ends(percent: float) -> None:
    low, high = _range(NORMAL, f"percentile:{percent}")
    below, above = np.percentile(NORMAL, [(100 - percent) / 2, (100 + percent) / 2])
    assert (low, high) == pytest.approx((below, above), abs=2 * 8 / 8192 * 2)


def test_one_odd_sample_moves_the_moving_average_little() -> None:
    odd = NORMAL.copy()
    odd[25] *= 50
    usual, moved = _range(NORMAL, "moving_average"), _range(odd, "moving_average")
    assert _range(odd, "minmax")[1] > 30 * usual[1]
    assert moved[1] < 4.5 * usual[1]


@pytest.mark.parametrize("outlier", [1.0, 8.0, 60.0])
@pytest.mark.parametrize("one_sided", [False, True])
def test_mse_is_near_the_best_of_all_ranges(outlier: float, one_sided: bool) -> None:
    """Against a search over ranges with the real rounding of the real values."""
    values = NORMAL[:10].copy()
    values[0, :2] = 4 * outlier
    values = np.maximum(values, 0) if one_sided else values
    low, high = _range(values, "mse")
    lows = [0.0] if one_sided else np.linspace(float(values.min()), -1, 15)
    highs = np.geomspace(1, values.max(), 60)
    best = min(_squared_error(values, lowest, highest) for lowest in lows for highest in highs)
    assert _squared_error(values, low, high) < 1.03 * best
    assert best <= _squared_error(values, *_range(values, "minmax"))


def test_sixteen_bits_have_room_for_what_eight_cut_off() -> None:
    values = NORMAL.copy()
    values[0, 0] = 40.0
    assert _range(values, "mse", 8)[1] < 35
    assert _range(values, "mse", 16)[1] > 39


def test_entropy_cuts_a_tail_off_and_leaves_a_flat_distribution() -> None:
    flat = np.random.default_rng(1).uniform(-1, 1, (20, 4000)).astype(np.float32)
    assert _range(flat, "entropy") == pytest.approx((-1, 1), abs=0.02)
    tailed = NORMAL.copy()
    tailed[0, :3] = 60.0
    low, high = _range(tailed, "entropy")
    assert high < 20
    assert low < -2.5


def _with_background(share: float) -> Array:
    """Activations after a ReLU, of which a share are one of 16 values: what a plain background is in 16 channels."""
    random = np.random.default_rng(2)
    values = np.abs(NORMAL)
    constants = random.uniform(0, 0.8, 16).astype(np.float32)
    return np.where(random.random(values.shape) < share, random.choice(constants, values.shape), values)


def _published(values: Array, bins: int = 2048, levels: int = 128) -> float:
    """The greatest value that the search of TensorRT keeps, as it was published (Migacz 2017, pages 30 to 38)."""
    counts, edges = np.histogram(np.abs(values), bins, (0, np.abs(values).max()))
    counts = np.append(counts[1], counts[1:]).astype(np.float64)
    best, kept = np.inf, bins
    for end in range(levels, bins + 1, 8):
        inside = counts[:end]
        reference = inside.copy()
        reference[-1] += counts[end:].sum()
        level = np.arange(end) * levels // end
        filled = np.bincount(level, inside > 0, levels)
        quantized = np.where(inside > 0, (np.bincount(level, inside, levels) / np.maximum(filled, 1))[level], 0)
        p, q = reference[inside > 0] / reference.sum(), quantized[inside > 0] / quantized.sum()
        divergence = float((p * np.log(p / q)).sum()) if inside[-1] else np.inf
        best, kept = min((best, kept), (divergence, end))
    return float(edges[kept])


def test_a_plain_background_does_not_narrow_the_range_of_entropy() -> None:
    """The published search, on the same values, cuts more than half of the others off."""
    plain, spiked = _with_background(0), _with_background(0.8)
    assert _published(spiked) < np.median(plain) < 4 < _published(plain)
    assert _range(spiked, "entropy")[1] > 0.85 * _range(plain, "entropy")[1]


def test_a_spike_that_is_cut_off_counts_in_full() -> None:
    """A tenth of all values lie at the end of a ReLU6."""
    values = np.minimum(np.abs(NORMAL) * 3.65, 6).astype(np.float32)
    assert 0.09 < (values == 6).mean() < 0.11
    assert _range(values, "entropy")[1] > 5.9


def test_two_tensors_of_one_name_share_the_wider_range() -> None:
    found = ranges(_observed(NORMAL, 2 * NORMAL, names=("same", "same")))
    assert found == {"same": (2 * float(NORMAL.min()), 2 * float(NORMAL.max()))}


def test_ranges_of_training_stand_whatever_the_method() -> None:
    from dataclasses import replace

    observed = replace(_observed(NORMAL), given={"t0": (-1.5, 1.5), "elsewhere": (0.0, 1.0)})
    assert {tuple(ranges(observed, method).items()) for method in METHODS} == {(("t0", (-1.5, 1.5)),)}


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("mes", "did you mean 'mse'"),
        ("percentile:12", "50 to 100"),
        ("mse:3", "unknown"),
        ("percentile:abc", "unknown"),
    ],
)
def test_an_impossible_method_is_refused_with_the_way_out(method: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        ranges(_observed(NORMAL), method)
    with pytest.raises(ValueError, match=said):
        Quantize("int8", calibration=method)


def test_a_phrase_says_method_and_count() -> None:
    stage = Recipe.parse("int8:calibration=percentile:99.9,calibration=500").quantize
    assert (stage.calibration, stage.calibration_samples) == ("percentile:99.9", 500)
    assert Recipe.parse("int8").quantize.calibration == "minmax"
    for phrase, said in (
        ("int8:calibration=mse,calibration=entropy", "said twice"),
        ("int8:calibration=none", "minmax, moving_average"),
        ("int8:calibration=percentile:3", "50 to 100"),
        ("dynamic-int8:calibration=mse", "goes with int8"),
        ("int16x8:calibration=entropy", "use mse"),
    ):
        with pytest.raises(RecipeError, match=said):
            Recipe.parse(phrase)


def test_a_recipe_file_says_the_method(tmp_path: Path) -> None:
    recipe = Recipe.parse("int8:calibration=entropy")
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.parse(path) == recipe
    path.write_text(recipe.to_toml().replace('"entropy"', '"entropie"'))
    with pytest.raises(RecipeError, match="calibration"):
        Recipe.parse(path)
