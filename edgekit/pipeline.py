"""The pipeline: what `edgekit optimize` does, from a model and its data to a folder of artifacts and a report.

load -> plan -> compress -> convert -> calibrate -> quantize -> rewrite -> verify -> check -> measure
     -> artifacts and report

A model is compressed once for all recipes that begin alike, converted once and calibrated once; every variant is made
from that one float32 file. Variants that are equal for several targets are made, verified and measured once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgekit.artifact import Artifact
from edgekit.compress import model_for
from edgekit.data.spec import plain_options
from edgekit.dataset import Dataset, DataSpec, load_for, refuse_missing
from edgekit.errors import DataError
from edgekit.gate import Gate
from edgekit.job import Job
from edgekit.makings import Makings
from edgekit.model import Model
from edgekit.recipe import Recipe
from edgekit.report.estimates import forecasts
from edgekit.report.html import render_report
from edgekit.request import Request
from edgekit.run import Run
from edgekit.speed.settle import settle_all
from edgekit.step import refuse_without_keras, refuse_without_training
from edgekit.talk import Say
from edgekit.target import Target
from edgekit.tflite import flatbuffer
from edgekit.tfmot.process import shared
from edgekit.workspace import workspace


def optimize(
    model: str | Path | Any,
    *,
    out: str | Path,
    data: str | Path | Dataset | Any | None = None,
    targets: Sequence[str | Path | Target] = ("host",),
    recipes: Sequence[str | Path | Recipe] = (),
    data_options: Mapping[str, object] | None = None,
    max_drop: str | float | None = None,
    overwrite: bool = False,
    trust: bool = False,
    benchmark: bool = True,
    say: Say = lambda text: None,
) -> Run:
    """Take a model to each target: convert, quantize, verify, check, measure; write artifacts and a report to `out`.

    `model` is a file, a folder, a reference `module:function`, or a Keras model in memory. `data` are as for
    `load_dataset`, or a `Dataset`, which takes no `data_options`. `recipes` are phrases, files or `Recipe` objects;
    without them each target's recommended one is used. `max_drop` is the greatest loss of the metric that is accepted,
    in the metric's own unit, or in points (`"1%"`) for metrics between 0 and 1, of one output or each by name
    (`"kind=1%,value=0.5"`); see `Run.accept`. An interrupted call goes on at the first unfinished stage when it is
    repeated. `say` gets a line of text for each step: `say=print` shows the progress.

    Raises an InputError before any work for whatever cannot be used, RunError if a file cannot be run.
    """
    gate = None if max_drop is None else Gate.parse(max_drop)
    from_tflite = isinstance(model, str | Path) and flatbuffer.is_tflite(Path(model))
    request = Request.plan(targets, recipes, from_tflite, trust)
    with workspace(Path(out), overwrite, say) as work, shared():
        if data is None:  # what can be refused is, before a model is loaded for nothing
            _refuse_early(request, None, gate)
        else:
            refuse_missing(data, data_options, trust)
        say("load the model")
        source = model_for([recipe for _, recipe in request.pairs], model, work.stages, trust, say)
        dataset = _data_for(source, data, request, data_options or {}, trust)
        for _, recipe in request.pairs:
            refuse_without_keras(source, recipe)
        _refuse_early(request, dataset, gate)
        makings = Makings(source, dataset, work, request.pairs, say, trust)
        settled = settle_all(makings) if request.recommended and benchmark else ()
        request = msgspec.structs.replace(request, pairs=makings.pairs)
        job = Job(makings)
        run = job.run(request, gate, benchmark, settled)
        run = msgspec.structs.replace(run, data_options=plain_options(data_options))
        _write(run, job.files, work.folder, [target for target, _ in request.pairs])
    return run


def _data_for(model: Model, data: Any, request: Request, options: Mapping[str, object], trust: bool) -> Dataset | None:
    """The data, with a calibration part as large as the recipes need, unless an option or a Dataset sets its size."""
    if data is None:
        return None
    if request.calibration_samples > DataSpec().calibration_samples and not isinstance(data, Dataset):
        options = {"calibration_samples": request.calibration_samples, **options}
    return load_for(model.inputs, model.outputs, data, options, trust)


def _refuse_early(request: Request, dataset: Dataset | None, gate: Gate | None) -> None:
    for stage in (stage for _, recipe in request.pairs for stage in recipe.trained):
        refuse_without_training(stage, dataset)
    if request.calibration_samples and dataset is None:
        raise DataError("no calibration data", "full int8 needs samples: give --data, or a recipe like dynamic-int8")
    if request.calibration_samples and dataset and dataset.calibration is None:
        found = ", ".join(f"{part.name} ({len(part)})" for part in dataset.parts)
        raise DataError(
            f"no calibration data: the data has only {found}",
            "give x_train or x_calibration (docs/data.md), more samples, or a recipe like dynamic-int8",
        )
    if gate:
        judged = dataset and (dataset.task == "autoencoder" or dataset.part("test").labels is not None)
        gate.check(dataset.metrics if dataset and judged else None, dataset.output_names if dataset else ())


def _write(run: Run, files: dict[str, bytes], folder: Path, targets: Sequence[Target]) -> None:
    for stale in folder.iterdir():  # variants of an interrupted call, which may have had others
        if stale.is_dir() and stale.name != "stages":
            shutil.rmtree(stale)
    for manifest in run.artifacts:
        Artifact(manifest, files[manifest.sha256]).save(folder / manifest.target / manifest.recipe.slug)
    (folder / "run.json").write_bytes(msgspec.json.encode(run))
    families = {target.name: target.kind for target in targets}
    page = render_report(run, files, forecasts(run, files, targets), families)
    (folder / "report.html").write_text(page, encoding="utf-8")
