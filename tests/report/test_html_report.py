from __future__ import annotations

import html
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from browser import dumped, probed
from run_examples import data_record, float_file, int8_file, judged, manifest, measured, run_of

from edgekit.answers import answers
from edgekit.artifact import Manifest, sha256
from edgekit.cli.optimize import command
from edgekit.dataset import Preprocessing
from edgekit.estimate import Estimate, Forecast
from edgekit.finding import Finding
from edgekit.gate import Gate
from edgekit.report.commands import reproduce
from edgekit.report.estimates import forecasts
from edgekit.report.html import render_report
from edgekit.report.snippet import snippet
from edgekit.robustness import hidden_losses
from edgekit.run import Run
from edgekit.target import load_target
from edgekit.verify import Verification

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
replace = msgspec.structs.replace


class Page(HTMLParser):
    """Elements with their attributes, and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)


@pytest.fixture(scope="module")
def run() -> Run:
    pair = [
        manifest(target, "int8", int8_file(), judged(0.968, -0.002)) for target in ("raspberry-pi-4", "android-arm64")
    ]
    lossy = manifest("coral-usb", "int8:per-tensor", int8_file(0.25), judged(0.92, -0.05))
    whole = manifest("raspberry-pi-4", "float32", float_file(), judged(0.97, 0.0))
    gate = f"{lossy.name} loses 0.05 accuracy, more than 0.01"
    return run_of([*pair, lossy, whole], gates=(gate,))


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {sha256(file): file for file in (float_file(), int8_file(), int8_file(0.25))}


@pytest.fixture(scope="module")
def report(run: Run, files: dict[str, bytes]) -> str:
    return render_report(run, files)


def test_each_target_has_a_headline_with_size_loss_interval_and_where_it_was_measured(report: str) -> None:
    words = Page(report).words
    assert (
        "shows no measurable change of accuracy: −0.20 pp (95 % interval −0.60 to +0.20 pp, 500 test samples)" in words
    )
    assert "loses 5.00 percentage points of accuracy (95 % interval −5.40 to −4.60 pp, 500 test samples)" in words
    assert words.count("for one inference on this host.") == 4
    assert "not the board" in words


def test_the_table_shows_a_shared_file_once_with_all_its_targets(report: str) -> None:
    table = report[report.index('class="summary"') : report.index("</table>")]
    rows = [Page(cell).words for cell in re.findall(r'<th scope="row">(.*?)</th>', table, re.S)]
    assert rows == [
        "float modelas it came, keras",
        "float32TFLite, not quantized",
        "int8raspberry-pi-4, android-arm64",
        "int8:per-tensorcoral-usb",
        "float32raspberry-pi-4",
    ]


@pytest.mark.parametrize(
    ("verification", "max_drop", "gate", "verdict"),
    [
        (judged(0.97, 0.0), 0.01, "", "accepted"),
        (judged(0.97, 0.0), None, "", "verified"),
        (judged(0.90, -0.07), 0.01, "host/int8 loses 0.07 accuracy, more than 0.01", "gate missed"),
        (replace(judged(0.97, 0.0), scores=(), differences=()), None, "", "not scored"),
        (None, None, "", "not verified"),
    ],
)
def test_verdict(verification: Verification | None, max_drop: float | None, gate: str, verdict: str) -> None:
    run = run_of([manifest("host", "int8", int8_file(), verification)], max_drop, (gate,) if gate else ())
    page = render_report(run)
    assert set(re.findall(r'class="badge \w+">([^<]+)<', page)) == {verdict}
    assert gate in page


def test_a_gate_of_one_variant_is_not_laid_on_another_whose_name_begins_alike() -> None:
    made = [manifest("host", phrase, int8_file(), judged(0.9, -0.1)) for phrase in ("int8", "int8:io=int8")]
    page = render_report(run_of(made, gates=("host/int8-io-int8 loses 0.1 accuracy, more than 0.01",)))
    assert page.count('"badge bad">gate missed') == 2  # its row in the table, its own section
    assert page.count('"badge good">accepted') == 3


GUESS = Estimate(
    *(0.0041, 0.0052, 0.0066, 0.9, "work fitted to 12 published figures of 4 kinds of network", "Raspberry Pi 4"),
    *("tflite 2.4", "https://example.org/figures", 12, (1e-10, 0.0, 0.0, 1e-4), 4),
)


@pytest.fixture(scope="module")
def forecast_report(run: Run, files: dict[str, bytes]) -> str:
    known = [manifest.name for manifest in run.artifacts if manifest.target == "raspberry-pi-4"]
    return render_report(run, files, dict.fromkeys(known, Forecast("raspberry-pi-4", (GUESS, GUESS))))


def test_an_estimate_is_called_one_and_has_its_band_its_source_and_its_colour(
    report: str, forecast_report: str, tmp_path: Path
) -> None:
    words = Page(forecast_report).words
    assert "Latency there, estimate~5.20 ms4.10 ms to 6.60 ms, not measured" in words
    assert "Latency on raspberry-pi-4: an estimate" in words
    assert "estimate~5.20 ms4.10 ms6.60 msRaspberry Pi 4, tflite 2.4, 4 threads" in words.replace("\xa0", " ")
    assert "The band holds 90 % of networks" in words
    assert "holds no estimates" not in words
    coloured = re.findall(r'<(div|table) class="estimate">(.*?)</\1>', forecast_report, re.S)
    assert sum(block.count("~5.20") for _, block in coloured) == forecast_report.count("~5.20") > 0
    assert "holds no estimates" in Page(report).words
    assert "~" not in Page(report).words
    for width in (400, 1280):
        assert probed(forecast_report, tmp_path, width) == (0, 0)


def test_figures_that_say_nothing_of_a_file_are_told_with_the_reason(run: Run, files: dict[str, bytes]) -> None:
    found = forecasts(run, files, [load_target(name) for name in ("raspberry-pi-4", "coral-usb", "host")])
    assert set(found) == {one.name for one in run.artifacts if one.target in ("raspberry-pi-4", "coral-usb")}
    assert not any(one.estimates for one in found.values())
    words = Page(render_report(run, files, found)).words
    assert "Latency on raspberry-pi-4: no estimate" in words
    assert "The file has no multiply-accumulates" in words or "the file has no multiply-accumulates" in words
    assert "holds no estimates" in words


def test_nothing_is_loaded_and_nothing_runs(report: str) -> None:
    for tag, attributes in Page(report).elements:
        assert tag not in {"script", "iframe", "img", "object", "embed", "form", "video", "audio", "base"}
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action")]
        address = attributes.get("href", "#")
        assert address.startswith(("#", "https://", "http://") if tag == "a" else ("#", "data:,"))
    style = report[report.index("<style>") : report.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in report


def test_hostile_names_are_text(files: dict[str, bytes]) -> None:
    file = float_file(HOSTILE)
    bad = manifest("host", "float32", file, judged(0.97, 0.0), name=HOSTILE)
    source = "javascript:alert(3) https://x.test/\"onclick='a'"
    finding = Finding("error", "code", HOSTILE, HOSTILE, HOSTILE, source)
    bad = replace(
        bad,
        name=HOSTILE,
        target=HOSTILE,
        recipe=replace(bad.recipe, description=HOSTILE),
        data=data_record(classes=(HOSTILE,)),
        operators={HOSTILE: {HOSTILE: 1}},
        findings=(finding,),
        versions={"edgekit": HOSTILE},
    )
    run = run_of([bad], gates=(f"{HOSTILE} cannot run on its target: {HOSTILE}",))
    page = render_report(replace(run, warnings=(HOSTILE,)), {sha256(file): file, **files})
    tags = {tag for tag, _ in Page(page).elements}
    assert not tags & {"script", "img"}
    assert not [attributes for _, attributes in Page(page).elements if set(attributes) & {"onerror", "onclick"}]
    assert HOSTILE in Page(page).text
    assert page.count(html.escape(HOSTILE, quote=False)[:5]) == 0  # a quote inside is escaped as well


def test_without_data_and_measurements_it_says_so_and_draws_nothing() -> None:
    run = replace(run_of([manifest("host", "int8", int8_file(), None)], None), measurements={})
    page = render_report(run)
    assert "not judged: no data was given" in Page(page).words
    assert "Nothing was measured." in Page(page).words
    assert '<svg class="chart' not in page


def test_what_was_not_judged_is_not_said_to_have_missed_a_gate() -> None:
    made = [manifest("host", phrase, file, None) for phrase, file in (("int8", int8_file()), ("float32", float_file()))]
    said = Page(render_report(run_of(made, None))).words
    assert "int8 is the smallest of 2 variants, and none was judged. The others: float32 (not verified)." in said
    refused = run_of(made, None, (f"{made[0].name} cannot run on its target",))
    told = "float32 is the smallest of 2 variants that was not refused, and was not judged."
    assert told in Page(render_report(refused)).words


def test_errors_are_not_percent_and_less_is_better() -> None:
    one = manifest("host", "int8", int8_file(), judged(2.5, 0.5, "mae"))
    run = run_of([one])
    scores = (replace(run.reference.scores[0], name="mae", value=2.0),)
    page = render_report(replace(run, metric="mae", max_drop=0.1, reference=replace(run.reference, scores=scores)))
    assert "loses 0.5 of MAE (95 % interval +0.496 to +0.504, 500 test samples)" in Page(page).words
    assert "Down and to the left is better." in page


def test_every_judged_output_is_shown_by_its_name() -> None:
    found = judged(0.97, 0.0)
    both = tuple(replace(found.scores[0], name=f"accuracy:{name}") for name in ("digit", "parity"))
    made = manifest("host", "int8", int8_file(), replace(found, scores=both, differences=found.differences * 2))
    run = run_of([made])
    words = Page(render_report(replace(run, reference=replace(run.reference, scores=both)))).words
    assert words.count("accuracy (parity)97.00") == 3
    assert words.count("accuracy (parity)±0.00") == 1


def test_bytes_of_the_file_are_shown_operator_by_operator(report: str) -> None:
    layers = report[report.index('class="layers"') :]
    row = Page(layers[: layers.index("</table>")]).words
    assert "0ADDadd/BiasAdd256 B" in row.replace("\u00a0", " ")


def test_a_report_of_many_variants_and_runs_stays_small() -> None:
    made = [manifest("host", f"int8:calibration={n}", int8_file(n / 100), judged(0.97, 0.0)) for n in range(1, 13)]
    slow = {m.sha256: measured(int8_file(), 20_000 + 1000 * i, 50_000) for i, m in enumerate(made)}
    assert len(render_report(replace(run_of(made), measurements=slow))) < 300_000


def test_the_commands_are_the_ones_the_tool_takes(run: Run) -> None:
    run = replace(run, model=replace(run.model, origin="my model; rm -rf $HOME.keras"))
    install, *commands = map(shlex.split, reproduce(run))
    assert install == ["pip", "install", "edgekit==0.1.0", "numpy==2.0.0"]
    taken = [command.make_context("optimize", words[2:]).params for words in commands]
    assert {(target, recipe) for one in taken for target in one["targets"] for recipe in one["recipes"]} == {
        (made.target, made.recipe.name) for made in run.artifacts
    }
    assert {one["model"] for one in taken} == {"my model; rm -rf $HOME.keras"}
    assert {Gate.parse(one["max_drop"]).max_drop for one in taken} == {0.01}


@pytest.mark.parametrize(
    ("preprocessing", "raw", "real"),
    [
        (Preprocessing(), [1.0, 2.0, -3.5, 400.0], [1.0, 2.0, -3.5, 62.0]),
        (Preprocessing(mean=(1.0,), scale=(2.0,)), [1.0, 1.5, 2.0, 0.0], [0.0, 1.0, 2.0, -2.0]),
        (Preprocessing(mean=(1.0, 2.0, 3.0, 4.0)), [1.0, 2.0, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]),
    ],
)
def test_the_snippet_runs_the_file_as_it_has_to_be_run(
    preprocessing: Preprocessing, raw: list[float], real: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert")
    made: Manifest = replace(
        manifest("host", "int8", int8_file(), judged(0.97, 0.0)), data=data_record(preprocessing, classes=("it's",))
    )
    (tmp_path / made.file).write_bytes(int8_file())
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(snippet(made), "snippet", "exec"), names)
    (output,) = names["run"](np.array(raw))  # type: ignore[operator]
    np.testing.assert_allclose(output, [real])
    assert names["classes"] == ["it's"]


@pytest.mark.parametrize(
    ("runtime", "package"), [("ai-edge-litert", "ai_edge_litert"), ("tflite-runtime", "tflite_runtime")]
)
def test_the_snippet_imports_the_runtime_that_verified_the_file(runtime: str, package: str) -> None:
    judgement = replace(judged(0.97, 0.0), runtime=f"{runtime} 2.14.0")
    said = snippet(manifest("host", "int8", int8_file(), judgement))
    assert f"from {package}.interpreter import Interpreter" in said


def test_a_browser_shows_it_without_a_complaint(report: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report, encoding="utf-8")
    document, console = dumped(page, tmp_path / "profile")
    assert console == ""
    shown = {
        level: [
            Page(heading).words.strip() for heading in re.findall(rf"<{level}[^>]*>(.*?)</{level}>", document, re.S)
        ]
        for level in ("h2", "h3")
    }
    assert shown["h3"][:3] == ["raspberry-pi-4 accepted", "android-arm64 accepted", "coral-usb gate missed"]
    assert shown["h2"] == [
        "What came in",
        "What came out the best of 4 files, for each target",
        "Before you rely on this",
        "What to do next",
        "At a glance",
        "All variants",
        "Variant by variant",
        "Where this comes from",
    ]
    assert document.count('<svg class="chart"') == 3


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_it_fits_the_window_and_no_two_texts_of_a_chart_overlap(width: int, report: str, tmp_path: Path) -> None:
    assert probed(report, tmp_path, width) == (0, 0)


def test_answers_that_changed_are_shown_by_class_with_their_names_and_what_they_hide() -> None:
    labels = np.repeat(np.arange(3), 100)
    before = np.eye(3)[labels] * 9
    after = before.copy()
    after[:60] = before[150]
    lossy = replace(judged(0.8, -0.2), answers=(answers(labels, before, after),))
    named = replace(
        manifest("host", "int8", int8_file(), lossy), data=replace(data_record(), class_names=("cat", HOSTILE, "owl"))
    )
    page = render_report(replace(run_of([named]), warnings=tuple(hidden_losses([named]))))
    words = Page(page).words
    assert "Beside the float model, answer by answer 20.00\u00a0% changed" in page.replace("<small>", "").replace(
        "</small>", ""
    )
    assert "Right before and wrong after: 20.00 % of 300 test samples" in words.replace("\u00a0", " ")
    assert "host/int8: class cat: right in 100.0% of its 100 samples in float and 40.0% in the file" in words
    assert HOSTILE not in page


def test_a_file_that_answers_as_its_float_model_has_no_such_section() -> None:
    labels = np.repeat(np.arange(3), 100)
    same = replace(judged(1.0, 0.0), answers=(answers(labels, np.eye(3)[labels], np.eye(3)[labels]),))
    assert "answer by answer" not in render_report(run_of([manifest("host", "int8", int8_file(), same)]))
