"""Bytes that go into a network which learned from scaled ones are told; every other network is left in peace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.dataset import Dataset, load_dataset
from edgekit.doctor.unprepared import unprepared

Array = np.ndarray[Any, Any]


def data(tmp_path: Path, **overrides: object) -> Dataset:
    """Images of bytes, dark ones and bright ones."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    images = rng.integers(0, 100, (400, 6, 6, 3)) + 140 * labels[:, None, None, None]
    np.savez(tmp_path / "bytes.npz", x=images.astype(np.uint8), y=labels)
    return load_dataset(tmp_path / "bytes.npz", overrides={"validation_fraction": 0.3, **overrides})


def classifier(threshold: float) -> Any:
    """Says that an image is bright where its mean is above the threshold."""

    def predict(inputs: Sequence[Array]) -> list[Array]:
        bright = inputs[0].mean(axis=(1, 2, 3)) > threshold
        return [np.stack([~bright, bright], axis=1).astype(np.float32)]

    return predict


@pytest.mark.parametrize(("threshold", "setting"), [(0.5, "scale = [0.003921569]"), (0.0, "mean = [127.5]")])
def test_the_setting_is_named_with_what_was_counted(tmp_path: Path, threshold: float, setting: str) -> None:
    said = unprepared(data(tmp_path), classifier(threshold))
    assert setting in said
    assert "on 0 with" in said
    assert "of 96 validation samples as they are" in said


def test_with_the_setting_nothing_is_said(tmp_path: Path) -> None:
    scaled = data(tmp_path, **{"preprocessing.scale": [1 / 255]})
    assert unprepared(scaled, classifier(0.5)) == ""


@pytest.mark.parametrize("threshold", [127.5, 1e9, -1.0])
def test_a_network_for_bytes_and_one_that_is_wrong_either_way_are_left_in_peace(
    tmp_path: Path, threshold: float
) -> None:
    assert unprepared(data(tmp_path), classifier(threshold)) == ""


def test_five_errors_may_be_chance(tmp_path: Path) -> None:
    found = data(tmp_path)
    part = found.part("validation").array()[0]
    wrong = np.arange(len(part)) < 5

    def predict(inputs: Sequence[Array]) -> list[Array]:
        bright = inputs[0].mean(axis=(1, 2, 3)) > (127.5 if inputs[0].max() > 1 else 0.5)
        said = np.where(wrong & (inputs[0].max() > 1), ~bright, bright)
        return [np.stack([~said, said], axis=1).astype(np.float32)]

    assert unprepared(found, predict) == ""
