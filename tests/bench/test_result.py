"""Results in files: the same value comes back, and nothing else is read."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import tiny_models

from edgekit.bench.plan import Plan, plan_for
from edgekit.bench.result import Results
from edgekit.bench.run import measure
from edgekit.errors import InputError, OutputError
from edgekit.new_file import write_new


@pytest.fixture(scope="module")
def results() -> Results:
    return Results((measure(tiny_models.negative(), plan_for(runs=5), name="a"),))


def test_results_come_back_as_they_were(results: Results) -> None:
    assert Results.from_json(results.to_json()) == results


def test_a_measurement_is_shown_in_a_line(results: Results) -> None:
    shown = repr(results.measurements[0])
    assert shown.startswith("Measurement(a on local: ")
    assert shown.endswith("s, the median of 5 runs)")


def test_raw_samples_and_the_whole_setting_are_kept(results: Results) -> None:
    kept = json.loads(results.to_json())["measurements"][0]
    assert len(kept["steady_ns"]) == 5
    assert kept["format_version"] == 1
    assert kept["plan"]["threads"] == 1
    assert kept["plan"]["warm_up"]["tolerance"] == 0.02


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format_version",), "2"),
        (("more",), 1),
        (("measurements", 0, "more"), 1),
        (("measurements", 0, "steady_ns"), []),
        (("measurements", 0, "steady_ns"), [-1]),
        (("measurements", 0, "format_version"), 0),
        (("measurements", 0, "model", "sha256"), "x"),
        (("measurements", 0, "plan", "min_runs"), 10**9),
    ],
)
def test_what_does_not_fit_is_refused(results: Results, path: tuple[str | int, ...], value: object) -> None:
    data = json.loads(results.to_json())
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(InputError, match="not a results file"):
        Results.from_json(json.dumps(data).encode())


@pytest.mark.parametrize(
    ("changes", "writer"),
    [
        ({"format_version": 2, "shape": "new"}, "edgekit {here} (format 2)"),
        ({"format_version": 2, "measurements": []}, "edgekit of another release (format 2)"),
        ({"measurements": [{"edgekit": "{here}", "format_version": 2}]}, "edgekit {here} (format 2)"),
        ({"measurements": [{"edgekit": "99.10.0", "more": 1}, {"edgekit": "99.9"}]}, "edgekit 99.10.0 (format 1)"),
    ],
)
def test_results_of_a_newer_edgekit_are_refused_naming_both(
    results: Results, changes: dict[str, object], writer: str
) -> None:
    here = metadata.version("edgekit")
    text = json.dumps(json.loads(results.to_json()) | changes).replace("{here}", here)
    with pytest.raises(InputError) as error:
        Results.from_json(text.encode(), "r.json")
    assert error.value.problem == f"r.json: written by {writer.format(here=here)}, this is {here} (format 1)"
    assert error.value.mend == "upgrade edgekit here"


def test_truncated_results_are_refused(results: Results) -> None:
    with pytest.raises(InputError, match=r"r\.json: not a results file"):
        Results.from_json(results.to_json()[:-20], "r.json")


def test_a_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_new(path, b"1")
    with pytest.raises(OutputError, match="exists"):
        write_new(path, b"2")
    assert path.read_bytes() == b"1"
    write_new(path, b"3", overwrite=True)
    assert path.read_bytes() == b"3"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none"):
        write_new(tmp_path / "none" / "r.json", b"1")


def test_a_plan_is_for_runs_or_for_seconds() -> None:
    assert plan_for(runs=7).fixed_runs
    assert (plan_for(seconds=2.0).min_seconds, plan_for(seconds=2.0).max_seconds) == (2.0, 2.0)
    assert plan_for() == Plan()
    with pytest.raises(ValueError, match="not both"):
        plan_for(runs=1, seconds=1.0)
    with pytest.raises(ValueError, match="least"):
        Plan(min_runs=5, max_runs=4)
