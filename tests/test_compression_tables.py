"""The tables of compression: drops are against the float model of the same seed, and bounds are held to their means."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.stages.training import Training

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import compression_tables
import tasks

PLAN = compression_tables.Trainings(*[Training()] * 4)


def result(row: str, seed: int, wrong: int, wrong_int8: int | None = None, samples: int = 1000) -> Any:
    def bits(count: int) -> bytes:
        return np.packbits(np.arange(samples) >= count).tobytes()

    int8 = bits(wrong if wrong_int8 is None else wrong_int8)
    return compression_tables.Result("t", "n", seed, row, samples, bits(wrong), int8, 1, 1, 1, 1, 1.0)


def test_a_drop_is_against_the_float_model_of_the_same_seed() -> None:
    rows = [
        result("float", 0, 100),
        result("float", 1, 140),
        result("80 % sparse", 0, 103),
        result("80 % sparse", 1, 149),
    ]
    pairs = compression_tables.paired(rows, "80 % sparse", "float")
    row = compression_tables.Row("80 % sparse", *zip(*pairs, strict=True))
    assert row.accuracies(int8=False) == pytest.approx([89.7, 85.1])
    assert row.drops(int8=False) == pytest.approx([0.3, 0.9])
    assert row.verdict(int8=False) == "0.5: missed by 0.10"


def test_a_mean_at_the_bound_keeps_it() -> None:
    row = compression_tables.Row("80 % sparse", (result("80 % sparse", 0, 105),), (result("float", 0, 100),))
    assert row.verdict(int8=False) == "0.5: met"
    assert compression_tables.Row("float", row.floats, row.floats).verdict(int8=False) == ""


@pytest.mark.parametrize(("wrong", "said"), [(50, "met"), (100, "0 is inside"), (150, "it is worse")])
def test_a_student_is_judged_by_the_interval_of_its_gain(wrong: int, said: str) -> None:
    rows = [result("student alone", seed, 100) for seed in (0, 1)]
    rows += [result("student distilled", seed, wrong) for seed in (0, 1)]
    assert said in compression_tables.taught(rows).split(";")[0]


def test_what_a_kill_has_cut_short_is_left_out(tmp_path: Path) -> None:
    notes = tmp_path / "t-n.jsonl"
    assert compression_tables.read(notes) == []
    whole = msgspec.json.encode(result("float", 0, 10))
    notes.write_bytes(whole + b"\n" + whole[:40])
    (found,) = compression_tables.read(notes)
    assert found.accuracy == found.int8 == 0.99


def test_the_tables_have_each_network_once() -> None:
    rows = [result("float", 0, 10), result("16 clusters", 0, 12)]
    text = compression_tables.markdown(rows, ["float", "16 clusters"], lambda *_: PLAN)
    assert text.count("## n, t") == 1
    assert "| 16 clusters | 1 | 1 | 1 | 1 B | 1 B | 98.80 | +0.20 | 0.5: met |" in text


def test_a_tone_lies_in_its_mel_band() -> None:
    seconds = np.arange(8000) / 8000
    bands = [int(tasks.log_mel(np.sin(2 * np.pi * hertz * seconds))[5, :, 0].argmax()) for hertz in (300, 1000, 3000)]
    top = 2595 * np.log10(1 + 4000 / 700)
    assert bands == [round(2595 * np.log10(1 + hertz / 700) / top * 33) - 1 for hertz in (300, 1000, 3000)]
    assert tasks.log_mel(np.ones(100_000, np.float32), 400).shape == (32, 32, 1)
