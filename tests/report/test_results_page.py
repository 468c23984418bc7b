"""The page of measurements: complete, safe, honest about what it thins, and at home in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import dumped, probed
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from run_examples import measured

from edgekit.bench.result import Look, Measurement, ModelFile, Results
from edgekit.report import labels, memory
from edgekit.report.axes import Axis
from edgekit.report.course import Strip, course, envelope
from edgekit.report.memory import Held
from edgekit.report.results_page import names, page

HOSTILE = '"><script>alert(1)</script>'
SERIES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=400)


@pytest.fixture(scope="module")
def one() -> Measurement:
    return measured(b"file", count=700)


def svgs(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


@given(SERIES, st.integers(1, 50))
def test_an_envelope_leaves_no_run_out(values: list[float], columns: int) -> None:
    found = envelope(values, columns)
    assert len(found.low) <= columns
    assert len(found.edges) == len(found.low) + 1
    assert (found.low.min(), found.high.max()) == (min(values), max(values))
    assert (found.low <= found.middle).all()
    assert (found.middle <= found.high).all()
    assert found.edges[-1] == pytest.approx(sum(values))
    assert (np.diff(found.edges) > 0).all()


@given(SERIES)
def test_a_short_series_is_not_thinned(values: list[float]) -> None:
    found = envelope(values, 400)
    assert found.runs == 1
    assert found.middle.tolist() == values


@given(SERIES)
def test_a_course_is_well_formed_and_within_its_frame(values: list[float]) -> None:
    drawing = ElementTree.fromstring(course(values, [("p50", values[0])]))
    width, height = map(float, drawing.attrib["viewBox"].split()[2:])
    for mark in drawing.iter("line"):
        assert -1 <= float(mark.attrib["x1"]) <= float(mark.attrib["x2"]) <= width + 1
        assert -1 <= float(mark.attrib["y1"]) <= height + 1


def test_the_slowest_run_stands_out_however_long_the_series() -> None:
    values = np.full(30_000, 1e-3)
    values[12_345] = 4e-3
    assert (envelope(values).high == 4e-3).sum() == 1
    assert 'class="band"' in course(values, [])


def test_a_strip_shows_its_ends_with_their_unit() -> None:
    strip = Strip(Axis("temperature", ((1.0, "C"),)), [(0.0, 45.0), (0.3, 61.5)])
    text = str(course([0.1, 0.1, 0.1], [], [strip]))
    assert "temperature, C" in text
    assert ">61.5<" in text
    assert ">45<" in text


def test_bars_add_up() -> None:
    mebi = 2**20
    drawing = ElementTree.fromstring(memory.bars([Held("m", 40 * mebi, 8 * mebi, 4 * mebi, 60 * mebi)]))
    bars = {rect.attrib["class"]: rect for rect in drawing.iter("rect")}
    widths = {kind: float(rect.attrib["width"]) for kind, rect in bars.items()}
    assert widths["baseline"] == pytest.approx(10 * widths["file"], rel=0.02)
    assert widths["anonymous"] == pytest.approx(2 * widths["file"], rel=0.02)
    end = float(bars["file"].attrib["x"]) + widths["file"]
    (peak,) = (line for line in drawing.iter("line") if line.attrib["class"] == "peak")
    assert float(peak.attrib["x1"]) > end


def test_the_page_names_every_measurement_and_its_warnings(one: Measurement) -> None:
    few = replace(one, steady_ns=one.steady_ns[:5], device="ssh://pi")
    text = page(Results((one, few)))
    assert "Latency on local" in text
    assert "Latency on ssh://pi" in text
    assert "model on ssh://pi" in text
    assert "only 5 runs" in text
    assert len(svgs(text)) == 6
    assert "each column is 3 neighbours" in text


def test_temperature_is_drawn_where_it_was_read(one: Measurement) -> None:
    assert "temperature" not in page(Results((one,)))
    warm = replace(
        one, before=replace(one.before, temperature_celsius=40.0), after=replace(one.after, temperature_celsius=70.0)
    )
    assert "temperature, °C" in page(Results((warm,)))


def test_looks_during_the_run_stand_where_they_were_taken(one: Measurement) -> None:
    """Half of the runs were done at the look: its dot is there, whatever the clock said beside the runs."""
    even = replace(one, steady_ns=(1_000_000,) * 100)
    looks = (Look(9.9, 50, 55.0, None), Look(19.9, 100, 65.0, None))
    drawing = svgs(page(Results((replace(even, timeline=looks),))))[-1]
    dots = [float(dot.attrib["cx"]) for dot in drawing.iter("circle")]
    grid = [line for line in drawing.iter("line") if line.attrib.get("class") == "grid"]
    left = min(float(line.attrib["x1"]) for line in grid)
    right = max(float(line.attrib["x2"]) for line in grid)
    assert dots == [pytest.approx((left + right) / 2, abs=0.2), pytest.approx(right, abs=0.2)]


def test_memory_that_is_not_known_is_not_drawn(one: Measurement) -> None:
    blank = replace(one.memory, first=replace(one.memory.first, anonymous_bytes=None))
    text = page(Results((replace(one, memory=blank),)))
    assert "Memory after" not in text


def test_nothing_of_a_model_or_device_becomes_markup(one: Measurement) -> None:
    evil = replace(one, model=replace(one.model, name=HOSTILE), device=HOSTILE)
    text = page(Results((evil, one)))
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "default-src 'none'" in text


def test_names_tell_measurements_apart(one: Measurement) -> None:
    a, b = (replace(one, model=replace(one.model, name=f"{folder}/m.tflite")) for folder in "ab")
    assert names([a, a]) == ["m #1", "m #2"]
    assert names([a, b]) == ["a/m", "b/m"]
    assert names([a, replace(a, device="pi")]) == ["m", "m"]
    days = [replace(a, started=f"2026-11-{day}T10:{minute}:07+00:00") for day in (20, 21) for minute in (30, 45)]
    assert names(days) == ["m 2026-11-20 #1", "m 2026-11-20 #2", "m 2026-11-21 #1", "m 2026-11-21 #2"]
    assert names([*days[:2], days[0]]) == ["m 10:30 #1", "m 10:45", "m 10:30 #2"]


@given(st.integers(0, 60))
def test_a_name_leaves_room_for_the_words_beside_it(letters: int) -> None:
    room = labels.beside("x" * letters, 388)
    assert 8 <= room <= 26
    assert room == 8 or room * labels.LETTER + 6.4 * letters <= 388


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_the_window_and_no_two_texts_of_a_chart_overlap(width: int, one: Measurement, tmp_path: Path) -> None:
    files = [ModelFile(f"a_network_with_a_long_name_{kind}.tflite", "0" * 64, 90_000) for kind in ("int8", "float32")]
    warm = replace(one.after, temperature_celsius=71.5, frequency_hz=1_500_000_000)
    cool = replace(one.before, temperature_celsius=40.0, frequency_hz=600_000_000)
    spiked = (*one.steady_ns, 900_000)
    fleet = [
        replace(one, model=file, device=device, before=cool, after=warm, steady_ns=spiked)
        for file in files
        for device in ("ssh://somebody@raspberrypi.local", "ssh://somebody@zero2w.local")
    ]
    assert probed(page(Results(tuple(fleet))), tmp_path, width) == (0, 0)


def test_a_browser_shows_it_without_a_complaint(one: Measurement, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page(Results((one,))), encoding="utf-8")
    document, console = dumped(tmp_path / "page.html", tmp_path / "profile")
    assert console == ""
    assert document.count('<svg class="chart') == 3
