"""Every shipped target gets files that it can run: made for it, read again, held against it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.artifact import Artifact
from edgekit.pipeline import optimize
from edgekit.recipe import Recipe
from edgekit.run import Run
from edgekit.source_check import check_file
from edgekit.target import load_target, target_names
from edgekit.tflite.inspect import inspect_model

NAMES = target_names()


@pytest.fixture(scope="module")
def built(tiny_cnn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """One network for all targets, each by the recipe that it recommends."""
    out = tmp_path_factory.mktemp("every") / "out"
    made = optimize(tiny_cnn / "tiny.keras", data=tiny_cnn / "tiny.npz", targets=NAMES, out=out, benchmark=False)
    return made, out


@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_by_the_recommended_recipe_runs_without_a_complaint(name: str, built: tuple[Run, Path]) -> None:
    run, out = built
    target = load_target(name)
    (manifest,) = [manifest for manifest in run.artifacts if manifest.target == name]
    artifact = Artifact.load(out / manifest.name)
    summary = inspect_model(artifact.model)
    (checked,) = check_file(artifact.model, [target])
    findings = checked.findings
    assert [finding for finding in findings if finding.level != "info"] == []
    assert manifest.findings == findings
    assert summary.numeric == manifest.numeric == Recipe.parse(target.numerics.recommended).quantize.scheme
    assert not any(tensor.dynamic for tensor in summary.tensors)
    assert {tensor.dtype for tensor in (*summary.inputs, *summary.outputs)} == {target.numerics.io[0]}
    assert manifest.verification is not None
    assert manifest.verification.samples == 40


def test_nothing_is_left_that_a_gate_would_stop(built: tuple[Run, Path]) -> None:
    assert built[0].gates == ()
    assert [manifest.target for manifest in built[0].artifacts] == NAMES


@pytest.mark.slow
def test_every_scheme_that_a_target_names_makes_a_file_that_it_runs(tiny_cnn: Path, tmp_path: Path) -> None:
    for schemes in {load_target(name).numerics.schemes for name in NAMES}:
        alike = [name for name in NAMES if load_target(name).numerics.schemes == schemes]
        model, data, out = tiny_cnn / "tiny.tflite", tiny_cnn / "tiny.npz", tmp_path / alike[0]
        run = optimize(model, data=data, targets=alike, recipes=schemes, out=out, benchmark=False)
        assert [manifest.numeric for manifest in run.artifacts] == [*schemes] * len(alike)
        for manifest in run.artifacts:
            worse = [finding for finding in manifest.findings if finding.level != "info"]
            assert worse == [], (manifest.name, worse)
