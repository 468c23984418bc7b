"""The second engine's side in this process: plan on the Keras 3 model, have it trained as tf_keras, open the result.

Which kernels are pruned or clustered, and how much, is planned as for edgekit's own training: the two can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgekit.data.parts import Dataset, Part
from edgekit.errors import RecipeError, RunError
from edgekit.model.legacy import load_hdf5
from edgekit.model.tfmot_qat import fake_quantize
from edgekit.new_file import write_new
from edgekit.stages import cluster, prune_weights
from edgekit.stages.centroids import centroids_of
from edgekit.stages.cluster import Cluster
from edgekit.stages.kernels import kernels_of
from edgekit.stages.losses import hard_targets, output_kinds
from edgekit.stages.masks import Mask, masks_of
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.training import Epoch, monitored, own_code
from edgekit.talk import Say
from edgekit.target import Target
from edgekit.tfmot import job as jobs
from edgekit.tfmot import process
from edgekit.tfmot.settings import NATIVE
from edgekit.versions import SECOND_ENGINE, versions

Array = npt.NDArray[Any]
Stage = PruneWeights | Cluster | QuantizeAware

_MEMORY = 0.999


@dataclass(frozen=True, eq=False)
class Trained:
    """What a stage made: the `.h5` file that tf_keras opens, the Keras 3 model in it, and what was done."""

    file: Path
    model: Any
    detail: str
    header: Sequence[str] = ()
    rows: Sequence[tuple[str, ...]] = ()
    notes: Sequence[str] = ()
    epochs: tuple[Epoch, ...] = ()


@dataclass(frozen=True, eq=False)
class Setting:
    """What a training needs beside the model and the stage; `folder` keeps its checkpoint and its result."""

    data: Dataset
    folder: Path
    targets: tuple[Target, ...] = ()
    seed: int = 0
    trust: bool = False
    say: Say = lambda _: None


def train(model: Any, file: Path, stage: Stage, setting: Setting) -> Trained:
    """Do one stage to the model in the `.h5` file `file`, of which `model` is the Keras 3 counterpart.

    Raises RecipeError and ModelError for what tensorflow-model-optimization does not take, RunError where the training
    diverges or its process dies.
    """
    if isinstance(stage, PruneWeights):
        return _prune(model, file, stage, setting)
    if isinstance(stage, Cluster):
        return _cluster(model, file, stage, setting)
    return _quantize(model, file, stage, setting)


def _prune(model: Any, file: Path, stage: PruneWeights, setting: Setting) -> Trained:
    plan = prune_weights.plan(model, stage)
    technique = jobs.Prune(_by_layer(plan.shares), stage.schedule, stage.power, stage.begin, stage.end)
    found, done = _run(model, file, stage, technique, setting)
    report = prune_weights.report(model, found.model, plan, setting.targets)
    for kernel in report.kernels:
        _hold(kernel.sparsity >= plan.shares.get(kernel.name, 0.0) - 1 / kernel.weights, kernel.name, "zeros")
    _hold_zeros(masks_of(model), found.model)
    notes = [f"{report.sparsity:.1%} of the weights are zero"]
    notes += [f"{name}: {gain}" for name, gain in report.gain.items()]
    return replace(found, header=prune_weights.HEADER, rows=report.rows(), notes=notes, epochs=done.epochs)


def _cluster(model: Any, file: Path, stage: Cluster, setting: Setting) -> Trained:
    plan = cluster.plan(model, stage, setting.seed)
    values = {book.name: (len(book.values[0]), book.zero) for book in plan.codebooks}
    found, done = _run(model, file, stage, jobs.Cluster(_by_layer(values), stage.init), setting)
    report = cluster.report(model, found.model, plan)
    for kernel in report.kernels:
        _hold(kernel.values <= values[kernel.name][0], kernel.name, "shared values")
    free = {book.name for book in plan.codebooks if not book.zero}
    _hold_zeros({name: mask for name, mask in masks_of(model).items() if name not in free}, found.model)
    return replace(found, header=cluster.HEADER, rows=report.rows(), notes=[report.note], epochs=done.epochs)


def _quantize(model: Any, file: Path, stage: QuantizeAware, setting: Setting) -> Trained:
    masks, books = (masks_of(model), centroids_of(model)) if stage.preserve else ({}, {})
    found, done = _run(model, file, stage, jobs.Quantize(bool(masks), bool(books)), setting)
    _hold_zeros(masks, found.model)
    share = _MEMORY ** (done.steps * len(done.epochs))
    kept = [word for word, there in (("zeros", masks), ("shared values", books)) if there]
    notes = [
        f"{' and '.join(kept)} of the model kept" if kept else "the model had no zeros and shared values to keep",
        *done.notes,
    ]
    if share > 0.05:
        notes.append(
            f"{share:.0%} of each activation range is still the -6..6 that tensorflow-model-optimization begins with: "
            "train for more steps, or give the model itself, calibrated, with -r int8"
        )
    return replace(found, header=("rounded", "from", "to"), rows=_ranges(found.model), notes=notes, epochs=done.epochs)


def _ranges(model: Any) -> list[tuple[str, ...]]:
    """The range that each place of rounding in a model has learned."""
    places = [layer for layer in model.layers if isinstance(layer, fake_quantize())]
    return [(place.name, f"{float(place.low):.4g}", f"{float(place.high):.4g}") for place in places]


def _run(
    model: Any,
    file: Path,
    stage: Stage,
    technique: jobs.Prune | jobs.Cluster | jobs.Quantize,
    setting: Setting,
) -> tuple[Trained, jobs.Done]:
    """Have a technique trained, or take the result that an interrupted run has left."""
    name = str(stage.__struct_config__.tag)
    setting.folder.mkdir(parents=True, exist_ok=True)
    out = setting.folder / f"{name}.h5"
    job = _job(model, file, stage, technique, setting, out)
    done = _kept(out, job.key)
    if done:
        setting.say(f"{name}: kept from before")
    else:
        done = process.run(job, _arrays(setting.data), setting.say)
        write_new(out.with_suffix(".json"), msgspec.json.encode(_Kept(job.key, done)), overwrite=True)
    return Trained(out, load_hdf5(out, out.name, setting.trust)[0], detail_of(stage)), done


class _Kept(msgspec.Struct, frozen=True):
    """What a finished job said, beside the file that it made."""

    key: str
    done: jobs.Done


def _kept(out: Path, key: str) -> jobs.Done | None:
    said = out.with_suffix(".json")
    if not (said.is_file() and out.is_file()):
        return None
    try:
        found = msgspec.json.decode(said.read_bytes(), type=_Kept)
    except (msgspec.MsgspecError, ValueError):
        return None
    return found.done if found.key == key else None


def detail_of(stage: Stage) -> str:
    """The stage in a few words, as this engine does it."""
    what = f"moving ranges, {stage.training.detail}" if isinstance(stage, QuantizeAware) else stage.detail
    return f"{what}, by the labels alone, tfmot"


def _job(
    model: Any,
    file: Path,
    stage: Stage,
    technique: jobs.Prune | jobs.Cluster | jobs.Quantize,
    setting: Setting,
    out: Path,
) -> jobs.Job:
    data = setting.data
    data.refuse_guess()
    if data.heads:
        raise RecipeError("engine 'tfmot' trains outputs of one kind, and the data has heads", "leave engine=tfmot out")
    metric = monitored(data, stage.training)
    _refuse_typed(stage.training.loss, metric or "")
    how = jobs.Schooling(
        stage=str(stage.__struct_config__.tag),
        training=stage.training,
        task=data.task,
        kinds=output_kinds(model, next(data.part("train").batches(32))),
        judged=data.labelled_outputs or tuple(range(len(model.outputs))),
        metric=metric,
        seed=setting.seed,
    )
    code, engine = [stage.training.code, own_code(how.metric)], versions(SECOND_ENGINE)
    depends_on = [how, technique, code, engine, data.fingerprint, hashlib.sha256(file.read_bytes()).hexdigest()]
    return jobs.Job(
        origin=file.name,
        model=str(file),
        out=str(out),
        trust=setting.trust,
        technique=technique,
        schooling=how,
        checkpoint=str(out.with_suffix(".checkpoint.npz")),
        key=hashlib.sha256(msgspec.json.encode(depends_on, order="deterministic")).hexdigest(),
    )


def _refuse_typed(*references: str) -> None:
    """Raise RecipeError for a function of `__main__`, which the process that trains does not have."""
    for place, _, name in (reference.partition(":") for reference in references):
        if place == "__main__":
            raise RecipeError(
                f"engine 'tfmot' trains in another process, which has no {name!r} of this script or notebook",
                f"put the function into a file, and name it there: mine.py:{name}",
            )


def _arrays(data: Dataset) -> dict[str, Array]:
    """The training and the validation part as a job wants them."""
    found = _part(data, data.part("train"), "")
    return found | (_part(data, data.validation, "v") if data.validation is not None else {})


def _part(data: Dataset, part: Part, prefix: str) -> dict[str, Array]:
    inputs = {f"{prefix}x{place}": np.asarray(x) for place, x in enumerate(part.array())}
    return inputs | {f"{prefix}y{place}": np.asarray(y) for place, y in enumerate(hard_targets(data, part))}


def _by_layer(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """What is wished for kernels, for their layers. Raises RecipeError where those of one layer differ."""
    found: dict[str, Any] = {}
    for name, wish in wishes.items():
        layer = name.rpartition("/")[0]
        if found.setdefault(layer, wish) != wish:
            raise RecipeError(
                f"the weights of layer {layer!r} are to be treated differently, and 'tfmot' takes a layer as a whole",
                f"name the layer in `layers`, or {NATIVE}",
            )
    return found


def _hold_zeros(masks: Mapping[str, Mask], model: Any) -> None:
    kernels = {kernel.name: kernel.value for kernel in kernels_of(model)}
    for name in masks.keys() & kernels.keys():
        _hold(not kernels[name][~masks[name]].any(), name, "zeros")


def _hold(true: bool, kernel: str, what: str) -> None:
    if not true:
        raise RunError(f"tensorflow-model-optimization did not keep the {what} of {kernel!r}", NATIVE)
