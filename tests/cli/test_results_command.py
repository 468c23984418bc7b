"""`edgekit results`: the tables again, files joined, a page, a schema that is the one in the documentation."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import msgspec
import pytest
import tiny_models
from click.testing import CliRunner, Result
from msgspec.structs import replace

from edgekit.bench.result import Measurement, Results
from edgekit.cli import benchmark, compare
from edgekit.cli.results import command
from edgekit.errors import EdgekitError, GateError, InputError, OutputError

DOCS = Path(__file__).parent.parent.parent / "docs"


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(word) for word in arguments])
    if isinstance(result.exception, EdgekitError):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A results file, and the table that was printed when it was written."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "m.tflite").write_bytes(tiny_models.negative((1, 100), 3))
    file = folder / "r.json"
    words = [str(folder / "m.tflite"), "--runs", "40", "--processes", "2", "-o", str(file)]
    return file, CliRunner().invoke(benchmark.command, words, catch_exceptions=False).stdout


@pytest.fixture
def file(printed: tuple[Path, str]) -> Path:
    return printed[0]


def test_show_prints_what_benchmark_printed(printed: tuple[Path, str]) -> None:
    assert run("show", printed[0]).stdout == printed[1]


def test_several_files_are_shown_together_and_the_same_one_once(printed: tuple[Path, str], tmp_path: Path) -> None:
    assert run("show", printed[0], printed[0]).stdout == printed[1]
    results = Results.from_json(printed[0].read_bytes())
    other = tmp_path / "pi.json"
    other.write_bytes(Results((replace(results.measurements[0], device="ssh://pi"),)).to_json())
    shown = run("show", printed[0], other).stdout
    assert shown.count("m.tflite") == 3
    assert "ssh://pi" in shown


def shown(folder: Path, *measurements: Measurement) -> list[str]:
    """The lines of `results show` for such a file."""
    (folder / "all.json").write_bytes(Results(measurements).to_json())
    return run("show", folder / "all.json").stdout.splitlines()


def test_rows_of_one_model_are_told_apart_by_setting_or_day(file: Path, tmp_path: Path) -> None:
    one = Results.from_json(file.read_bytes()).measurements[0]
    fast = replace(one, plan=replace(one.plan, threads=4, with_io=True))
    lines = shown(tmp_path, one, fast)
    assert lines[0].split()[:2] == ["setting", "model"]
    assert {line[:3] for line in lines[2:4]} == {"[1]", "[2]"}
    settings = [line[4:] for line in lines[-2:]]
    assert {setting.partition(": ")[0] for setting in settings} == {"local"}
    assert any(setting.endswith("1 thread, XNNPACK, random inputs (seed 0)") for setting in settings)
    assert any("4 threads, XNNPACK, random" in one and one.endswith("inputs and outputs timed") for one in settings)
    lines = shown(tmp_path, one, replace(fast, model=replace(one.model, name="other.tflite")))
    assert lines[0].split()[:2] == ["setting", "model"], "another model is not why it is faster"
    lines = shown(tmp_path, one, replace(one, started="2020-01-02T03:04:05+00:00"))
    assert lines[0].split()[:2] == ["started", "model"]
    assert any(line.startswith("2020-01-02 ") for line in lines)
    assert shown(tmp_path, one)[0].startswith("model ")


def stored(path: Path, *measurements: Measurement) -> Path:
    path.write_bytes(Results(measurements).to_json())
    return path


def test_what_disturbed_a_measurement_is_told_again(file: Path, tmp_path: Path) -> None:
    one = Results.from_json(file.read_bytes()).measurements[0]
    night = stored(tmp_path / "night.json", replace(one, before=replace(one.before, throttled=1)))
    assert "warning: m.tflite: the board reports under-voltage" in run("show", night).stderr


def test_a_stored_file_is_held_against_another(file: Path, tmp_path: Path) -> None:
    """Half of the fleet is not in the baseline, which was disturbed: that is told, and takes no verdict away."""
    one = Results.from_json(file.read_bytes()).measurements[0]
    slow = replace(one, steady_ns=tuple(2 * sample for sample in one.steady_ns))
    base = replace(one, device="pi1", before=replace(one.before, throttled=1))
    today = stored(tmp_path / "today.json", replace(slow, device="pi1"), replace(slow, device="pi2"))
    words = ("show", today, "--baseline", stored(tmp_path / "old.json", base), "--fail-if")
    found = CliRunner().invoke(command, [*map(str, words), "p50>+50%"])
    assert isinstance(found.exception, GateError)
    assert "EXCEEDED" in found.stdout
    assert "error: " in found.stderr
    assert "the baseline has nothing of pi2, only of pi1" in found.stderr
    assert found.stderr.count("warning: baseline of m.tflite on pi1: the board reports under-voltage") == 1
    for form in ((), ("--json",), ("--csv",), ("--markdown",)):
        kept = run(*words, "p50>+500%", *form)
        assert kept.exit_code == 3
        assert "the baseline has nothing of pi2" in kept.stderr
    assert "| kept" in run(*words, "p50>+500%", "--markdown").stdout
    table = run(*words, "p50>+500%", "--csv")
    assert "kept" in table.stderr
    assert len(list(csv.DictReader(io.StringIO(table.stdout)))) == 2
    (unjudged,) = json.loads(run(*words, "p50>+500%", "--json").stdout)["unjudged"]
    assert "the baseline has nothing of pi2, only of pi1" in unjudged["problem"]
    assert unjudged["mend"]
    forced = run(*words, "p50>+500%", "--force")
    assert forced.exit_code == 0
    assert "warning: m.tflite on pi2 is held against what was measured on pi1" in forced.stderr


def test_results_are_no_models_to_compare(file: Path) -> None:
    faults = [CliRunner().invoke(compare.command, [str(file), other]).exception for other in (str(file), "m.tflite")]
    assert all(isinstance(fault, InputError) for fault in faults)
    assert f"`edgekit results show {file} --baseline {file} --fail-if 'p50>+5%'`" in faults[0].mend
    assert "`edgekit benchmark MODEL --baseline RESULTS" in faults[1].mend


def test_json_has_the_day(file: Path) -> None:
    rows = json.loads(run("show", file, "--json").stdout)["rows"]
    assert {row["started"] for row in rows} == {
        one.started for one in Results.from_json(file.read_bytes()).measurements
    }


def test_csv_has_every_statistic_in_base_units(file: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("show", file, "--csv").stdout)))
    shown = json.loads(run("show", file, "--json").stdout)["rows"]
    assert len(rows) == len(shown) == 2
    for row, one in zip(rows, shown, strict=True):
        for name, value in one["summary"].items():
            if isinstance(value, dict):
                stem, _, unit = name.rpartition("_")
                ends = [float(row[f"{stem}_{end}_{unit}"]) for end in ("low", "high")]
                assert ends == [value["low"], value["high"]]
                value = value["value"]
            assert value is None or float(row[name]) == value
        assert row["device"] == "local"


def test_markdown_has_a_row_for_each_measurement(file: Path) -> None:
    lines = [line for line in run("show", file, "--markdown").stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "---:" in lines[1]


def test_merge_writes_a_file_that_every_command_reads(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.json"
    run("merge", file, file, "-o", out)
    assert Results.from_json(out.read_bytes()) == Results.from_json(file.read_bytes())
    with pytest.raises(OutputError, match="exists"):
        run("merge", file, "-o", out)
    run("merge", file, "-o", out, "--overwrite")
    run("merge", file, "-o", out, "--overwrite")


def test_plot_writes_a_page_and_nothing_else(file: Path, tmp_path: Path) -> None:
    result = run("plot", file, "-o", tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [tmp_path / "r.html"]
    assert result.stdout == ""
    with pytest.raises(OutputError, match=r"write .*r\.html"):
        run("plot", file, "-o", tmp_path / "r.pdf")


def test_what_cannot_be_shown_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        run("show", tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match=r"bad\.json: not a results file"):
        run("merge", file, tmp_path / "bad.json", "-o", tmp_path / "out.json")
    (tmp_path / "empty.json").write_bytes(Results(()).to_json())
    with pytest.raises(InputError, match="no samples to draw"):
        run("plot", tmp_path / "empty.json", "-o", tmp_path / "r.html")
    assert "not both" in run("show", file, "--csv", "--json").stderr


def test_the_schema_in_the_documentation_is_the_one_that_is_printed() -> None:
    """After a change of the format: `edgekit results schema > docs/results.schema.json`."""
    assert (DOCS / "results.schema.json").read_text() == run("schema").stdout


def test_the_schema_names_every_field_of_a_file(file: Path) -> None:
    known = msgspec.json.decode(run("schema").stdout)["$defs"]
    written = json.loads(file.read_bytes())["measurements"][0]
    assert set(written) == set(known["Measurement"]["properties"])
    assert set(written["memory"]["first"]) == set(known["Memory"]["properties"])
    assert known["Measurement"]["additionalProperties"] is False
