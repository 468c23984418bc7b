"""The page of a search: a pace in one unit, and a next command that the metric allows."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace
from run_examples import data_record

from edgekit.artifact import ModelRecord
from edgekit.gate import Gate
from edgekit.metrics import Score
from edgekit.report.search_page import effects, search_page
from edgekit.report.words import number
from edgekit.search.budget import Budget
from edgekit.search.found import Found, Kept
from edgekit.search.point import Cost, Loss, Point, Timing
from edgekit.search.trial import Tried


def found(metric: str = "accuracy", value: float = 0.97) -> Found:
    """Two accepted recipes with one decision: of the second no latency is known."""
    score = Score(metric, value, value, value, 100, "Wilson")
    costs = {"int8": Cost(1000, 500, 10, None, Timing(0.002, 0.002, 0.002, "local", "1")), "float32": Cost(4, 4, 10**8)}
    points = [Point(name, name, cost, Loss(0.0, 0.0, 0.0, 100), (score,)) for name, cost in costs.items()]
    return Found(
        model=ModelRecord("digits", "digits.keras", "keras", "1" * 64, ()),
        data=data_record(),
        target="raspberry-pi-4",
        metric=metric,
        budget=Budget(Gate(0.01)),
        floor=0.01,
        prefer="latency",
        reference=(score,),
        latency="measured",
        front=tuple(Kept(point, point.recipe, True) for point in points),
        best="int8",
        tried=tuple(
            Tried(number, point.recipe, {"fold": True}, 1.0, cost=point.cost, point=point)
            for number, point in enumerate(points)
        ),
        retried=0,
        left_out={},
    )


def test_multiply_accumulates_are_never_shown_as_seconds() -> None:
    assert [one.pace for one in effects(found())] == [0.002]
    assert "100000000" not in search_page(found())
    unknown = replace(found(), latency="unknown")
    assert [one.pace for one in effects(unknown)] == [(10 + 10**8) / 2]
    assert "100 M</td>" in search_page(unknown)


@pytest.mark.parametrize(("metric", "value", "drop"), [("top5", 0.9, "5%"), ("mae", 0.0004, "0.00002")])
def test_the_wider_floor_that_is_suggested_goes_with_the_metric(metric: str, value: float, drop: str) -> None:
    nothing = replace(found(metric, value), front=(), best=None)
    (said,) = re.findall(r"--max-drop</span> <span>([^<]+)<", search_page(nothing))
    assert said == drop
    Gate.parse(said).check(metric)


def test_of_several_outputs_the_score_beside_a_loss_is_that_of_the_same_output() -> None:
    plain = found()
    scores = tuple(
        Score(f"accuracy:{name}", value, value, value, 100, "Wilson") for name, value in [("kind", 0.95), ("hue", 0.71)]
    )
    points = [replace(kept.point, scores=scores, loss=Loss(0.02, 0.01, 0.03, 100, 1)) for kept in plain.front]
    tried = tuple(replace(one, point=point) for one, point in zip(plain.tried, points, strict=True))
    front = tuple(replace(kept, point=point) for kept, point in zip(plain.front, points, strict=True))
    page = search_page(replace(plain, reference=(scores[0], replace(scores[1], value=0.73)), front=front, tried=tried))
    assert f"Accuracy (hue) {number('accuracy', 0.71)} on the validation part" in page
    assert "<small>hue</small>" in page
    assert "by the output that loses most" in page


def test_the_title_of_a_metric_keeps_its_capitals() -> None:
    assert '<th class="number">Mean IoU</th>' in search_page(found("mean_iou"))
