"""Evaluate: the score of one model, deployed or not, on one part of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edgekit.artifact import Artifact, Manifest
from edgekit.bench.plan import Plan
from edgekit.data.match import UndecidedTask
from edgekit.dataset import Dataset, Part, load_for, refuse_missing
from edgekit.device.protocol import Device
from edgekit.errors import DataError, DeviceError, InputError, MissingDependency, ModelError, RunError
from edgekit.host_agreement import HostAgreement, host_agreement
from edgekit.metrics import Score, scores
from edgekit.model import TensorSpec, load_model
from edgekit.tflite import flatbuffer
from edgekit.tflite.artifact_folder import is_artifact, tflite_path
from edgekit.tflite.inspect import ModelContents, TensorInfo, aliases, read_contents
from edgekit.verify import Outputs, run_file


class Evaluation(Struct, frozen=True):
    """Scores of one model on one part of a data set; where a device ran it, its name and how it differs from here."""

    model: str
    part: str
    samples: int
    runtime: str
    scores: tuple[Score, ...]
    warnings: tuple[str, ...]
    device: str = "local"
    agreement: HostAgreement | None = None


def evaluate_model(
    model: str | Path | Any,
    data: str | Path | Dataset | Any,
    *,
    part: str = "test",
    plan: Plan | None = None,
    trust: bool = False,
    data_options: Mapping[str, object] | None = None,
    samples: int | None = None,
    device: Device | None = None,
) -> Evaluation:
    """Score a model on one part of a data set: a `.tflite`, the folder of an artifact, or whatever `load_model` takes.

    `data` are as for `load_dataset`, or a Dataset. The preprocessing that an artifact records is applied, unless
    `data_options` say otherwise; a Dataset has to be read with both already. `samples` takes only so many, drawn evenly
    from the classes. An open `device` runs the file, and its outputs are compared with this host's; where this host
    cannot run it, a warning says why. The plan says with which runtime, threads, cores and delegate a `.tflite` runs.
    Raises ModelError or DataError for what cannot be used, InputError for a plan without a `.tflite`, RunError if the
    file cannot be run, DeviceError.
    """
    same: HostAgreement | None = None
    notes: tuple[str, ...] = ()
    name = str(model) if isinstance(model, str | Path) else "the model given"
    if isinstance(model, str | Path) and flatbuffer.is_tflite(Path(model)):
        file, dataset = open_file(model, data, data_options, trust)
        chosen = chosen_part(dataset, part, samples)
        outputs = run_file(file, chosen, plan=plan, device=device)
        if device:
            same, notes = _beside_host(file, chosen, outputs, device, plan)
        if plan and plan.delegate and outputs.delegations and not outputs.delegations[0].partitions:
            notes = (*notes, f"{plan.delegate.library} took no operator: all ran on the CPU")
    else:
        if device:
            raise ModelError(f"{name} is no .tflite file, and a device runs only those", "convert it first")
        if plan not in (None, Plan()):
            raise InputError(
                f"{name} is no .tflite file: TensorFlow runs it, without runtime, threads, cores or delegate",
                "convert it first, or leave these options out",
            )
        refuse_missing(data, data_options, trust)
        loaded = load_model(model, trust=trust)
        name = loaded.origin
        dataset = load_for(loaded.inputs, loaded.outputs, data, data_options, trust)
        chosen = chosen_part(dataset, part, samples)
        outputs = Outputs(tuple(loaded.predict(chosen.array())), 0, "keras" if loaded.kind == "keras" else "tensorflow")
    judged = dataset.judged(chosen, outputs.arrays)
    found: tuple[Score, ...] = ()
    if judged and dataset.metrics:
        found = tuple(scores(dataset.metrics, *judged, dataset.output_names))
    elif same is None:
        unscored = f"the {part} part has no labels, so there is nothing to score"
        raise DataError("; ".join([unscored, *notes]), "give y_... arrays")
    place, told = device.name if device else "local", (*dataset.warnings, *notes)
    return Evaluation(name, part, len(chosen), outputs.runtime, found, told, place, same)


def _beside_host(
    file: bytes, part: Part, there: Outputs, device: Device, plan: Plan | None
) -> tuple[HostAgreement | None, tuple[str, ...]]:
    """How a device's outputs differ from this host's; or why that is not known, as a file for an Edge TPU only."""
    try:
        return host_agreement(file, part, there, device, plan), ()
    except DeviceError:
        raise
    except (InputError, RunError, MissingDependency) as cause:
        return None, (f"not compared with this host: {cause.problem}",)


def open_file(
    model: str | Path,
    data: str | Path | Dataset | Any,
    data_options: Mapping[str, object] | None = None,
    trust: bool = False,
) -> tuple[bytes, Dataset]:
    """A `.tflite`, or that of an artifact, and the data for it, with the preprocessing that the artifact records.

    Raises ModelError for what is neither, DataError for data that do not fit.
    """
    path, manifest = tflite_path(Path(model)), recorded(Path(model))
    if not flatbuffer.is_tflite(path):
        raise _no_file(path)
    file = bytes(flatbuffer.read_bytes(path))
    summary = read_contents(file, str(path))
    options = {**recorded_options(manifest), **(data_options or {})}
    try:
        return file, load_for(*specs_of(summary), data, options, trust)
    except UndecidedTask:
        if manifest is None or manifest.data is None or manifest.data.task != "autoencoder":
            raise
        return file, load_for(*specs_of(summary), data, {**options, "task": "autoencoder"}, trust)


def _no_file(path: Path) -> ModelError:
    """What is there instead of a `.tflite`."""
    with path.open("rb") as stream:
        start = stream.read(8)
    found = f"it starts with {start!r}" if start else "it is empty"
    return ModelError(
        f"{path}: no .tflite file ({found})",
        "give a .tflite, or the folder of an artifact; `edgekit optimize` makes one of a Keras model",
    )


def chosen_part(data: Dataset, part: str, samples: int | None) -> Part:
    """A part, or so many samples of it. Raises DataError where the data has none of that name."""
    whole = data.part(part)
    return whole if samples is None else whole.take(samples)


def recorded(model: Path) -> Manifest | None:
    """The manifest of an artifact, given its folder, its `.tflite`, or what that was compiled to; None for other files.

    Raises ModelError if the file in an artifact's folder is not the one that its manifest describes.
    """
    if model.is_dir():
        return Artifact.load(model).manifest if is_artifact(model) else None
    try:
        found = Artifact.load(model.parent).manifest
    except ModelError:  # beside a file on its own, a manifest.json may be anybody's
        return None
    return found if model.name in (found.file, f"{Path(found.file).stem}_edgetpu.tflite") else None


def recorded_options(manifest: Manifest | None) -> dict[str, object]:
    """The preprocessing that an artifact records, as options of its data."""
    if manifest is None or manifest.data is None:
        return {}
    preprocessing = msgspec.to_builtins(manifest.data.preprocessing)
    return {f"preprocessing.{key}": value for key, value in preprocessing.items()}


def specs_of(contents: ModelContents) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What data a file's inputs and outputs stand for, with the names that its signature gives them."""
    inputs, outputs = aliases(contents, "inputs"), aliases(contents, "outputs")
    return real_specs(contents.inputs, inputs), real_specs(contents.outputs, outputs)


def real_specs(tensors: Sequence[TensorInfo], names: Sequence[str] = ()) -> tuple[TensorSpec, ...]:
    """What data a file's tensors stand for: quantized ones hold real numbers; the first axis is the batch.

    `names` are those of a signature.
    """
    return tuple(
        TensorSpec(
            tensor.name,
            (None, *(None if size < 0 else size for size in tensor.shape[1:])),
            tensor.dtype if tensor.scale is None else "float32",
            alias,
        )
        for tensor, alias in zip(tensors, names or [""] * len(tensors), strict=True)
    )
