"""Corruptions: what each does to samples, in any type and layout, and the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgekit.corruptions import Corruption, Kind, corrupted, corruptions, kind_of
from edgekit.data.parts import Part
from edgekit.data.spec import Preprocessing
from edgekit.errors import DataError

Array = np.ndarray[Any, Any]


def part_of(x: Array, **settings: Any) -> Part:
    return Part("test", (x,), (np.zeros(len(x), np.int64),), **settings)


def images(shape: tuple[int, ...] = (30, 28, 28, 3), dtype: str = "uint8") -> Part:
    return part_of(np.random.default_rng(0).integers(0, 256, shape).astype(dtype))


def series(shape: tuple[int, ...] = (40, 100, 3)) -> Part:
    return part_of(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def named(part: Part, kind: Kind, name: str, severity: int = 2) -> Corruption:
    return next(one for one in corruptions(part, kind) if (one.name, one.severity) == (name, severity))


def done(part: Part, kind: Kind, name: str, severity: int = 2, seed: int = 0) -> Array:
    return corrupted(part, named(part, kind, name, severity), seed).inputs[0]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((9, 32, 32, 3), "image"),
        ((9, 49, 10, 1), "image"),
        ((9, 28, 28), "image"),
        ((9, 100, 6), "series"),
        ((9, 3, 3), "series"),
        ((9, 16000), "series"),
        ((9, 13), "table"),
    ],
)
def test_the_kind_is_seen_by_the_shape(shape: tuple[int, ...], kind: str) -> None:
    assert kind_of(part_of(np.zeros(shape, np.float32))) == kind


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(DataError, match="no image, series or table"):
        kind_of(part_of(np.zeros((9, 4, 4, 4, 1), np.float32)))
    with pytest.raises(DataError, match="whole numbers"):
        kind_of(part_of(np.zeros((9, 20), np.int32), input_types=("int32",)))
    with pytest.raises(DataError, match="cannot be of kind 'image'"):
        corruptions(part_of(np.zeros((9, 20), np.float32)), "image")
    with pytest.raises(DataError, match="all alike"):
        done(part_of(np.ones((9, 8, 8, 1), np.float32)), "image", "noise")


@pytest.mark.parametrize(
    ("part", "kind", "names"),
    [
        (images(), "image", ["noise", "blur", "contrast", "shift"]),
        (images((9, 28, 28)), "image", ["noise", "blur", "contrast", "shift"]),
        (series(), "series", ["noise", "shift", "scale"]),
        (series((40, 100)), "series", ["noise", "shift", "scale"]),
        (series((40, 13)), "table", ["noise"]),
    ],
)
def test_all_keep_shape_and_type_are_repeatable_and_grow_with_severity(
    part: Part, kind: Kind, names: list[str]
) -> None:
    found = corruptions(part, kind)
    assert [(one.name, one.severity) for one in found] == [(name, level) for name in names for level in (1, 2, 3)]
    x, far = part.inputs[0], {}
    for one in found:
        out, again = (corrupted(part, one, 5).inputs[0] for _ in range(2))
        np.testing.assert_array_equal(out, again)
        assert (out.shape, out.dtype) == (x.shape, x.dtype)
        far[one.name, one.severity] = float(np.abs(out.astype(float) - x).mean())
    for name in names:
        assert far[name, 1] > 0
        # of values without a neighbourhood each step is as far as the next
        assert name == "shift" or far[name, 1] < far[name, 2] < far[name, 3]


def test_another_seed_is_another_noise() -> None:
    assert (done(images(), "image", "noise", seed=0) != done(images(), "image", "noise", seed=1)).any()


def test_image_noise_has_the_deviation_of_its_severity_and_stays_in_the_range() -> None:
    flat = np.full((50, 16, 16, 1), 0.5, np.float32)
    flat[0, 0, 0, 0], flat[0, 0, 1, 0] = 0.0, 1.0
    out = done(part_of(flat), "image", "noise", 2)
    assert np.std(out[1:] - 0.5) == pytest.approx(0.08, rel=0.05)
    assert done(images(), "image", "noise", 3).max() <= 255


def test_larger_images_take_the_severities_of_larger_images() -> None:
    small, large = (named(images((2, side, side, 1)), "image", "blur", 3).amount for side in (64, 65))
    assert (small, large) == (1.0, 6.0)


def test_blur_keeps_the_mean_and_flattens() -> None:
    x = np.zeros((2, 31, 31, 1), np.float32)
    x[:, 15, 15] = 1
    out = done(part_of(x), "image", "blur", 3)
    assert out.sum(axis=(1, 2, 3)) == pytest.approx(1, abs=1e-5)
    assert out[0, 15, 15, 0] == pytest.approx(1 / (2 * np.pi), rel=0.01)  # of a Gaussian of one pixel
    np.testing.assert_allclose(out, out[:, ::-1, ::-1], atol=1e-7)


def test_contrast_keeps_the_mean_of_each_image_and_channel() -> None:
    part = images(dtype="float32")
    out = done(part, "image", "contrast", 2)
    np.testing.assert_allclose(out.mean(axis=(1, 2)), part.inputs[0].mean(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(out.std(axis=(1, 2)), 0.4 * part.inputs[0].std(axis=(1, 2)), rtol=1e-3)


def test_a_shift_moves_whole_images_by_its_pixels() -> None:
    x = np.zeros((60, 32, 32, 1), np.float32)
    x[:, 16, 16] = 1
    part = part_of(x)
    places = {tuple(int(v) - 16 for v in np.argwhere(one[..., 0])[0]) for one in done(part, "image", "shift", 2)}
    assert places == {(-3, 0), (3, 0), (0, -3), (0, 3)}
    assert named(part, "image", "shift", 2).said == "3 px"


def test_a_shift_in_time_repeats_the_edge() -> None:
    x = np.broadcast_to(np.arange(100, dtype=np.float32), (20, 100))
    out = done(part_of(x), "series", "shift", 3)
    assert {int(v) for v in out[:, 50]} == {40, 60}
    assert {(int(row[0]), int(row[-1])) for row in out} == {(0, 89), (10, 99)}


def test_series_noise_is_that_far_below_each_channel() -> None:
    x = np.sin(np.arange(4000) / 7)[None, :, None].astype(np.float32) * np.array([1, 50], np.float32)
    noise = done(part_of(x.repeat(3, 0)), "series", "noise", 2) - x
    assert 20 * np.log10(x.std(axis=1) / noise.std(axis=1))[0] == pytest.approx([10, 10], abs=0.3)


def test_a_scale_goes_both_ways_and_whole_numbers_stay_in_their_type() -> None:
    x = np.full((40, 100), 20_000, np.int16)
    assert set(np.unique(done(part_of(x), "series", "scale", 3))) == {10_000, 32_767}


def test_table_noise_leaves_constant_columns_alone() -> None:
    x = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32) * [100, 0] + [0, 7]
    out = done(part_of(x), "table", "noise", 3)
    assert (out[:, 1] == 7).all()
    assert np.std(out[:, 0] - x[:, 0]) / np.std(x[:, 0]) == pytest.approx(0.2, rel=0.1)


def test_channels_first_is_corrupted_as_channels_last_is() -> None:
    part = images(dtype="float32")
    turned = replace(
        part, inputs=(np.moveaxis(part.inputs[0], -1, 1),), preprocessing=Preprocessing(layout="channels_first")
    )
    for name in ("noise", "blur", "contrast", "shift"):
        np.testing.assert_allclose(
            np.moveaxis(done(turned, "image", name), 1, -1), done(part, "image", name), rtol=1e-6
        )


def test_labels_and_the_users_arrays_are_left_alone() -> None:
    part = images()
    kept = part.inputs[0].copy()
    out = corrupted(part, named(part, "image", "noise"))
    np.testing.assert_array_equal(part.inputs[0], kept)
    assert out.labels is part.labels
    assert out.preprocessing is part.preprocessing


def test_inputs_of_another_rank_and_whole_numbers_pass_unharmed() -> None:
    x, table = images().inputs[0], np.ones((30, 4), np.float32)
    part = Part("test", (x, table), input_types=("float32", "float32"))
    out = corrupted(part, named(part, "image", "noise"))
    assert (out.inputs[0] != x).any()
    assert out.inputs[1] is table
