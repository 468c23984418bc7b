"""Advice: what a change would save is what it saves, and the greatest share stands first."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.check.advice import Advice, words
from edgekit.source_check import check_file, check_model
from edgekit.target import load_target


def _advice(path: Path, target: str) -> tuple[Advice, ...]:
    return check_model(path, target).advice


def test_int8_is_promised_what_a_real_int8_file_takes(shared_data: Path) -> None:
    folder = shared_data / "models/mlperf_tiny_ic"
    promised = {one.resource: one for one in _advice(folder / "pretrainedResnet.tflite", "raspberry-pi-4")}
    real = check_model(folder / "pretrainedResnet_quant.tflite", "raspberry-pi-4").memory
    assert promised["file"].after == pytest.approx(real.file_bytes, rel=0.1)
    assert promised["tensors"].after == real.arena_bytes


def test_tensors_are_not_smaller_where_int8_is_computed_in_floats(shared_data: Path) -> None:
    advice = _advice(shared_data / "models/mlperf_tiny_ic/pretrainedResnet.tflite", "android-gpu")
    assert [one.resource for one in advice] == ["file"]


def test_an_int8_file_is_not_told_to_become_one(shared_data: Path) -> None:
    file = shared_data / "models/mlperf_tiny_ic/pretrainedResnet_quant.tflite"
    assert not [one for one in _advice(file, "raspberry-pi-4") if "quantize" in one.what]


def test_operators_that_cut_a_graph_are_worth_their_pieces(shared_data: Path) -> None:
    file = shared_data / "models/microwakeword/okay_nabu.tflite"
    (found,) = [one for one in _advice(file, "raspberry-pi-4") if one.resource == "pieces"]
    assert "SPLIT_V x3" in found.what
    assert (found.before, found.after) == (4, 1)
    assert words([found])[0].endswith("pieces 4 -> 1")


def test_what_keeps_work_off_the_edge_tpu_is_worth_its_multiply_accumulates(shared_data: Path) -> None:
    file = shared_data / "models/coral_pairs/deeplabv3_mnv2_dm05_pascal_quant.tflite"
    (found,) = [one for one in _advice(file, "coral-usb") if one.resource == "outside"]
    assert "RESIZE_BILINEAR" in found.what
    assert found.before > 100e6
    assert found.after == 0


def test_advice_comes_by_the_share_that_it_saves(shared_data: Path) -> None:
    for path in sorted((shared_data / "models").rglob("*.tflite")):
        for result in check_file(path.read_bytes(), [load_target("android-gpu"), load_target("cortex-m4")]):
            shares = [one.share for one in result.advice]
            assert shares == sorted(shares, reverse=True)
            assert all(0.02 <= share <= 1 for share in shares)
            assert all(words(result.advice))
