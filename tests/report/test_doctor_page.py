"""The doctor's page: every operator is drawn, causes have flags, nothing overlaps, no name gets out."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from browser import probed
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.doctor.diagnosis import Diagnosis
from edgekit.doctor.layer_error import LayerError
from edgekit.doctor.repair import Repair, Rung
from edgekit.finding import Finding
from edgekit.report.doctor_page import page
from edgekit.report.network import network

HOSTILE = '"><script>alert(1)</script>'
ratios = st.one_of(st.none(), st.floats(-100, 200))
shares = st.floats(0, 1)
errors = st.builds(
    LayerError,
    st.integers(0, 400),
    st.sampled_from(["CONV_2D", "ADD"]),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40),
    *[ratios] * 4,
    *[shares] * 4,
)


def layers(count: int, bad: int = 3) -> tuple[LayerError, ...]:
    """Some operators, of which a few add much noise, the worst first."""
    random = np.random.default_rng(count)
    sick = set(random.choice(count, min(bad, count), replace=False).tolist())
    made, run = [], 50.0
    for index in range(count):
        alone = float(random.uniform(5, 20) if index in sick else random.uniform(35, 50))
        run = min(run, alone + 3)
        name = f"net_1/block_{index}_project_1/Relu6;net_1/bn/add"
        values = (round(run, 1), round(alone, 1), round(alone - 4, 1), 40.0, 0.9, *map(float, random.uniform(size=3)))
        made.append(LayerError(index, "CONV_2D", name, *values))
    return tuple(sorted(made, key=lambda one: one.channel_db or 99))


def cause(subject: str, code: str = "scale-disparity") -> Finding:
    return Finding("warn", code, subject, "CONV_2D: one channel is larger", "equalize", "arXiv:1906.04721")


def diagnosis(found: tuple[LayerError, ...], findings: tuple[Finding, ...] = ()) -> Diagnosis:
    return Diagnosis("validation", 120, "accuracy", 0.98, 0.6, findings, found, True)


@settings(max_examples=60, deadline=None)
@given(st.lists(errors, min_size=1, max_size=40))
def test_every_operator_is_a_column_inside_of_the_drawing(found: list[LayerError]) -> None:
    svg = ElementTree.fromstring(network(found, [cause(found[0].tensor.split(";")[0])]))
    _, _, width, height = map(float, svg.get("viewBox", "").split())
    columns = [rect for rect in svg.iter("rect") if rect.get("class") == "hover"]
    assert len(columns) == len(found)
    assert all(rect.find("title") is not None for rect in columns)
    for rect in svg.iter("rect"):
        left, top, wide, high = (float(rect.get(key, "nan")) for key in ("x", "y", "width", "height"))
        assert 0 <= left <= left + wide <= width
        assert 0 <= top <= top + high <= height
    diamonds = [path.get("d", "") for group in svg.iter("g") if group.get("class") == "alone" for path in group]
    heights = [float(number) for d in diamonds for number in re.findall(r"^M\S+ (\S+)l", d)]
    assert all(0 <= y <= height for y in heights)


def test_a_cause_has_a_flag_with_its_letter_and_one_about_the_data_has_none() -> None:
    found = layers(10)
    text = network(found, [cause("labels", "labels"), cause(found[0].tensor.split(";")[0])])
    svg = ElementTree.fromstring(text)
    flags = [group for group in svg.iter("g") if group.get("class") == "flag"]
    assert [flag.findtext("text") for flag in flags] == ["B"]
    words = page("x", diagnosis(found, (cause("labels", "labels"), cause(found[0].tensor.split(";")[0]))))
    assert re.findall(r'class="flag-key">(\w)<', words) == ["A", "B"]


@pytest.mark.parametrize("count", [1, 10, 300])
@pytest.mark.parametrize("width", [1280, 420])
def test_in_a_browser_nothing_overlaps_and_the_page_is_not_too_wide(count: int, width: int, tmp_path: Path) -> None:
    found = layers(count)
    findings = tuple(cause(one.tensor.split(";")[0]) for one in found[:3])
    assert probed(page("model.tflite", diagnosis(found, findings)), tmp_path, width) == (0, 0)


def test_names_out_of_a_file_stay_text() -> None:
    found = (LayerError(0, HOSTILE, HOSTILE, 20.0, 20.0, 10.0, 30.0, 0.9, 0.1, 0.2, 0.3),)
    rung = Rung(HOSTILE, 0.5, 1000, 1.0, True, HOSTILE, 0.00042)
    repair = Repair("accuracy", "validation", 120, 0.9, 0.89, (rung,))
    words = page(HOSTILE, diagnosis(found, (cause(HOSTILE, HOSTILE),)), repair)
    assert "<script" not in words
    assert words.count("&lt;script&gt;") >= 8
    assert "floor missed" in words
    assert re.search("420\\sµs", words)
    assert re.search("- in float, 420\\sµs as given, 420\\sµs at last", words)


def test_a_sound_file_and_one_that_does_not_run_have_a_page() -> None:
    sound = Diagnosis("test", 30, None, None, None, (), layers(4, 0), False)
    assert "Nothing to mend" in page("x", sound)
    dead = Diagnosis("test", 30, "accuracy", 0.9, None, (cause("a", "unsound-scale"),), (), True)
    words = page("x", dead)
    assert "Accuracy in int8</dt><dd>does not run</dd>" in words
    assert "AUC in int8</dt>" in page("x", msgspec.structs.replace(dead, metric="auc"))
    assert "<svg" not in words
