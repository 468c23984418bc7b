"""Loading as a whole: parts, fingerprint, warnings, and files that are no data."""

import os

import numpy as np
import pytest

from edgekit import compress_model, evaluate_model, optimize
from edgekit.dataset import Part, Preprocessing, load_dataset, load_for, refuse_missing
from edgekit.errors import DataError
from edgekit.model import TensorSpec

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 5)).astype(np.float32)
Y = np.arange(200) % 4


def saved(path, save=np.savez, **arrays):
    save(path, **arrays)
    return path


def test_given_parts_stay_as_they_are(tmp_path):
    keys = {"train": 100, "val": 40, "calibration": 30, "test": 30}
    arrays, start = {}, 0
    for key, count in keys.items():
        arrays |= {f"x_{key}": X[start : start + count], f"y_{key}": Y[start : start + count]}
        start += count
    dataset = load_dataset(saved(tmp_path / "d.npz", **arrays))
    for part, key in zip(dataset.parts, keys, strict=True):
        assert np.array_equal(part.inputs[0], arrays[f"x_{key}"])
        assert np.array_equal(part.labels[0], arrays[f"y_{key}"])
    assert dataset.warnings == ()


def test_validation_and_calibration_come_out_of_train(tmp_path):
    path = saved(tmp_path / "d.npz", x_train=X[:160], y_train=Y[:160], x_test=X[160:], y_test=Y[160:])
    dataset = load_dataset(path, overrides={"calibration_samples": 12})
    assert {part.name: len(part) for part in dataset.parts} == {
        "train": 132,
        "validation": 16,
        "calibration": 12,
        "test": 40,
    }
    assert np.array_equal(dataset.part("test").inputs[0], X[160:])
    assert dataset.warnings == ()


def test_a_held_out_test_part_is_warned_about(tmp_path):
    dataset = load_dataset(saved(tmp_path / "d.npz", x=X, y=Y))
    assert len(dataset.part("test")) == 40
    assert any("held out" in warning for warning in dataset.warnings)


def test_a_test_part_alone_is_enough_to_evaluate(tmp_path):
    dataset = load_dataset(saved(tmp_path / "d.npz", x_test=X, y_test=Y))
    assert len(dataset.part("test")) == 200
    with pytest.raises(DataError, match=r"no calibration part, only test \(200\)"):
        dataset.part("calibration")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_a_handful_of_samples_does_not_crash(tmp_path, count):
    dataset = load_dataset(saved(tmp_path / "d.npz", x=X[:count], y=np.arange(count)))
    assert sum(map(len, dataset.parts)) == count
    assert dataset.train is not None
    missing = 4 - len(dataset.parts)
    assert sum("too few samples" in warning for warning in dataset.warnings) == missing


def test_test_samples_seen_elsewhere_are_counted(tmp_path):
    arrays = {"x_train": X[:100], "x_calibration": X[100:150], "x_test": np.concatenate([X[:3], X[148:160]])}
    dataset = load_dataset(saved(tmp_path / "d.npz", **arrays), overrides={"validation_fraction": 0})
    assert [warning[: warning.index(":")] for warning in dataset.warnings] == [
        "2 of 15 test samples are also in the calibration part",
        "3 of 15 test samples are also in the train part",
    ]


def test_fingerprint_is_of_content_and_settings_not_of_place(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    base = load_dataset(saved(tmp_path / "d.npz", x=X, y=Y)).fingerprint
    assert load_dataset(saved(tmp_path / "elsewhere" / "e.npz", np.savez_compressed, x=X, y=Y)).fingerprint == base
    touched = X.copy()
    touched[17, 3] += 1e-3
    changed = [
        load_dataset(saved(tmp_path / "f.npz", x=touched, y=Y)),
        load_dataset(saved(tmp_path / "g.npz", x=X, y=(Y + 1) % 4)),
        load_dataset(tmp_path / "d.npz", overrides={"seed": 1}),
        load_dataset(tmp_path / "d.npz", overrides={"preprocessing.scale": [2]}),
    ]
    assert len({base, *(dataset.fingerprint for dataset in changed)}) == 5


def test_batches_put_together_are_the_whole():
    part = Part("test", (X, Y), None, Preprocessing(mean=(1,), scale=(2,)), ("float32", "int64"))
    batches = list(part.batches(64))
    assert [len(batch[0]) for batch in batches] == [64, 64, 64, 8]
    for index, whole in enumerate(part.array()):
        assert np.array_equal(np.concatenate([batch[index] for batch in batches]), whole)
    assert batches[0][1].dtype == np.int64
    assert np.array_equal(part.array()[0], (X - 1) * 2)
    with pytest.raises(ValueError, match="at least 1"):
        next(part.batches(0))


def test_take_is_stratified_and_always_the_same():
    part = Part("test", (X,), (np.sort(Y),))
    few = part.take(20)
    assert np.bincount(few.labels[0]).tolist() == [5, 5, 5, 5]
    assert np.array_equal(few.inputs[0], part.take(20).inputs[0])
    assert part.take(500) is part


def test_samples_beyond_memory_are_refused(tmp_path, monkeypatch):
    path = saved(tmp_path / "d.npz", x=X)
    monkeypatch.setattr(os, "sysconf", lambda name: 4)
    with pytest.raises(DataError, match=r"would take .* of memory"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("missing.npz", None, "no such file"),
        ("x" * 300, None, "no such file"),
        ("empty.npz", b"", "empty file"),
        ("text.npz", b"hello there", "does not begin as an archive"),
        ("model.h5", b"\x89HDF\r\n", "not a supported format"),
        ("array.npy", b"\x93NUMPY", "not a supported format"),
        ("binary.csv", b"\xff\xfe\x00\x01,", "not a text file"),
    ],
)
def test_files_that_are_no_data_are_told_what_is(tmp_path, name, content, problem):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path / name)
    assert problem in caught.value.problem
    assert caught.value.mend


def test_a_format_that_is_asked_for_must_be_found(tmp_path):
    with pytest.raises(DataError, match="is npz, not csv"):
        load_dataset(saved(tmp_path / "d.npz", x=X), overrides={"format": "csv"})


@pytest.mark.parametrize(
    ("name", "counts", "classes"),
    [
        ("fashion_mnist", [53800, 6000, 200, 10000], 0),
        ("japanese_vowels_eq", [176, 27, 67, 370], 9),
        ("shuttle", [35150, 3928, 200, 9819], 0),
        ("basic_motions", [26, 4, 10, 40], 4),
    ],
)
def test_real_data_loads(shared_data, name, counts, classes):
    dataset = load_dataset(shared_data / "sets" / f"{name}.npz")
    assert [len(part) for part in dataset.parts] == counts
    assert len(dataset.class_names) == classes
    assert dataset.metric == "accuracy"
    every = np.unique(dataset.part("test").labels[0])
    assert np.array_equal(np.unique(dataset.part("calibration").labels[0]), every)


@pytest.mark.parametrize("call", [optimize, evaluate_model, compress_model], ids=lambda call: call.__name__)
def test_data_that_are_not_there_are_told_before_a_model_is_loaded(call, tmp_path):
    told = {optimize: {"out": tmp_path / "out"}, compress_model: {"recipe": "channels50"}}.get(call, {})
    with pytest.raises(DataError, match=r"gone\.npz: no such file or folder"):
        call("no-such-model.keras", data=tmp_path / "gone.npz", **told)


@pytest.mark.parametrize("given", [(X, Y), {"x": X, "y": Y}, lambda: (X, Y)])
def test_data_in_memory_are_what_they_would_be_in_a_file(tmp_path, given):
    path = saved(tmp_path / "d.npz", x=X, y=Y)
    found = load_dataset(given, overrides={"seed": 3})
    assert found.fingerprint == load_dataset(path, overrides={"seed": 3}).fingerprint
    assert found.fingerprint != load_dataset((X + 1, Y), overrides={"seed": 3}).fingerprint
    inputs, outputs = [TensorSpec("x", (None, 5), "float32")], [TensorSpec("y", (None, 4), "float32")]
    refuse_missing(given)
    tests = [load_for(inputs, outputs, each).part("test") for each in (given, path)]
    assert np.array_equal(tests[0].labels[0], tests[1].labels[0])


def test_data_in_memory_that_are_none_are_told_what_is():
    with pytest.raises(DataError, match="the data given: a tuple of 3 is no data") as caught:
        load_dataset((X, Y, X))
    assert caught.value.mend.startswith("give (x, y)")
    with pytest.raises(DataError, match="memory is python, not npz"):
        refuse_missing((X, Y), {"format": "npz"})
    with pytest.raises(DataError, match="would run Python code"):
        load_dataset(lambda: (X, Y), allow_code=False)


def test_a_dataset_is_not_changed_by_options(tmp_path):
    inputs, outputs = [TensorSpec("x", (None, 5), "float32")], [TensorSpec("y", (None, 4), "float32")]
    dataset = load_dataset((X, Y), overrides={"seed": 3})
    for options in (None, {"seed": 3, "metric": None}):
        refuse_missing(dataset, options)
        assert load_for(inputs, outputs, dataset, options).fingerprint == dataset.fingerprint
    for refused in (refuse_missing, lambda *given: load_for(inputs, outputs, *given)):
        with pytest.raises(DataError, match="read with another metric, seed than is given here"):
            refused(dataset, {"metric": "auc", "seed": 4, "task": "auto"})
        with pytest.raises(DataError, match="did you mean 'metric'"):
            refused(dataset, {"metrik": "auc"})
        with pytest.raises(DataError, match="another task than"):
            refused(dataset, {"task": "autoencoder"})
    refuse_missing(load_dataset(X), {"task": "autoencoder"})
