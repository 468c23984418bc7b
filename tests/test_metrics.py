"""Metrics against scikit-learn, and what users rely on when two models are compared."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as referee

from edgekit import metrics
from edgekit.errors import DataError
from edgekit.metrics import agreement, paired_difference, paired_differences, score, scores

RNG = np.random.default_rng(0)
N = 400
Y = RNG.integers(0, 5, N)
LOGITS = RNG.normal(size=(N, 5)) + 1.5 * np.eye(5)[Y]
WORSE = LOGITS + RNG.normal(size=LOGITS.shape)
REAL = RNG.normal(size=(N, 3))
GUESS = REAL + 0.3 * RNG.normal(size=REAL.shape)
MASK = RNG.integers(0, 3, (20, 8, 8))
PIXELS = RNG.normal(size=(20, 8, 8, 3)) + 1.0 * np.eye(3)[MASK]


def softmax(x):
    exponent = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponent / exponent.sum(axis=-1, keepdims=True)


EXPECTED = {
    "accuracy": (Y, LOGITS, lambda y, out: referee.accuracy_score(y, out.argmax(1))),
    "top2": (Y, LOGITS, lambda y, out: referee.top_k_accuracy_score(y, out, k=2)),
    "auc": (Y, softmax(LOGITS), lambda y, out: referee.roc_auc_score(y, out, multi_class="ovr")),
    "mae": (REAL, GUESS, referee.mean_absolute_error),
    "mse": (REAL, GUESS, referee.mean_squared_error),
    "rmse": (REAL, GUESS, lambda y, out: referee.mean_squared_error(y, out) ** 0.5),
    "mean_iou": (
        MASK,
        PIXELS,
        lambda y, out: referee.jaccard_score(y.ravel(), out.argmax(-1).ravel(), average="macro"),
    ),
}


def test_every_named_metric_has_a_referee():
    assert {name.replace("top<k>", "top2") for name in metrics.metric_names()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_value_is_that_of_scikit_learn_and_lies_in_its_interval(name):
    y, out, expected = EXPECTED[name]
    found = score(name, (y,), (out,))
    assert found.value == pytest.approx(expected(y, out), rel=1e-9)
    assert found.low <= found.value <= found.high
    assert found.low < found.high
    assert found.samples == len(y)
    assert found == score(name, (y,), (out,))


@pytest.mark.parametrize("name", EXPECTED)
def test_difference_is_b_minus_a_and_turns_around(name):
    y, a, _ = EXPECTED[name]
    b = a + 0.5 * np.random.default_rng(1).normal(size=a.shape)
    forth, back = paired_difference(name, (y,), (a,), (b,)), paired_difference(name, (y,), (b,), (a,))
    assert forth.value == pytest.approx(score(name, (y,), (b,)).value - score(name, (y,), (a,)).value, abs=1e-12)
    assert forth.low <= forth.value <= forth.high
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=1e-6)


def test_pairing_makes_the_interval_narrower_than_two_separate_ones():
    b = LOGITS + 0.05 * RNG.normal(size=LOGITS.shape)
    apart = score("accuracy", (Y,), (LOGITS,))
    together = paired_difference("accuracy", (Y,), (LOGITS,), (b,))
    assert together.high - together.low < 0.5 * (apart.high - apart.low)


def test_two_models_that_never_disagree_are_not_proven_equal():
    found = paired_difference("accuracy", (Y,), (LOGITS,), (LOGITS * 2,))
    assert found.value == 0
    assert found.low < 0 < found.high


@pytest.mark.parametrize("name", ["accuracy", "auc", "rmse", "mae"])
def test_paired_interval_covers_the_true_difference(name):
    """The true value is measured once on a large sample drawn the same way."""
    rng = np.random.default_rng(8)

    def drawn(count):
        y = rng.integers(0, 2, count)
        a = rng.normal(size=(count, 1)) + 1.5 * (2 * y[:, None] - 1)
        return (y if name in ("accuracy", "auc") else y[:, None]), a, a + 0.7 * rng.normal(size=a.shape) + 0.2

    y, a, b = drawn(200_000)
    truth = score(name, (y,), (b,)).value - score(name, (y,), (a,)).value if name in ("accuracy", "mae") else None
    if truth is None:
        plain = {"auc": referee.roc_auc_score, "rmse": lambda t, o: referee.mean_squared_error(t, o) ** 0.5}[name]
        truth = plain(y, b) - plain(y, a)
    trials = [paired_difference(name, (y,), (a,), (b,)) for y, a, b in (drawn(120) for _ in range(200))]
    assert 0.90 <= np.mean([trial.low <= truth <= trial.high for trial in trials]) <= 0.99


@given(st.integers(1, 4), st.integers(0, 2**16))
def test_top_k_grows_with_k_and_begins_at_accuracy(k, seed):
    rng = np.random.default_rng(seed)
    y, out = rng.integers(0, 6, 30), rng.integers(0, 3, (30, 6)).astype(np.float32)
    assert score("top1", (y,), (out,)).value == score("accuracy", (y,), (out,)).value
    assert score(f"top{k}", (y,), (out,)).value <= score(f"top{k + 1}", (y,), (out,)).value


@given(st.integers(0, 2**16))
def test_area_counts_ties_as_scikit_learn_does(seed):
    rng = np.random.default_rng(seed)
    y, out = np.arange(30) % 2, rng.integers(0, 4, (30, 1)).astype(np.float32)
    assert score("auc", (y,), (out,)).value == pytest.approx(referee.roc_auc_score(y, out[:, 0]))


def test_logits_and_probabilities_are_judged_alike():
    y, logits = RNG.integers(0, 2, 100), 3 * RNG.normal(size=(100, 1))
    probabilities = 1 / (1 + np.exp(-logits))
    assert score("accuracy", (y,), (logits,)) == score("accuracy", (y,), (probabilities,))
    assert score("accuracy", (Y,), (LOGITS,)) == score("accuracy", (Y,), (softmax(LOGITS),))


def test_labels_may_be_one_hot_and_outputs_may_have_empty_axes():
    plain = score("accuracy", (Y,), (LOGITS,))
    assert score("accuracy", (np.eye(5)[Y],), (LOGITS,)) == plain
    assert score("accuracy", (Y,), (LOGITS[:, None, None, :],)) == plain
    yes, single = Y[:, None] > 2, LOGITS[:, :1]
    assert score("accuracy", (yes,), (single,)) == score("accuracy", (yes[:, 0],), (single,))


def test_a_class_that_the_test_part_lacks_does_not_spoil_the_mean():
    two = np.isin(Y, (0, 1))
    expected = np.mean([referee.roc_auc_score(Y[two] == k, LOGITS[two, k]) for k in (0, 1)])
    assert score("auc", (Y[two],), (LOGITS[two],)).value == pytest.approx(expected)


def test_several_outputs_are_scored_each_under_its_name():
    found = scores("accuracy", (Y, Y), (LOGITS, WORSE), names=("near", "far"))
    assert [one.name for one in found] == ["accuracy:near", "accuracy:far"]
    assert found[0].value > found[1].value
    assert [one.value for one in paired_differences("accuracy", (Y, Y), (LOGITS, LOGITS), (LOGITS, WORSE))] == [
        0,
        pytest.approx(found[1].value - found[0].value),
    ]
    with pytest.raises(DataError, match="2 outputs"):
        score("accuracy", (Y, Y), (LOGITS, WORSE))


def test_a_python_function_is_a_metric(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def bias(y_true, y_pred):\n    return (y_pred - y_true).mean()\nbias.higher_is_better = False\n"
        "def broken(y_true, y_pred):\n    raise KeyError('x')\n"
    )
    reference = f"{tmp_path / 'mine.py'}:bias"
    found = score(reference, (REAL,), (REAL + 0.25,))
    assert found.value == pytest.approx(0.25)
    assert found.low == pytest.approx(0.25) == found.high
    assert not metrics.higher_is_better(reference)
    with pytest.raises(DataError, match="KeyError"):
        score(f"{tmp_path / 'mine.py'}:broken", (REAL,), (REAL,))


@pytest.mark.parametrize(
    ("y", "out"),
    [(REAL[:, 0], REAL[:, :1] + 0.5), (REAL, REAL[..., None] + 0.5), (REAL[:, :1], REAL[:, :1] + 0.5)],
    ids=["one value", "one value each step", "labels with the axis"],
)
@pytest.mark.parametrize("body", ["((out - y) ** 2).mean()", "np.square(np.ravel(out) - np.ravel(y)).mean()"])
def test_a_function_gets_outputs_of_one_value_in_the_shape_of_the_labels(tmp_path, body, y, out):
    (tmp_path / "mine.py").write_text(f"import numpy as np\ndef square(y, out):\n    return {body}\n")
    assert score(f"{tmp_path / 'mine.py'}:square", (y,), (out,)).value == pytest.approx(0.25)


def test_a_function_that_takes_the_axis_off_itself_is_told_of_it(tmp_path):
    (tmp_path / "mine.py").write_text("def right(y, out):\n    return ((out[:, 0] > 0) == (y > 0)).mean()\n")
    with pytest.raises(DataError, match="raised IndexError") as caught:
        score(f"{tmp_path / 'mine.py'}:right", (REAL[:, 0],), (REAL[:, :1],))
    assert "in the shape of the labels" in caught.value.mend


def test_a_function_that_some_draws_give_nothing_to_has_an_interval_of_the_others(tmp_path):
    body = "hits = out[y == 1] > 0\n    return int(hits.sum()) / len(hits)"
    (tmp_path / "mine.py").write_text(f"def recall(y, out):\n    {body}\n")
    y, out = np.arange(60) % 20 == 0, np.linspace(-1, 1, 60)
    found = score(f"{tmp_path / 'mine.py'}:recall", (y,), (out,))
    assert found.value == pytest.approx(1 / 3)
    assert found.low < found.value < found.high
    with pytest.raises(DataError, match="raised ZeroDivisionError"):
        score(f"{tmp_path / 'mine.py'}:recall", (y * 0,), (out,))


def test_which_metrics_should_grow():
    grow = {name for name in EXPECTED if metrics.higher_is_better(name)}
    assert grow == {"accuracy", "top2", "auc", "mean_iou"}
    assert {metrics.default_metric(t) for t in ("classification", "regression", "segmentation", "autoencoder")} == {
        "accuracy",
        "mae",
        "mean_iou",
        "mse",
    }


@pytest.mark.parametrize(
    ("name", "y", "out", "problem"),
    [
        ("acuracy", Y, LOGITS, "did you mean 'accuracy'"),
        ("accuracy", Y + 1, LOGITS, "go from 1 to 5, the output has 5"),
        ("accuracy", Y[:-1], LOGITS, "399 labels for 400"),
        ("accuracy", Y, np.where(LOGITS > 2, np.nan, LOGITS), "NaN"),
        ("top5", Y, LOGITS, "always right"),
        ("auc", np.zeros(N, int), LOGITS[:, :1], "samples of more than one class"),
        ("mae", REAL[:, :2], GUESS, "do not fit"),
        ("mean_iou", MASK[:, :4], PIXELS, "do not fit"),
        ("auc", MASK, PIXELS, "auc needs one class a sample, these are masks"),
        ("top1", MASK, PIXELS, "top1 needs one class a sample, these are masks"),
    ],
)
def test_what_cannot_be_scored_is_named(name, y, out, problem):
    with pytest.raises(DataError) as caught:
        score(name, (y,), (out,))
    assert problem in str(caught.value)


def test_every_spelling_of_top_k_is_a_share():
    for name in ("top5", "top-5", "top_5"):
        assert metrics.is_share(name)
        assert metrics.top_k(name) == 5
    assert not metrics.is_share("top0")


def test_agreement_of_a_model_with_itself_is_whole():
    found = agreement((LOGITS,), (LOGITS,), "classification")
    assert (found.rate, found.max_abs_difference, found.mean_abs_difference, found.sqnr_db) == (1, 0, 0, None)
    assert msgspec.json.decode(msgspec.json.encode(found), type=metrics.Agreement) == found


def test_agreement_counts_decisions_or_near_values():
    found = agreement((LOGITS,), (WORSE,), "classification")
    assert found.rate == np.mean(LOGITS.argmax(1) == WORSE.argmax(1))
    assert found.max_abs_difference == np.abs(LOGITS - WORSE).max()
    noise = ((LOGITS - WORSE) ** 2).sum()
    assert found.sqnr_db == pytest.approx(10 * np.log10((LOGITS**2).sum() / noise))
    step = np.ptp(REAL)
    shifted = REAL + np.where(np.arange(N) % 4 == 0, 0.02, 0.005)[:, None] * step
    assert agreement((REAL,), (shifted,), "regression").rate == 0.75


def test_agreement_of_masks_counts_pixels():
    other = PIXELS.copy()
    other[0, 0, 0] = np.roll(other[0, 0, 0], 1)
    assert agreement((PIXELS,), (other,), "segmentation").rate == 1 - 1 / MASK.size
