"""Agree: which sides there are of a file, and how each is held against the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgekit.bench.plan import Plan
from edgekit.data.match import match
from edgekit.data.parts import Dataset, Part
from edgekit.device.protocol import Device
from edgekit.doctor.agreement import Agreements, Leg, leg, operators_compared
from edgekit.doctor.case import lowered
from edgekit.doctor.defects import other_weights
from edgekit.doctor.pairing import paired
from edgekit.doctor.sides import FileSide, KerasSide, Simulation
from edgekit.errors import DataError, InputError, MissingDependency, ModelError
from edgekit.evaluate import chosen_part, open_file, specs_of
from edgekit.host_agreement import judged_outputs
from edgekit.model import Model, TensorSpec, load_model
from edgekit.stages.agreement import QUANTA
from edgekit.talk import Say
from edgekit.tflite.inspect import TensorInfo, read_contents

SAMPLES = 64


def agree(
    model: str | Path,
    data: str | Path | Dataset | Any,
    *,
    source: str | Path | None = None,
    part: str = "test",
    samples: int | None = SAMPLES,
    plan: Plan | None = None,
    device: Device | None = None,
    trust: bool = False,
    data_options: Mapping[str, object] | None = None,
    say: Say = lambda _: None,
) -> Agreements:
    """Compare all that should be one function with a `.tflite`, or that of an artifact, on samples of a part.

    The Keras model `source` beside its float32 file; the integer simulation beside the reference kernels; these beside
    the kernels of the plan on this host; and those beside an open `device`. Labels are not needed.
    Raises ModelError or DataError for what cannot be used, RunError if the file cannot be run, DeviceError.
    """
    file, dataset = open_file(model, data, data_options, trust)
    chosen = chosen_part(dataset, part, samples)
    if not len(chosen):
        raise DataError(f"the {part} part has no samples", "give data with at least one sample")
    legs: list[Leg] = []
    left_out: list[str] = []
    if source is not None:
        say("agree: Keras model and float32 file")
        legs += _converted(file, load_model(source, trust=trust), dataset, chosen, left_out)
    legs += _simulated(file, chosen, left_out, say)
    legs += _run(file, chosen, plan or Plan(), device, say)
    if not legs:
        raise InputError("there is nothing to compare the reference kernels with", "leave --no-xnnpack out")
    return Agreements(str(model), part, len(chosen), tuple(legs), tuple(left_out))


def _converted(file: bytes, model: Model, data: Dataset, part: Part, left_out: list[str]) -> Iterator[Leg]:
    """The Keras model beside the file, or, where that is quantized, beside the float32 file made of the model.

    Inputs may come in another order than in the file, so each side gets the samples in its own.
    """
    if model.kind == "tflite":
        left_out.append(f"a Keras model: {model.origin} is a .tflite itself")
        return
    contents = read_contents(file)
    batch = contents.inputs[0].shape[0] if contents.inputs[0].shape else 1
    floats = file if contents.numeric == "float32" else lowered(model, max(batch, 1))
    _refuse_unlike(file, floats)
    other = FileSide("float32 file", floats, Plan())
    here = _of_inputs(data, part, specs_of(other.contents)[0])
    one = KerasSide(model, lambda some: _of_inputs(here, some, model.inputs).part("test"))
    yield leg(
        one,
        other,
        here.part("test"),
        judged_outputs(other.contents),
        lambda some: one.compared_with(floats, some),
        always=False,
    )


def _of_inputs(data: Dataset, part: Part, inputs: Sequence[TensorSpec]) -> Dataset:
    """Data with a part alone, without its labels, as its test part; in the order of these inputs."""
    alone = replace(part, name="test", labels=None)
    return match(replace(data, task="none", train=None, validation=None, calibration=None, test=alone), inputs, ())


def _refuse_unlike(file: bytes, floats: bytes) -> None:
    """Raise ModelError where a quantized file is not of the network, or of the weights, of the float file."""
    if read_contents(file).numeric in ("int8", "int16x8"):
        for finding in other_weights(paired(file, floats)):
            raise ModelError(finding.problem, finding.mend)


def _simulated(file: bytes, part: Part, left_out: list[str], say: Say) -> Iterator[Leg]:
    try:
        one = Simulation(file)
    except (ModelError, MissingDependency) as cause:
        left_out.append(f"an integer simulation: {cause.problem}")
        return
    say("agree: integer simulation and reference kernels")
    other = FileSide("reference kernels", file, Plan(xnnpack=False))
    yield leg(
        one, other, part, judged_outputs(other.contents), operators_compared(one, other, other.contents, _simulates)
    )


def _simulates(tensor: TensorInfo) -> float:
    return QUANTA.get(tensor.dtype, 1.0)


def _run(file: bytes, part: Part, plan: Plan, device: Device | None, say: Say) -> Iterator[Leg]:
    """The reference kernels beside XNNPACK, and what the plan takes of the two beside the device."""
    reference = FileSide("reference kernels", file, Plan(runtime=plan.runtime, xnnpack=False))
    last = device is not None or plan.delegate is not None
    sides = [reference]
    if plan.xnnpack:
        sides.append(FileSide("XNNPACK", file, Plan(runtime=plan.runtime) if last else plan))
    if last:
        name = device.name if device is not None else "this host"
        sides.append(FileSide(f"{name} ({plan.in_words})", file, plan, device))
    for one, other in pairwise(sides):
        say(f"agree: {one.name} and {other.name}")
        yield leg(
            one,
            other,
            part,
            judged_outputs(other.contents),
            operators_compared(one, other, other.contents, lambda _: 1.0),
        )
