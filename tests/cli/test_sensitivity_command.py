"""`edgekit sensitivity`: table, budgets that can be pasted, plots that need nothing else, and refusals."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekit import strict_toml
from edgekit.cli.sensitivity import budgets_toml, command
from edgekit.errors import DataError, EdgekitError, ModelError, OutputError, RecipeError
from edgekit.recipe import Recipe
from edgekit.report.sensitivity import page, svg
from edgekit.stages.harm import Harm
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.sensitivity import LayerSensitivity, SensitivityReport

Cli = Callable[..., subprocess.CompletedProcess[str]]
EVIL = 'layer[0]/<script>alert("x")</script>'


def _run(digits: Path, *words: str) -> Result:
    base = [str(digits / "digits.keras"), "--data", str(digits / "digits.npz"), "--samples", "60"]
    return CliRunner().invoke(command, [*base, *words])


def _report(layers: int, metric: str | None = "accuracy", kind: str = "weights") -> SensitivityReport:
    rng = np.random.default_rng(0)
    found = []
    for number in range(layers):
        worse = np.sort(rng.uniform(0, 0.8, 3))
        values = [None if metric is None else 0.9 - loss for loss in worse.tolist()]
        harms = [Harm(s, v, float(w)) for s, v, w in zip((0.5, 0.7, 0.9), values, worse, strict=True)]
        name = f"block_{number}/kernel" if number else EVIL
        found.append(LayerSensitivity(name, "pointwise", 1000 + number, 5000, tuple(harms)))
    baseline = None if metric is None else 0.9
    return SensitivityReport(kind, metric, baseline, "validation", 512, tuple(found))  # type: ignore[arg-type]


def test_the_whole_road_on_the_command_line(edgekit_cli: Cli, digits: Path, tmp_path: Path) -> None:
    words = ["sensitivity", digits / "digits.keras", "--data", digits / "digits.npz", "--max-drop", "2%"]
    done = edgekit_cli(*words, "--plot", "layers.svg", "--toml", "layers.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("layer ")
    assert "accuracy on 120 validation samples" in done.stdout
    assert "plot: layers.svg" in done.stderr
    pasted = (tmp_path / "layers.toml").read_text()
    stage = f'[[stages]]\nstage = "prune_weights"\nsparsity = 0.5\none_shot = true\n{pasted}'
    text = f'name = "by-layer"\n\n{stage}\n[[stages]]\nstage = "convert"\n'
    recipe = strict_toml.loads(text, Recipe, RecipeError)
    (pruned,) = (stage for stage in recipe.stages if isinstance(stage, PruneWeights))
    assert len(pruned.layers) == 4


def test_json_is_the_report(digits: Path) -> None:
    done = _run(digits, "--kind", "channels", "--shares", "0.25,0.5", "--json")
    assert done.exit_code == 0, done.output
    report = msgspec.json.decode(done.stdout, type=SensitivityReport)
    assert (report.kind, report.shares, report.samples) == ("channels", (0.25, 0.5), 60)
    assert json.loads(done.stdout)["metric"] == "accuracy"


def test_without_budgets_there_is_a_hint(digits: Path) -> None:
    done = _run(digits, "--layers", "digit*", "--shares", "0.5")
    assert done.exit_code == 0, done.output
    assert "hint: --max-drop 1%" in done.stdout


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--shares", "0.5,1"], RecipeError, "above 0 and below 1"),
        (["--shares", "half"], RecipeError, "Expected `float`"),
        (["--shares", ""], RecipeError, "Expected `float`"),
        (["--layers", "nothing"], RecipeError, "'nothing' matches no layer"),
        (["--max-drop", "lots"], DataError, "is no greatest drop"),
        (["--max-drop", "5"], DataError, "accepts every loss"),
        (["--plot", "plot.png"], OutputError, "not the name of a .svg or .html file"),
        (["--plot", "missing/plot.svg"], OutputError, "no such folder"),
        (["--toml", "x.json", "--max-drop", "1%"], OutputError, "not the name of a .toml file"),
    ],
)
def test_what_cannot_be_done_is_refused(
    digits: Path, words: list[str], error: type[EdgekitError], message: str
) -> None:
    done = _run(digits, *words)
    assert isinstance(done.exception, error), done.output
    assert message in str(done.exception)


def test_budgets_in_a_file_need_a_bound(digits: Path) -> None:
    done = _run(digits, "--toml", "x.toml")
    assert done.exit_code == 2
    assert "say --max-drop 1%" in done.stderr


def test_a_tflite_file_is_refused(float_file: bytes, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(float_file)
    done = CliRunner().invoke(command, [str(tmp_path / "m.tflite"), "--data", str(digits / "digits.npz")])
    assert isinstance(done.exception, ModelError)
    assert "works on a Keras model" in str(done.exception)


@pytest.mark.parametrize(("kind", "stage"), [("weights", PruneWeights), ("channels", PruneChannels)])
def test_budgets_are_toml_of_the_stage_whatever_the_names(kind: str, stage: type) -> None:
    report = _report(5, kind=kind)
    head = 'sparsity = 0.5\nstage = "prune_weights"' if kind == "weights" else 'macs = 0.5\nstage = "prune_channels"'
    text = f'name = "pasted"\n[[stages]]\n{head}\n{budgets_toml(report, 0.3)}\n[[stages]]\nstage = "convert"\n'
    made = strict_toml.loads(text, Recipe, RecipeError)
    (pruned,) = (found for found in made.stages if isinstance(found, stage))
    assert len(pruned.layers) == 5  # type: ignore[attr-defined]
    assert pruned.layers[0].pattern == EVIL.replace("[", "[[]")  # type: ignore[attr-defined]


# The plot.


@pytest.mark.parametrize("metric", ["accuracy", "mae", None])
@pytest.mark.parametrize("layers", [1, 60])
def test_the_plot_has_a_row_for_each_layer_and_a_dot_for_each_share(metric: str | None, layers: int) -> None:
    report = _report(layers, metric)
    tree = ElementTree.fromstring(svg(report, 0.1))
    space = "{http://www.w3.org/2000/svg}"
    rows = [group for group in tree.iter(f"{space}g") if group.get("class") == "layer"]
    assert len(rows) == layers
    assert all(len(list(row.iter(f"{space}circle"))) == 3 for row in rows)
    heights = [float(next(iter(row.iter(f"{space}circle"))).get("cy", "0")) for row in rows]
    assert heights == sorted(set(heights))
    box = [float(number) for number in (tree.get("viewBox") or "").split()]
    for circle in tree.iter(f"{space}circle"):
        assert box[0] <= float(circle.get("cx", "nan")) <= box[2]
        assert box[1] <= float(circle.get("cy", "nan")) <= box[3]


def test_plots_need_nothing_and_run_nothing() -> None:
    for text in (svg(_report(3)), page(_report(3), 0.1)):
        assert "<script" not in text
        assert not re.findall(r"(?:href|src)=|url\(|@import", text.replace('href="data:,"', ""))
        assert "prefers-color-scheme: dark" in text


def test_the_bound_is_drawn_on_the_side_where_things_get_worse() -> None:
    def places(metric: str | None) -> tuple[float, float]:
        text = svg(_report(3, metric), 0.2)
        found = {kind: float(x) for kind, x in re.findall(r'<g class="rule (\w+)"><line x1="([\d.]+)"', text)}
        return found["reference"], found["gate"]

    reference, gate = places("accuracy")
    assert gate < reference
    for metric in ("mae", None):
        reference, gate = places(metric)
        assert gate > reference


@pytest.mark.parametrize(("metric", "bound"), [("top5", "1%"), ("mae", "0.009"), (None, None)])
def test_a_bound_is_suggested_in_the_unit_of_the_metric(metric: str | None, bound: str | None) -> None:
    assert re.findall(r"--max-drop</span> <span>([^<]+)<", page(_report(3, metric))) == ([bound] if bound else [])


def test_shares_are_drawn_in_percent_under_their_title() -> None:
    assert "top-5 accuracy of 512 validation samples, %" in svg(_report(3, "top5"))


def test_what_was_found_is_shown_though_the_bound_does_not_fit(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.compress.sensitivity_of", lambda *words, **others: _report(2, metric="mae"))
    done = _run(digits, "--max-drop", "1%")
    assert isinstance(done.exception, DataError)
    assert done.stdout.startswith("layer ")
