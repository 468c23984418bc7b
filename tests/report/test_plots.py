from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from run_examples import float_file, int8_file
from tiny_models import ADD, DEQUANTIZE, Graph

from edgekit.report import labels, plots
from edgekit.report.axes import BYTES, SECONDS, Axis, Scale, linear_ticks, log_ticks
from edgekit.report.layers import layers, short_name
from edgekit.report.plots import Point, Rule, Samples
from edgekit.tflite.inspect import inspect_model

sizes = st.floats(1e-9, 1e9)


@given(st.floats(-1e6, 1e6), sizes)
def test_linear_ticks_are_round_even_and_within(low: float, width: float) -> None:
    high = low + max(width, 1e-6 * abs(low))
    ticks = linear_ticks(low, high)
    steps = [b - a for a, b in pairwise(ticks)]
    assert 2 <= len(ticks) <= 9
    assert all(low - 1e-6 * (high - low) <= tick <= high + 1e-6 * (high - low) for tick in ticks)
    assert max(steps) - min(steps) <= 1e-6 * max(steps)
    lead = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-6)
    assert min(abs(lead - nice) for nice in (1, 2, 5, 10)) < 1e-3


@given(sizes, st.floats(6, 1e6))
@example(1.1, 9000.0)
def test_log_ticks_rise_within_their_range(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 10
    assert all(low * 0.999 <= tick <= low * ratio * 1.001 for tick in ticks)


@given(sizes, st.floats(1.1, 1e6), st.booleans(), st.floats(0, 1))
def test_a_scale_keeps_its_ends_and_its_order(low: float, ratio: float, log: bool, share: float) -> None:
    scale = Scale(low, low * ratio, 10, 90, log)
    between = low + share * (low * ratio - low)
    assert scale(low) == pytest.approx(10)
    assert scale(low * ratio) == pytest.approx(90)
    assert 10 - 1e-6 <= scale(between) <= 90 + 1e-6


@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300), st.text(max_size=40)), max_size=25))
def test_placed_names_never_touch(spots: list[tuple[float, float, str]]) -> None:
    frame, taken = (0.0, 0.0, 400.0, 300.0), []
    for x, y, text in spots:
        labels.place(text, (x, y), frame, taken)
    for index, a in enumerate(taken):
        assert frame[0] <= a[0] <= a[2] <= frame[2]
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in taken[index + 1 :])


@given(st.text(), st.integers(2, 60))
def test_a_clipped_text_is_short_and_keeps_its_ends(text: str, letters: int) -> None:
    short = labels.clip(text, letters)
    assert len(short) <= letters
    assert short == text or (short[0] == text[0] or short[0] == "…")


def drawn(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
values = st.floats(1e-7, 1e7)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names, values, st.floats(0, 1), st.floats(0, 0.3)), min_size=1, max_size=12))
def test_a_scatter_is_sound_svg_with_every_point_inside(found: list[tuple[str, float, float, float]]) -> None:
    points = [Point(name, x, y, (x * 0.9, x * 1.1), (y - w, y + w)) for name, x, y, w in found]
    svg = drawn(plots.scatter(points, Axis("size", BYTES), Axis("score"), [Rule(0.5, "gate")]))
    dots = [circle for circle in svg.iter("circle") if circle.get("class") == "dot"]
    assert len(dots) == len(points)
    assert all(0 <= float(dot.get("cx", "nan")) <= plots.WIDTH for dot in dots)
    assert all(0 <= float(dot.get("cy", "nan")) <= plots.HEIGHT for dot in dots)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(values, min_size=1, max_size=50), min_size=1, max_size=5))
def test_a_distribution_stays_within_its_drawing(rows: list[list[float]]) -> None:
    svg = drawn(plots.distributions([Samples("<row>", row, "words") for row in rows], Axis("latency", SECONDS)))
    medians = [line for line in svg.iter("line") if line.get("class") == "median"]
    assert len(medians) == len(rows)
    across = [float(number) for path in svg.iter("path") for number in re.findall(r"[MH]([-\d.]+)", path.get("d", ""))]
    assert 0 <= min(across) <= max(across) <= plots.WIDTH


def test_weights_that_are_unpacked_first_belong_to_their_reader() -> None:
    graph = Graph()
    x, half, full, y = (graph.tensor(name, (1, 8)) for name in ("x", "half", "full", "net/a/add;z"))
    packed = graph.constant("packed", np.ones((1, 8), np.float32))
    graph.operator(DEQUANTIZE, [packed], [full])
    graph.operator(ADD, [x, full], [y])
    found = layers(inspect_model(graph.bytes([x], [y])))
    assert [(layer.operator, layer.name, layer.weight_bytes) for layer in found.shown] == [("ADD", "a/add", 32)]
    assert half not in (x, y)


def test_layers_are_compared_only_where_both_files_have_the_same_ones() -> None:
    own, other = inspect_model(float_file(weights=4)), inspect_model(float_file(weights=8))
    assert layers(own, other).compared
    assert 'class="ghost"' in layers(own, other).shown[0].bar
    assert not layers(own, inspect_model(int8_file())).compared


def test_the_telling_end_of_a_name() -> None:
    assert short_name("net/conv2d_1/Relu;net/bn/add") == "conv2d_1/Relu"
    assert len(short_name("x" * 500)) == 36
