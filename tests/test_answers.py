"""Answers beside a float model: counts by hand, laws of the calibration error, and rules that hold against chance."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.answer_findings import CLASS_BOUND, answer_findings, class_name
from edgekit.answers import Answers, _errors, answers, confidences

Array = np.ndarray[Any, Any]


def one_hot(classes: Array, count: int, sure: float = 4.0) -> Array:
    """Logits of these answers."""
    return np.eye(count, dtype=np.float32)[classes] * sure


def codes(found: Answers) -> list[str]:
    return [one.code for one in answer_findings(found)]


def pair(seed: int, samples: int = 1000, classes: int = 10, noise: float = 0.15) -> tuple[Array, Array, Array]:
    """Labels, and logits of a model and of one that differs from it by chance only."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    before = rng.normal(size=(samples, classes)) + one_hot(labels, classes, 3.0)
    return labels, before, before + noise * rng.normal(size=before.shape)


def test_counts_are_those_made_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    before = np.array([0, 0, 1, 1, 2, 2, 0, 0])
    after = np.array([0, 1, 1, 1, 2, 0, 2, 1])  # two broken, one mended, one wrong in another way
    found = answers(labels, one_hot(before, 3), one_hot(after, 3))
    assert (found.churn, found.broken, found.mended, found.difference) == (4 / 8, 2 / 8, 1 / 8, -1 / 8)
    assert found.excess == 3 / 8  # one of the four changes explains the loss of one
    assert [(one.label, one.samples) for one in found.worst] == [(0, 2), (1, 2), (2, 4)]
    assert [one.after - one.before for one in found.worst] == [-0.5, 0, 0]
    assert all(one.low <= one.after - one.before <= one.high for one in found.worst)


def test_a_model_beside_itself_has_nothing_to_tell() -> None:
    labels, before, _ = pair(0)
    found = answers(labels, before, before)
    assert (found.churn, found.excess, found.difference) == (0, 0, 0)
    assert found.confidence.before == found.confidence.after
    assert not codes(found)


def test_the_interval_of_a_class_widens_with_the_number_of_classes() -> None:
    labels = np.repeat(np.arange(20), 50)
    few = answers(labels[:100], one_hot(labels[:100], 20), one_hot(labels[:100], 20)).worst[0]
    many = answers(labels, one_hot(labels, 20), one_hot(labels, 20)).worst[0]
    assert many.low < few.low < 0 < few.high < many.high
    assert len(answers(labels, one_hot(labels, 20), one_hot(labels, 20)).worst) == 10


def test_calibration_error_of_two_bins_by_hand() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.55, 0.55])
    right = np.array([True, True, True, False, True, True])
    assert _errors(right, confidence).mean() == pytest.approx((4 * (0.9 - 0.75) + 2 * (1 - 0.55)) / 6)


def test_confident_and_right_is_calibrated() -> None:
    assert _errors(np.array([True] * 9), np.ones(9)).mean() == 0


def test_a_confidence_on_the_edge_belongs_to_the_bin_below() -> None:
    """Guo et al. take bins that are open below and closed above; 0 is in the first."""
    right = np.array([True, False])
    assert _errors(right, np.array([1 / 15, 1 / 15])).mean() == pytest.approx(0.5 - 1 / 15)
    apart = _errors(right, np.array([1 / 15, 1 / 15 + 1e-6])).mean()
    assert apart == pytest.approx((1 - 1 / 15 + 1 / 15) / 2, abs=1e-6)
    assert _errors(np.array([False]), np.zeros(1)).mean() == 0


def test_logits_and_their_probabilities_are_as_confident() -> None:
    _, logits, _ = pair(1)
    table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(confidences(logits, logits), confidences(table, table))
    single = logits[:, :1]
    chance = 1 / (1 + np.exp(-single))
    np.testing.assert_allclose(confidences(single, single), confidences(chance, chance))
    assert confidences(single, single).min() >= 0.5


def test_a_class_that_collapsed_is_named_though_the_average_hides_it() -> None:
    labels, before, after = pair(2)
    rows = np.flatnonzero(labels == 7)[:40]
    after[rows] = one_hot(np.full(40, 3), 10, 9.0)
    found = list(answer_findings(answers(labels, before, after), [f"kind {n}" for n in range(10)]))
    assert [(one.code, one.subject) for one in found] == [("class-collapse", "class kind 7")]
    assert answers(labels, before, after).difference > -0.05


def test_a_loss_that_all_classes_share_hides_in_none() -> None:
    labels, before, after = pair(3, samples=3000)
    rows = np.random.default_rng(0).random(3000) < 0.3
    after[rows] = one_hot((labels[rows] + 1) % 10, 10, 9.0)
    assert "class-collapse" not in codes(answers(labels, before, after))


def test_a_class_of_a_few_samples_does_not_collapse_by_chance() -> None:
    labels, before, after = pair(4)
    few = np.flatnonzero(labels == 5)
    labels = np.delete(labels, few[6:])
    before, after = np.delete(before, few[6:], 0), np.delete(after, few[6:], 0)
    rows = np.flatnonzero(labels == 5)[:1]
    after[rows] = one_hot(np.array([2]), 10, 9.0)
    assert "class-collapse" not in codes(answers(labels, before, after))


def test_the_bound_of_a_class_is_beyond_the_average() -> None:
    labels, before, after = pair(5)
    found = answers(labels, before, after)
    worst = msgspec.structs.replace(found.worst[0], low=-0.3, high=-CLASS_BOUND - 0.001)
    planted = msgspec.structs.replace(found, worst=(worst,), difference=0.0)
    assert codes(planted) == ["class-collapse"]
    assert not codes(msgspec.structs.replace(planted, difference=-0.01))
    assert not codes(msgspec.structs.replace(planted, worst=(msgspec.structs.replace(worst, high=-CLASS_BOUND),)))


def test_churn_that_the_accuracy_does_not_show_is_told() -> None:
    labels, before, after = pair(6)
    right, wrong = (np.flatnonzero((before.argmax(1) == labels) == truth)[:80] for truth in (True, False))
    after = before.copy()
    after[right], after[wrong] = one_hot((labels[right] + 1) % 10, 10, 9.0), one_hot(labels[wrong], 10, 9.0)
    found = answers(labels, before, after)
    assert abs(found.difference) < 0.01
    assert "churn" in codes(found)


def test_churn_that_is_a_mere_loss_is_not() -> None:
    labels, before, _ = pair(7)
    right = np.flatnonzero(before.argmax(1) == labels)[:160]
    after = before.copy()
    after[right] = one_hot((labels[right] + 1) % 10, 10, 9.0)
    found = answers(labels, before, after)
    assert found.churn == 0.16
    assert "churn" not in codes(found)


def test_confidence_that_got_worse_is_told_and_that_got_better_is_not() -> None:
    labels, before, _ = pair(8)
    assert codes(answers(labels, before * 3, before * 12)) == ["confidence"]
    assert not codes(answers(labels, before * 12, before * 3))


@pytest.mark.parametrize(("samples", "classes", "noise"), [(200, 2, 0.15), (400, 10, 0.15), (1000, 10, 0.15)])
def test_healthy_files_raise_no_alarm(samples: int, classes: int, noise: float) -> None:
    """None in 60 seeds, with noise of a seventh of the logits own: about 4 % of the answers change."""
    alarms = [codes(answers(*pair(seed, samples, classes, noise))) for seed in range(60)]
    assert not [one for one in alarms if one]


def test_a_class_without_a_name_is_its_number() -> None:
    assert (class_name(1, ("cat", "dog")), class_name(2, ("cat", "dog"))) == ("dog", "2")
