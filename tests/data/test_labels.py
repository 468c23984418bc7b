"""What labels of every kind become, and which are refused."""

import numpy as np
import pytest

from edgekit.dataset import load_dataset
from edgekit.errors import DataError

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
NUMBERS = np.arange(60) % 3
WORDS = np.array(["cat", "ape", "dog"])[NUMBERS]


def loaded(tmp_path, y, x=X, **overrides):
    """All samples in one part, so that their order is that of the file."""
    np.savez(tmp_path / "d.npz", x_test=x, y_test=y)
    return load_dataset(tmp_path / "d.npz", overrides=overrides)


@pytest.mark.parametrize(
    "y",
    [
        NUMBERS,
        NUMBERS.astype(np.uint8),
        NUMBERS.astype(np.float32),
        NUMBERS[:, None],
        np.eye(3)[NUMBERS],
        np.eye(3, dtype=bool)[NUMBERS],
    ],
)
def test_class_numbers_in_any_dress_are_the_same(tmp_path, y):
    dataset = loaded(tmp_path, y)
    assert dataset.task == "classification"
    assert dataset.metric == "accuracy"
    assert np.array_equal(dataset.part("test").labels[0], NUMBERS)
    assert dataset.part("test").labels[0].dtype == np.int64


STEPS = np.random.default_rng(1).integers(0, 3, (60, 5))
PIXELS = np.random.default_rng(1).integers(0, 3, (60, 4, 4))


@pytest.mark.parametrize("kind", [np.float32, np.uint8, bool])
@pytest.mark.parametrize(("numbers", "task"), [(STEPS, "classification"), (PIXELS, "segmentation")])
def test_one_hot_rows_of_steps_and_of_pixels_are_class_numbers(tmp_path, numbers, task, kind):
    """Whole numbers `[samples, steps, classes]` may as well be masks with one pixel a line, and are, unless asked."""
    for asked in (task,) if numbers is STEPS and kind is not np.float32 else ("auto", task):
        dataset = loaded(tmp_path, np.eye(3, dtype=kind)[numbers], task=asked)
        assert dataset.task == task
        assert np.array_equal(dataset.part("test").labels[0], numbers)


def test_words_become_sorted_class_names(tmp_path):
    dataset = loaded(tmp_path, WORDS)
    assert dataset.class_names == ("ape", "cat", "dog")
    assert [dataset.class_names[number] for number in dataset.part("test").labels[0]] == WORDS.tolist()


def test_classes_of_the_specification_decide_the_order(tmp_path):
    dataset = loaded(tmp_path, WORDS, classes=["dog", "cat", "ape", "eel"])
    assert dataset.part("test").labels[0][0] == 1
    with pytest.raises(DataError, match="'dog' is not among the classes\n  mend: did you mean 'doge'"):
        loaded(tmp_path, WORDS, classes=["doge", "cat", "ape"][::-1])


def test_words_that_are_numbers_sort_as_numbers(tmp_path):
    dataset = loaded(tmp_path, np.array(["10", "9", "2"])[NUMBERS])
    assert dataset.class_names == ("2", "9", "10")


@pytest.mark.parametrize(
    ("y", "task", "metric"),
    [
        (X[:, 0], "regression", "mae"),
        (X, "regression", "mae"),
        (np.float32(NUMBERS * 2), "regression", "mae"),
        (np.zeros((60, 4, 4), np.uint8), "segmentation", "mean_iou"),
        (np.zeros((60, 4, 4, 1), np.uint8), "segmentation", "mean_iou"),
        (PIXELS % 2, "segmentation", "mean_iou"),
        (np.float32(PIXELS % 2)[..., None], "segmentation", "mean_iou"),
        (np.float32(PIXELS % 2)[..., None] / 2, "regression", "mae"),
        (np.float32(PIXELS)[..., None], "regression", "mae"),
        (X[:, :, None] * np.ones(2), "regression", "mae"),
    ],
)
def test_the_task_is_read_from_the_labels(tmp_path, y, task, metric):
    dataset = loaded(tmp_path, y)
    assert (dataset.task, dataset.metric) == (task, metric)


def test_integers_are_quantities_if_one_says_so(tmp_path):
    part = loaded(tmp_path, NUMBERS * 100, task="regression").part("test")
    assert part.labels[0].dtype == np.float32
    assert part.labels[0].max() == 200


def test_data_without_labels_has_no_metric(tmp_path):
    np.savez(tmp_path / "d.npz", x_test=X)
    dataset = load_dataset(tmp_path / "d.npz")
    assert (dataset.task, dataset.metric, dataset.part("test").labels) == ("none", None, None)
    assert dataset.judged(dataset.part("test"), (X,)) is None


@pytest.mark.parametrize(
    ("y", "overrides", "problem"),
    [
        (NUMBERS - 1, {}, "go from -1 to 1"),
        (NUMBERS, {"classes": ["a", "b"]}, "2 class names"),
        (X[:, 0], {"task": "classification"}, "no whole numbers"),
        (np.where(NUMBERS == 1, np.nan, X[:, 0]), {}, "20 are NaN or infinite, the first at [1]"),
        (WORDS, {"task": "regression"}, "type <U3"),
    ],
)
def test_labels_that_mean_nothing_are_refused(tmp_path, y, overrides, problem):
    with pytest.raises(DataError) as caught:
        loaded(tmp_path, y, **overrides)
    assert problem in str(caught.value)


def test_outputs_of_different_kinds_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", **{"x": X, "y.kind": NUMBERS, "y.size": X[:, 0]})
    with pytest.raises(DataError, match="different kinds"):
        load_dataset(tmp_path / "d.npz")


def test_each_output_has_its_own_class_names(tmp_path):
    np.savez(tmp_path / "d.npz", **{"x_test": X, "y_test.sex": np.array(["m", "f"])[NUMBERS % 2], "y_test.kind": WORDS})
    first, second = load_dataset(tmp_path / "d.npz").part("test").labels
    assert np.array_equal(first, 1 - NUMBERS % 2)
    assert second.max() == 2
    np.savez(tmp_path / "d.npz", **{"x_test": X, "y_test.kind": WORDS, "y_test.digit": np.arange(60) % 10})
    dataset = load_dataset(tmp_path / "d.npz")
    assert dataset.part("test").labels[1].max() == 9
    assert dataset.class_names == ()


def test_text_of_several_columns_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"y of test are text of shape \(60, 2\)"):
        loaded(tmp_path, np.stack([WORDS, WORDS], axis=1))


def test_labels_that_are_text_in_one_part_only_are_refused(tmp_path):
    np.savez(
        tmp_path / "d.npz", x_train=X, y_train=np.array(["1", "2", "x"])[NUMBERS], x_test=X, y_test=NUMBERS % 2 + 1
    )
    with pytest.raises(DataError, match="text in some parts and numbers in others"):
        load_dataset(tmp_path / "d.npz")
