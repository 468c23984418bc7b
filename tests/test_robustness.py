"""A file beside its float model: one that is right on clean samples and gives way under a louder input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from run_examples import int8_file as other_file
from run_examples import judged, manifest
from toys import Toy

from edgekit import robustness
from edgekit.answers import answers
from edgekit.cli import evaluate as evaluate_command
from edgekit.corruptions import corruptions
from edgekit.errors import DataError, ModelError
from edgekit.metrics import Difference, Score
from edgekit.report.robustness import robustness_text
from edgekit.robustness import Robustness, Trial, beside_float, corruption_findings, hidden_losses


def louder_channel(grid: float | None = None) -> bytes:
    """Which of two channels has the higher peak, in float, or in int8 up to `grid`."""
    toy = Toy()
    kind, scales = ("float32", None) if grid is None else ("int8", [grid / 127])
    x, y = (toy.tensor(shape, kind, scales) for shape in ((1, 64, 2), (1, 2)))
    axis = toy.tensor((1,), "int32", data=[1])
    toy.operator("REDUCE_MAX", [x, axis], [y], "ReducerOptions")
    return toy.bytes([x], [y])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float.tflite, tight.tflite (its grid ends at the clean peak), wide.tflite (three times as far), peaks.npz."""
    folder = tmp_path_factory.mktemp("robust")
    for name, grid in (("float", None), ("tight", 1.0), ("wide", 3.0)):
        (folder / f"{name}.tflite").write_bytes(louder_channel(grid))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    x = rng.uniform(-0.2, 0.2, (300, 64, 2)).astype(np.float32)
    x[np.arange(300), rng.integers(10, 54, 300), labels] = 1.0
    x[np.arange(300), rng.integers(10, 54, 300), 1 - labels] = 0.8
    np.savez(folder / "peaks.npz", x_test=x, y_test=labels)
    return folder


def found(folder: Path, name: str, **settings: Any) -> Robustness:
    return beside_float(folder / f"{name}.tflite", folder / "float.tflite", folder / "peaks.npz", **settings)


def only(patch: pytest.MonkeyPatch, *wanted: tuple[str, int]) -> None:
    """Leave only some corruptions: each costs runs of both models."""
    patch.setattr(
        robustness,
        "corruptions",
        lambda part, kind: tuple(one for one in corruptions(part, kind) if (one.name, one.severity) in wanted),
    )


@pytest.fixture(scope="module")
def tight(folder: Path) -> Robustness:
    with pytest.MonkeyPatch.context() as patch:
        only(patch, ("noise", 3), ("shift", 3), ("scale", 1), ("scale", 3))
        return found(folder, "tight")


@pytest.fixture(scope="module")
def clean(folder: Path) -> Robustness:
    return found(folder, "wide", corrupt=False)


def trial(result: Robustness, name: str, severity: int) -> Trial:
    return next(one for one in result.trials if (one.corruption, one.severity) == (name, severity))


def test_a_grid_that_ends_at_the_clean_samples_gives_way_under_louder_ones(tight: Robustness) -> None:
    assert (tight.kind, tight.clean.samples, len(tight.trials)) == ("series", 300, 4)
    assert tight.before[0].value == tight.clean.scores[0].value == 1
    loud = trial(tight, "scale", 3)
    assert (loud.before[0].value, loud.amount) == (1, "x or / 2")
    assert loud.after[0].value < 0.85
    assert loud.differences[0].value == loud.behind[0].value == loud.after[0].value - 1
    told = {one.subject for one in tight.findings if one.code == "corruption"}
    assert {"scale, severity 1", "scale, severity 3"} <= told
    assert "shift, severity 3" not in told


def test_a_wide_grid_does_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, ("scale", 3))
    result = found(folder, "wide")
    assert [one.after[0].value for one in result.trials] == [1]
    assert not result.findings


def test_another_seed_is_another_noise(folder: Path, tight: Robustness, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, ("noise", 3))
    other = found(folder, "tight", seed=4)
    assert other.clean == tight.clean
    assert other.trials[0].after != trial(tight, "noise", 3).after


def test_without_corruptions_the_answers_are_compared_all_the_same(clean: Robustness) -> None:
    assert (clean.trials, clean.kind, clean.clean.answers[0].churn) == ((), None, 0)


def test_a_kind_that_is_told_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, ("contrast", 1))
    result = found(folder, "wide", kind="image", samples=40)
    assert (result.kind, len(result.trials), result.clean.samples) == ("image", 1, 40)
    with pytest.raises(DataError, match="cannot be of kind 'table'"):
        found(folder, "wide", kind="table")


def test_another_part_than_the_test_part_is_judged(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "peaks.npz") as arrays:
        np.savez(tmp_path / "d.npz", x_val=arrays["x_test"], y_val=arrays["y_test"])
    files = folder / "tight.tflite", folder / "float.tflite"
    assert beside_float(*files, tmp_path / "d.npz", part="validation", corrupt=False).clean.samples == 300


def test_what_cannot_be_compared_is_refused(folder: Path, tmp_path: Path) -> None:
    for name, shape, problem in (
        ("wider", (1, 64, 3), "does not take"),
        ("other", (1, 64, 2), "gives outputs of shape"),
    ):
        toy = Toy()
        x, y = toy.tensor(shape), toy.tensor(shape)
        toy.operator("NEG", [x], [y], "NegOptions")
        (tmp_path / f"{name}.tflite").write_bytes(toy.bytes([x], [y]))
        with pytest.raises(ModelError, match=problem):
            beside_float(folder / "tight.tflite", tmp_path / f"{name}.tflite", folder / "peaks.npz")
    with pytest.raises(ModelError, match=r"no \.tflite file"):
        beside_float(folder / "peaks.npz", folder / "float.tflite", folder / "peaks.npz")
    with np.load(folder / "peaks.npz") as arrays:
        np.savez(tmp_path / "bare.npz", x_test=arrays["x_test"])
    with pytest.raises(DataError, match="no labels"):
        beside_float(folder / "tight.tflite", folder / "float.tflite", tmp_path / "bare.npz")


def made(metric: str, value: float, low: float, high: float, before: float = 0.9) -> Trial:
    score = Score(metric, before, before, before, 100, "by hand")
    change = Difference(value, low, high, "by hand", 100)
    return Trial("noise", 1, "", (score,), (score,), (change,), (change,))


@pytest.mark.parametrize(
    ("metric", "low", "high", "told"),
    [
        ("accuracy", -0.2, -0.06, True),
        ("accuracy", -0.2, -0.04, False),
        ("accuracy", 0.06, 0.2, False),
        ("mae", 0.1, 0.2, True),  # a tenth of 0.9 is 0.09
        ("mae", 0.08, 0.2, False),
        ("mae", -0.2, -0.1, False),
    ],
)
def test_only_what_is_surely_worse_than_the_bound_is_told(metric: str, low: float, high: float, told: bool) -> None:
    assert bool(list(corruption_findings(metric, [made(metric, (low + high) / 2, low, high)]))) is told


def test_variants_with_the_same_loss_are_named_together() -> None:
    labels = np.repeat(np.arange(3), 100)
    before = np.eye(3)[labels] * 9
    after = before.copy()
    after[:60] = before[150]
    lossy = msgspec.structs.replace(judged(0.8, -0.2), answers=(answers(labels, before, after),))
    pair = [manifest(target, "int8", other_file(), lossy) for target in ("host", "raspberry-pi-4")]
    sound = manifest("coral-usb", "int8", other_file(), judged(0.9, 0.0))
    told = hidden_losses([*pair, sound])
    assert any(line.startswith("host/int8, raspberry-pi-4/int8: class ") and "40.0%" in line for line in told)
    assert not hidden_losses([sound])


def run(folder: Path, *words: str) -> Result:
    files = [str(folder / "tight.tflite"), "--data", str(folder / "peaks.npz")]
    return CliRunner().invoke(evaluate_command.command, [*files, *words])


def test_the_command_prints_tables_and_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, ("scale", 3))
    source = ("--float", str(folder / "float.tflite"))
    text = run(folder, *source, "--robust")
    assert text.exit_code == 0
    assert "inputs taken as series, seed 0" in text.stdout
    assert "warning: scale, severity 3: accuracy 1 in float and 0." in text.stdout
    told = json.loads(run(folder, *source, "--robust", "--samples", "60", "--json").stdout)
    assert len(told["trials"]) == 1
    assert told["clean"]["answers"][0]["samples"] == 60


@pytest.mark.parametrize("words", [["--robust"], ["--kind", "image"], ["--seed", "3"]])
def test_options_of_a_comparison_need_a_float_model(folder: Path, words: list[str]) -> None:
    refused = run(folder, *words)
    assert refused.exit_code == 2
    assert "--float" in refused.stderr


def test_options_of_corruptions_and_of_boards_are_refused_beside_them(folder: Path) -> None:
    source = ("--float", str(folder / "float.tflite"))
    assert "give --robust, too" in run(folder, *source, "--seed", "3").stderr
    assert "give no --device" in run(folder, *source, "--device", "pi4").stderr


def test_the_text_names_classes_by_their_names(clean: Robustness) -> None:
    text = robustness_text(msgspec.structs.replace(clean, class_names=("left", "right")))
    assert "left " in text
    assert text.endswith("nothing that the average hides was found")


def test_a_keras_model_and_its_float_file_are_the_same_reference(
    digits: Path, float_file: bytes, int8_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network of the digits: a healthy file, about which nothing is told."""
    only(monkeypatch, ("noise", 2))
    (tmp_path / "int8.tflite").write_bytes(int8_file)
    (tmp_path / "float.tflite").write_bytes(float_file)
    by_keras, by_file = (
        beside_float(tmp_path / "int8.tflite", source, digits / "digits.npz")
        for source in (digits / "digits.keras", tmp_path / "float.tflite")
    )
    assert (by_keras.kind, by_keras.findings) == ("image", ())
    assert by_keras.before == by_file.before
    assert by_keras.trials == by_file.trials
