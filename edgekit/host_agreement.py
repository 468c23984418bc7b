"""A file on a device beside the same file on this host: how far the outputs differ, and at which tensor they part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, structs

from edgekit.bench.plan import Plan
from edgekit.bench.run import infer
from edgekit.data.parts import Part
from edgekit.device.protocol import Device
from edgekit.errors import DeviceError, InputError, MissingDependency, RunError
from edgekit.tflite.inspect import ModelContents, TensorInfo, read_contents
from edgekit.tflite.numbers import to_real, to_stored
from edgekit.tflite.taps import with_inner_outputs
from edgekit.verify import Outputs, quantum, run_file

Array = npt.NDArray[Any]


class TensorDifference(Struct, frozen=True):
    """A tensor that differs: by how many quanta at most, and in which share of its values by more than one.

    A quantum is the scale of a quantized tensor, and a ten-thousandth of the range of any other.
    """

    tensor: str
    quanta: float
    beyond: float


class HostAgreement(Struct, frozen=True):
    """How a device's outputs differ from this host's over the same samples, output by output.

    `decisions` is the share of samples with the greatest value at the same place, in the worst output with one row of
    values a sample; None where there is none. `parted` is the first tensor inside that differs by more than a quantum,
    and `operator` what computes it, for the sample whose outputs differ most. Where the outputs differ and no tensor
    can be named, `unseen` says why.
    """

    samples: int
    host_runtime: str
    outputs: tuple[TensorDifference, ...]
    decisions: float | None
    parted: TensorDifference | None = None
    operator: str | None = None
    unseen: str | None = None

    @property
    def same(self) -> bool:
        """Whether no output differs by more than a quantum."""
        return all(output.quanta <= 1 for output in self.outputs)


def host_agreement(model: bytes, part: Part, there: Outputs, device: Device, plan: Plan | None = None) -> HostAgreement:
    """Run a file here on the samples that an open device has run, compare, and find where the two part.

    The device has run it by the plan; here it runs with the runtime of the plan, without its delegate and cores.
    Raises RunError if the file cannot be run here.
    """
    plan = plan or Plan()
    own = Plan(runtime=plan.runtime, xnnpack=plan.xnnpack)
    here, tensors = run_file(model, part, plan=own), judged_outputs(read_contents(model))
    apart = [quanta_apart(*found) for found in zip(tensors, here.arrays, there.arrays, strict=True)]
    outputs = tuple(difference_of(tensor, found) for tensor, found in zip(tensors, apart, strict=True))
    found = HostAgreement(len(part), here.runtime, outputs, same_decisions(here, there))
    if found.same:
        return found
    worst = np.max([quanta.reshape(len(part), -1).max(1) for quanta in apart], axis=0).argmax()
    try:
        return _with_parting(found, model, part.select(np.asarray([worst])), ((own, None), (plan, device)))
    except DeviceError as cause:
        return structs.replace(found, unseen=f"the device failed in the search for the first tensor: {cause.problem}")
    except (InputError, RunError, MissingDependency) as cause:
        return structs.replace(found, unseen=f"with all tensors as outputs the file does not run: {cause.problem}")


def _with_parting(
    found: HostAgreement, model: bytes, sample: Part, sides: Sequence[tuple[Plan, Device | None]]
) -> HostAgreement:
    tapped = with_inner_outputs(model)
    contents = read_contents(tapped)
    stored = [to_stored(array, tensor) for array, tensor in zip(sample.array(), contents.inputs, strict=True)]
    runs = [infer(tapped, stored, device=place, **plan.running).outputs for plan, place in sides]
    operators = {op.output_name: f"{op.name}, operator {op.index}" for op in contents.operators if op.subgraph == 0}
    for tensor, *both in zip(contents.outputs, *runs, strict=True):
        difference = difference_of(tensor, quanta_apart(tensor, *(to_real(array, tensor) for array in both)))
        if difference.quanta > 1:
            return structs.replace(found, parted=difference, operator=operators.get(tensor.name))
    return structs.replace(found, unseen="with all tensors as outputs, which stops some fusing, they agree")


def judged_outputs(contents: ModelContents) -> tuple[TensorInfo, ...]:
    """The outputs, a float one that is cast from integers with the scale of these."""
    tensors = contents.tensors
    casts = {
        op.outputs[0]: tensors[op.inputs[0]]
        for op in contents.operators
        if op.name == "DEQUANTIZE" and op.subgraph == 0
    }
    return tuple(
        structs.replace(tensor, scale=casts[index].scale) if index in casts and tensor.scale is None else tensor
        for index, tensor in zip(contents.output_indices, contents.outputs, strict=True)
    )


def quanta_apart(tensor: TensorInfo, ours: Array, theirs: Array) -> Array:
    """By how many quanta each real value differs."""
    apart: Array = np.abs(ours.astype(np.float64) - theirs)
    return apart / quantum(tensor, ours)


def difference_of(tensor: TensorInfo, quanta: Array) -> TensorDifference:
    """The greatest of `quanta`, and how many of them are above one."""
    return TensorDifference(tensor.name, float(quanta.max(initial=0)), float((quanta > 1).mean()))


def same_decisions(here: Outputs, there: Outputs) -> float | None:
    """The share of samples with the greatest value at the same place, in the worst output with a row of them a sample.

    None where there is none: single values decide nothing, and what each place of a map or a box means is not known.
    """
    pairs = zip(here.arrays, there.arrays, strict=True)
    rows = [(a, b) for a, b in pairs if a.shape[-1] > 1 and a.size == len(a) * a.shape[-1]]
    same = [(a.argmax(axis=-1) == b.argmax(axis=-1)).mean() for a, b in rows]
    return float(min(same)) if same else None
