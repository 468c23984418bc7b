"""A file beside float: words and drawing say the same, nothing is drawn outside, what is unknown is left out."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from run_examples import int8_file, judged, manifest, measured, run_of

from edgekit.artifact import StageRecord
from edgekit.bench.statistics import summarize
from edgekit.metrics import Difference, Score
from edgekit.report import words
from edgekit.report.comparison import Compared, amounts, comparison, scores

FILE = ("smaller", "larger", "as large")
LINE = StageRecord("convert", "", 4096, 4096, 10, 10)
amount = st.floats(1e-9, 1e12)
change = st.floats(-1, 1)


def parts(drawn: Compared) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(str(drawn.drawing)))


def percent(part: ElementTree.Element, name: str) -> float:
    return float((part.get(name) or "").removesuffix("%"))


def places(drawn: Compared) -> list[float]:
    """Every horizontal coordinate and width of a drawing, in percent."""
    names = ("x1", "x2", "cx", "width")
    return [percent(part, name) for part in parts(drawn) for name in names if part.get(name)]


@given(amount, amount)
def test_a_bar_is_longer_than_its_tick_where_the_file_has_more(before: float, after: float) -> None:
    found = amounts("File", before, after, words.size, FILE)
    assert all(0 <= place <= 100 for place in places(found))
    assert found.worse == (after > before and found.change != "as large")
    by_class = {part.get("class"): part for part in parts(found)}
    longer = percent(by_class["fill"], "width") - percent(by_class["float"], "x1")
    assert abs(longer) < 5 or (longer > 0) == (after > before)


@given(change, st.floats(0, 1), st.floats(0, 1), st.one_of(st.none(), change), st.booleans())
def test_a_change_is_drawn_inside_whatever_it_is(
    value: float, below: float, above: float, bound: float | None, endless: bool
) -> None:
    low = -math.inf if endless else value - below
    score = Score("accuracy", 0.9, 0.8, 0.95, 100, "Wilson")
    found = scores(score, score, Difference(value, low, value + above, "paired", 100), bound, worse=False)
    assert all(0 <= place <= 100 for place in places(found))
    assert sum(part.get("class") == "gate" for part in parts(found)) == (bound is not None)
    assert found.change == words.change("accuracy", value)


def test_a_drawing_says_in_words_what_it_shows() -> None:
    svg = ElementTree.fromstring(str(amounts("File", 4096, 1024, words.size, FILE).drawing))
    said = "File: 4.00 KiB in float, 1.00 KiB in the file, 4.0× smaller".replace(" KiB", "\u00a0KiB")
    assert (svg.get("role"), svg.get("aria-label"), svg.findtext("title")) == ("img", said, said)


@pytest.mark.parametrize(
    ("metric", "value", "worse"),
    [("accuracy", -0.05, True), ("accuracy", 0.05, False), ("accuracy", -0.001, False), ("mae", 0.05, True)],
)
def test_a_loss_is_worse_where_its_interval_leaves_no_doubt(metric: str, value: float, worse: bool) -> None:
    one = manifest("host", "int8", int8_file(), judged(0.9, value, metric))
    run = run_of([one])
    reference = replace(run.reference, scores=(Score(metric, 0.95, 0.9, 1.0, 500, "Wilson"),))
    found = comparison(replace(run, metric=metric, reference=reference), one, LINE, None, None, "")
    assert [row.worse for row in found] == [worse, False]
    assert found[-1].title == "File"


def test_each_output_has_the_direction_and_the_unit_of_its_own_metric() -> None:
    both = judged(0.9, 0.05)
    names = ("accuracy:kind", "mae:age")
    found = replace(both, scores=tuple(replace(both.scores[0], name=name) for name in names))
    one = manifest("host", "int8", int8_file(), replace(found, differences=both.differences * 2))
    run = run_of([one])
    run = replace(run, metric=None, max_drop=None, head_drops={"kind": 0.01, "age": 0.2})
    run = replace(run, reference=replace(run.reference, scores=found.scores))
    assert [row.worse for row in comparison(run, one, LINE, None, None, "")][:2] == [False, True]
    said = words.accepted_losses(run).replace(words.NO_BREAK, " ")
    assert said == "kind: at most 1.00 pp worse, age: at most 0.2 worse"


def test_a_bound_by_name_is_that_of_the_only_judged_output() -> None:
    run = replace(run_of([manifest("host", "int8", int8_file(), judged(0.9, 0.05))]), head_drops={"kind": 0.02})
    for max_drop in (None, 0.5):
        said = words.accepted_losses(replace(run, max_drop=max_drop)).replace(words.NO_BREAK, " ")
        assert said == "at most 2.00 pp worse than float"
    assert words.least_accepted(run) == pytest.approx(run.reference.scores[0].value - 0.02)


@pytest.mark.parametrize(
    ("score", "output"),
    [("accuracy", ""), ("accuracy:kind", "kind"), ("mae:a:0", "a:0"), ("m:f", ""), ("m:f:a:0", "a:0")],
)
def test_the_output_of_a_score_is_what_stands_behind_its_metric(score: str, output: str) -> None:
    assert words.output_of(score) == output


def test_latency_is_there_where_both_were_measured_and_memory_where_it_grew() -> None:
    one = manifest("host", "int8", int8_file(), None)
    slow, fast = (summarize(measured(int8_file(), middle)) for middle in (40_000, 10_000))
    found = {row.title: row for row in comparison(run_of([one]), one, LINE, slow, fast, "on this host")}
    assert set(found) == {"File", "Latency p50"}
    assert found["Latency p50"].change == "4.0× faster"
    assert found["Latency p50"].note == "on this host"
    assert {row.title for row in comparison(run_of([one]), one, LINE, None, fast, "")} == {"File"}
    grown = [
        replace(found, model_anonymous_bytes=size, model_file_bytes=0) for found, size in ((slow, 4096), (fast, 1024))
    ]
    memory = comparison(run_of([one]), one, LINE, *grown, "")[-1]
    assert (memory.title, memory.change) == ("Memory", "4.0× less")
