"""Calibration lint on real data: each fault is named, with a sound set beside it that draws no warning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.data.spec import Preprocessing
from edgekit.dataset import load_dataset
from edgekit.doctor.calibration_lint import FEWEST, lint, lint_dataset
from edgekit.doctor.sample_statistics import binomial_tail
from edgekit.errors import DataError
from edgekit.finding import Finding

Array = np.ndarray[Any, Any]

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class Data:
    """Training samples as a model gets them, and their classes."""

    x: Array
    y: Array

    def drawn(self, count: int, seed: int = 0) -> tuple[Array, Array]:
        """A sound calibration set."""
        rows = np.random.default_rng(seed).choice(len(self.x), count, replace=False)
        return self.x[rows].copy(), self.y[rows]


@pytest.fixture(scope="module")
def fashion(shared_data: Path) -> Data:
    with np.load(shared_data / "sets" / "fashion_mnist.npz") as found:
        return Data((found["x_train"][:4000, ..., None] / 255).astype(np.float32), found["y_train"][:4000])


@pytest.fixture(scope="module")
def tinted(fashion: Data) -> Data:
    """Fashion-MNIST in orange on blue."""
    ink, paper = np.array([1, 0.7, 0.4], np.float32), np.array([0, 0.1, 0.3], np.float32)
    return Data(fashion.x * ink + (1 - fashion.x) * paper, fashion.y)


@pytest.fixture(scope="module")
def spoken(shared_data: Path) -> Data:
    """Spoken digits: the logarithm of the spectrum `[frames, bands, 1]`, standardized."""
    with np.load(shared_data / "sets" / "fsdd.npz") as found:
        clips = np.split(found["audio"].astype(np.float32) / 32768, np.cumsum(found["length"])[:-1])
        clips, y = [np.resize(clip, 4096) for clip in clips[::2]], found["label"][::2]
    frames = np.stack(clips).reshape(len(clips), 32, 128) * np.hanning(128).astype(np.float32)
    x = np.log(np.abs(np.fft.rfft(frames))[..., :64, None] ** 2 + 1e-6).astype(np.float32)
    return Data((x - x.mean()) / x.std(), y)


@pytest.fixture(scope="module")
def vowels(shared_data: Path) -> Data:
    with np.load(shared_data / "sets" / "japanese_vowels_eq.npz") as found:
        return Data(np.moveaxis(found["x_train"], 1, 2), found["y_train"].astype(int))


@pytest.fixture(scope="module")
def shuttle(shared_data: Path) -> Data:
    with np.load(shared_data / "sets" / "shuttle.npz") as found:
        return Data(found["x"][:20_000], found["y"][:20_000])


SETS = ("fashion", "tinted", "spoken", "vowels", "shuttle")


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Data:
    found: Data = request.getfixturevalue(request.param)
    return found


def _warnings(found: tuple[Finding, ...]) -> list[Finding]:
    return [one for one in found if one.level != "info"]


def _told(found: tuple[Finding, ...]) -> list[str]:
    return [one.code for one in _warnings(found)]


@pytest.mark.parametrize("count", [60, 200])
@pytest.mark.parametrize("data", SETS, indirect=True)
def test_sound_sets_draw_no_warning(data: Data, count: int) -> None:
    for seed in range(3):
        x, y = data.drawn(count, seed)
        assert _told(lint([x], [data.x], y, train_labels=data.y)) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, 100, 200])
@pytest.mark.parametrize("data", SETS, indirect=True)
def test_a_hundred_sound_sets_draw_no_warning(data: Data, count: int) -> None:
    for seed in range(100):
        x, y = data.drawn(count, seed)
        assert _told(lint([x], [data.x], y, train_labels=data.y)) == []


@pytest.mark.parametrize("data", ["fashion", "tinted", "spoken", "vowels"], indirect=True)
def test_sound_sets_alone_draw_no_warning_and_say_what_was_not_checked(data: Data) -> None:
    x, y = data.drawn(200)
    assert _told(lint([x])) == []
    assert [one.subject for one in lint([x])] == ["train", "labels"]
    assert [one.subject for one in lint([x], labels=y)] == ["train"]
    assert lint([x], [data.x], y) == ()


def _spoiled(x: Array) -> Array:
    x[7, 3] = np.nan
    return x


def _with_outliers(x: Array) -> Array:
    x[[5, 50]] *= 20
    return x


def _blanked(x: Array) -> Array:
    x[::4] = 0.5
    return x


def _noisy_copies(x: Array) -> Array:
    return np.asarray(x[:1] + np.random.default_rng(0).normal(0, 0.01, size=x.shape), np.float32)


FAULTS: list[tuple[str, Callable[[Array], Array], str]] = [
    ("not-finite", _spoiled, "NaN or infinity in 1 (7) of 200"),
    ("constant", np.zeros_like, "every value of all 200 samples is 0"),
    ("blank", _blanked, "50 (0, 4, 8, 12, 16, ...) of 200"),
    ("repeated", lambda x: np.repeat(x[:1], len(x), axis=0), "200 samples, 1 different ones"),
    ("repeated", lambda x: x[np.arange(200) % 90], "200 samples, 90 different ones"),
    ("alike", _noisy_copies, "times as much as training samples"),
    ("scale", lambda x: x * 3 - 1, "the training data has"),
    ("scale", lambda x: x * 0.3 + 2, "the training data has"),
    ("outliers", _with_outliers, "2 (5, 50) of 200 samples widen the range"),
    ("few", lambda x: x[: FEWEST - 1], "49 samples"),
]


@pytest.mark.parametrize(("code", "fault", "said"), FAULTS)
def test_a_fault_is_named_alone(fashion: Data, code: str, fault: Callable[[Array], Array], said: str) -> None:
    found = lint([fault(fashion.drawn(200)[0])], [fashion.x])
    assert _told(found) == [f"calibration-{code}"]
    assert said in found[0].problem
    assert found[0].mend


@pytest.mark.parametrize("code", ["not-finite", "constant", "blank", "repeated", "outliers", "few"])
def test_some_faults_need_no_training_data(fashion: Data, code: str) -> None:
    fault = next(fault for name, fault, _ in FAULTS if name == code)
    assert _told(lint([fault(fashion.drawn(200)[0])])) == [f"calibration-{code}"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda x: x / 255, "divided by 255 once more"),
        (lambda x: x * 255, "not divided by 255"),
        (lambda x: x / 127.5 - 1, "scaled to -1..1 once more"),
        (lambda x: x * 2 - 1, "-1..1, not 0..1"),
    ],
)
@pytest.mark.parametrize("data", ["fashion", "tinted"], indirect=True)
def test_the_usual_slips_of_preprocessing_are_recognized(
    data: Data, fault: Callable[[Array], Array], said: str
) -> None:
    (found,) = _warnings(lint([fault(data.drawn(200)[0])], [data.x]))
    assert (found.code, said in found.problem) == ("calibration-preprocessing", True)


@pytest.mark.parametrize("data", ["fashion", "spoken", "vowels"], indirect=True)
def test_recorded_preprocessing_twice_or_not_at_all_is_told_apart(data: Data) -> None:
    recorded = Preprocessing(mean=(0.3,), scale=(5.0,))
    ready = recorded.apply(data.x)
    raw = data.drawn(150)[0]
    twice, never = recorded.apply(recorded.apply(raw)), raw
    found = [lint([x], [ready], preprocessing=recorded)[0] for x in (twice, never)]
    assert ["applied twice" in found[0].problem, "not applied" in found[1].problem] == [True, True]
    assert _told(lint([recorded.apply(raw)], [ready], preprocessing=recorded)) == []


def test_channels_in_reverse_order_are_seen_after_any_scaling(tinted: Data) -> None:
    x = tinted.drawn(200)[0]
    (found,) = _warnings(lint([x[..., ::-1]], [tinted.x]))
    assert found.code == "calibration-channels"
    assert "BGR for RGB" in found.problem
    assert "[2, 1, 0]" in found.mend
    scaled = lint([x[..., ::-1] * 255], [tinted.x])
    assert sorted(_told(scaled)) == ["calibration-channels", "calibration-preprocessing"]
    mean, deviation = (value.astype(np.float32) for value in IMAGENET)
    ready = (tinted.x - mean) / deviation
    assert _told(lint([((x[..., ::-1]) - mean) / deviation], [ready])) == ["calibration-channels"]


def test_other_orders_and_other_channels_than_colours_are_seen(vowels: Data, tinted: Data) -> None:
    assert _told(lint([vowels.drawn(200)[0][..., ::-1]], [vowels.x])) == ["calibration-channels"]
    (found,) = _warnings(lint([tinted.drawn(200)[0][..., [1, 2, 0]]], [tinted.x]))
    assert "in the order (2, 0, 1)" in found.problem
    x = tinted.drawn(200)[0][..., [1, 2, 0]]
    assert _told(lint([x[..., [2, 0, 1]]], [tinted.x])) == []


def test_gray_pictures_have_no_order_of_channels(fashion: Data) -> None:
    gray = np.repeat(fashion.x, 3, axis=-1)
    assert _told(lint([gray[:200, ..., ::-1]], [gray])) == []


@pytest.mark.parametrize("data", ["fashion", "spoken"], indirect=True)
def test_swapped_axes_are_seen(data: Data) -> None:
    x = data.drawn(200)[0]
    square = data.x[:, :28, :28]
    found = lint([np.swapaxes(x[:, :28, :28], 1, 2)], [square])
    assert _told(found) == ["calibration-layout"]


def test_channels_first_is_told_from_another_shape(tinted: Data) -> None:
    first = np.moveaxis(tinted.drawn(60)[0], -1, 1)
    assert "moveaxis" in lint([first], [tinted.x])[0].mend
    assert _told(lint([first[:, :1]], [tinted.x])) == ["calibration-shape"]
    reshaped = first.reshape(60, 28, 28, 3)
    assert "calibration-layout" in _told(lint([reshaped], [tinted.x])) or "calibration-channels" in _told(
        lint([reshaped], [tinted.x])
    )


@pytest.mark.parametrize("known", [True, False])
def test_missing_and_rare_classes_are_named(fashion: Data, known: bool) -> None:
    x, y = fashion.drawn(400)
    kept = y != 3
    kept[y == 5] = np.arange((y == 5).sum()) < 2
    told = lint([x[kept]], [fashion.x], y[kept], train_labels=fashion.y if known else None)
    problems = [one.problem.partition(", usual")[0] for one in told if one.code == "calibration-classes"]
    rare = f"too few samples of 1 of {10 if known else 9} classes: 5 (2"
    assert problems == (["no sample of 1 of 10 classes: 3", rare] if known else [rare])


def test_a_class_that_is_rare_in_training_may_be_missing(shuttle: Data) -> None:
    y = shuttle.y.astype(int)
    assert 0.01 < y.mean() < 0.2
    normal = np.random.default_rng(0).permutation(np.flatnonzero(y == 0))[:500]
    few = normal[:60]
    assert _told(lint([shuttle.x[few]], [shuttle.x], y[few], train_labels=y)) == []
    assert _told(lint([shuttle.x[normal]], [shuttle.x], y[normal], train_labels=y)) == ["calibration-classes"]


def test_tails_that_training_data_has_are_no_fault(shuttle: Data) -> None:
    rows = np.argsort(np.abs(shuttle.x).max(axis=1))
    x = shuttle.x[np.append(rows[:: len(rows) // 199], rows[-2])]
    found = lint([x], [shuttle.x])[0]
    assert (found.level, found.code) == ("info", "calibration-tails")
    assert "percentile" in found.mend


def test_the_file_knows_what_its_input_should_be(tiny_cnn: Path, tinted: Data) -> None:
    from edgekit.tflite.inspect import read_contents
    from edgekit.tflite.metadata import read_metadata, write_metadata
    from edgekit.tflite.metadata_edit import Changes, Normalization, changed

    file = (tiny_cnn / "tiny.tflite").read_bytes()
    told = Changes(normalization=Normalization((0.0,), (255.0,)))
    model = write_metadata(file, changed(read_metadata(file), read_contents(file), told))
    x = tinted.drawn(100)[0][:, 6:22, 6:22]
    assert _told(lint([x], model=model)) == []
    for factor in (255, 1 / 255):
        assert _told(lint([x * np.float32(factor)], model=file)) == []
        found = lint([x * np.float32(factor)], model=model)
        assert _told(found) == ["calibration-preprocessing"]
        assert "the metadata say" in found[0].problem
        assert found[0].subject == "image"


def test_a_model_that_scales_by_itself_wants_bytes(tmp_path: Path, fashion: Data) -> None:
    from edgekit.model import load_model
    from edgekit.stages.convert import export
    from edgekit.tf import import_keras

    keras = import_keras()
    image = keras.Input((28, 28, 1), name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(image)
    network = keras.Model(image, keras.layers.Conv2D(2, 3, padding="same")(scaled))
    model = export(load_model(network), 1, tmp_path / "export").lower()
    x = fashion.drawn(100)[0]
    assert _told(lint([x * 255], model=model)) == []
    (found,) = _warnings(lint([x], model=model))
    assert "the model itself multiplies it by 0.00784" in found.problem
    assert "twice" in found.mend
    assert _told(lint([np.moveaxis(x, -1, 1)], model=model)) == ["calibration-layout"]


def test_outliers_are_numbered_as_they_came_however_many_samples_there_are(fashion: Data) -> None:
    x = np.concatenate([fashion.x, fashion.x])
    x[4321] *= 30
    (found,) = _warnings(lint([x], [fashion.x]))
    assert "1 (4321) of 8000 samples widen the range to 0 to 30" in found.problem


def test_training_data_that_is_broken_itself_is_told(fashion: Data) -> None:
    x = fashion.x.copy()
    x[11] = np.inf
    (found,) = _warnings(lint([fashion.x[:100]], [x]))
    assert (found.code, found.subject) == ("calibration-not-finite", "input 0, training data")


def test_labels_that_are_no_class_numbers_are_said_to_be_unchecked(fashion: Data) -> None:
    found = lint([fashion.x[:100]], [fashion.x], np.eye(10)[fashion.y[:100]])
    assert [(one.level, one.subject) for one in found] == [("info", "labels")]


def test_a_data_set_is_looked_at_as_it_is(fashion: Data, tmp_path: Path) -> None:
    def found(x: Array, **parts: Array) -> list[str]:
        path = tmp_path / "data.npz"
        np.savez(path, x_train=fashion.x[:3000], y_train=fashion.y[:3000], x_calibration=x, **parts)
        return [one.code for one in lint_dataset(load_dataset(path))]

    x, y = fashion.x[3000:3200], fashion.y[3000:3200]
    assert found(x, y_calibration=y) == []
    assert found(x) == ["calibration-unchecked"]
    assert found(np.repeat(x[:1], 200, axis=0), y_calibration=y) == ["calibration-repeated"]
    assert found(x[y < 5], y_calibration=y[y < 5]) == ["calibration-classes"]


def test_nothing_to_look_at_is_an_error(fashion: Data) -> None:
    with pytest.raises(DataError, match="no calibration samples"):
        lint([fashion.x[:0]])
    with pytest.raises(DataError, match="10 labels for 4000"):
        lint([fashion.x], labels=fashion.y[:10])
    with pytest.raises(DataError, match="2 inputs"):
        lint([fashion.x], [fashion.x, fashion.x])


def test_the_binomial_tail_is_that_of_the_textbook() -> None:
    assert binomial_tail(0, 10, 0.5) == pytest.approx(1 / 1024)
    assert binomial_tail(10, 10, 0.3) == pytest.approx(1)
    assert binomial_tail(3, 8, 0.5) == pytest.approx(93 / 256)
    assert (binomial_tail(0, 5, 0.0), binomial_tail(4, 5, 1.0)) == (1, 0)
