"""The proof that a simulation and the file made from it are the same function.

Two looks: the outputs of both over many samples, with the kernels that are deployed; and each operator alone, given
what the file itself has computed before it, so that what is found is its own and not what came down to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from edgekit.bench.run import infer
from edgekit.errors import RunError
from edgekit.stages.inner_values import inner_values
from edgekit.stages.integer_graph import LEVELS, IntegerGraph, Operator, Tensor, read_graph
from edgekit.stages.integer_model import operators_alone
from edgekit.stages.losses import call
from edgekit.tf import import_tensorflow
from edgekit.tflite.batch import batched_twin

Array = npt.NDArray[Any]

QUANTA = {"int8": 2.0, "int16": 64.0}
"""What may differ: kernels round differently by one or two quanta; those of 16 bits interpolate in coarse tables."""

_BATCH = 32
_INNER_SAMPLES = 2
_SIGMAS = 3.0


class OperatorAgreement(Struct, frozen=True):
    """One operator given the same inputs: the greatest difference in quanta, and the share of elements that differ.

    `bound` is what may differ.
    """

    tensor: str
    operator: str
    quanta: float
    differing: float
    bound: float


class OutputAgreement(Struct, frozen=True):
    """One output over all samples: share of elements within the bound, greatest difference in quanta.

    `top1` is the share of samples with the greatest element in the same place; None for a single element. `chance` is
    by how much `within` of a simulation may lie below that of the kernels on the same samples by chance: three standard
    errors of the difference.
    """

    name: str
    within: float
    quanta: float
    top1: float | None
    chance: float = 0.0


class SimulationAgreement(Struct, frozen=True):
    """A simulation beside its file. `kernels` compares the file with itself, reference against optimized kernels."""

    samples: int
    outputs: tuple[OutputAgreement, ...]
    kernels: tuple[OutputAgreement, ...]
    operators: tuple[OperatorAgreement, ...]

    @property
    def parted(self) -> OperatorAgreement | None:
        """The first operator that differs by more than the bound on the same inputs."""
        return next((found for found in self.operators if found.quanta > found.bound + 0.01), None)

    def accept(self, within: float = 0.999, top1: float = 0.995) -> None:
        """Raise RunError, naming the first tensor where the two part, if they are not the same function.

        Outputs are held to `within` and `top1` (less the chance of few samples), or to what the runtime's own kernels
        differ by on the same samples, less chance, where that is more.
        """
        if self.parted:
            raise RunError(
                f"simulation and file part at {self.parted.tensor!r} ({self.parted.operator}): "
                f"{self.parted.quanta:.0f} quanta on the same inputs",
                "keep this layer in float (layers with keep = true), and report the operator",
            )
        noise = _SIGMAS * (top1 * (1 - top1) / self.samples) ** 0.5
        for ours, theirs in zip(self.outputs, self.kernels, strict=True):
            least = within if theirs.within >= within else theirs.within - ours.chance
            least_top1 = min(top1, theirs.top1 or 1.0) - noise
            same = 1.0 if ours.top1 is None else ours.top1
            if ours.within < least or same < least_top1:
                worst = max(self.operators, key=lambda found: found.differing)
                raise RunError(
                    f"output {ours.name!r} of simulation and file differ: {ours.within:.2%} of it within the bound, "
                    f"top-1 equal in {same:.2%}; most often {worst.operator} differs at {worst.tensor!r}",
                    "train with a lower learning_rate, or keep this layer in float",
                )


def agreement(network: Any, file: bytes, graph: IntegerGraph, samples: Sequence[Array]) -> SimulationAgreement:
    """Compare a model of `integer_model` with its file, over real-valued `samples`, one array for each input.

    `file` takes and gives integers, as `with_integers` makes it; `graph` is the one that the network was made from.
    Raises RunError if the file cannot be run.
    """
    written = read_graph(file, graph.source)
    stored = [_stored(array, written, index) for array, index in zip(samples, graph.inputs, strict=True)]
    simulated = _simulated(network, samples, written)
    deployed, reference = (_run(file, stored, xnnpack) for xnnpack in (True, False))
    tensors = [written.tensors[index] for index in graph.outputs]
    return SimulationAgreement(
        len(samples[0]),
        tuple(_beside(*found) for found in zip(tensors, simulated, reference, deployed, strict=True)),
        tuple(_compared(*found) for found in zip(tensors, reference, deployed, strict=True)),
        tuple(_operators(network, file, written, [array[:_INNER_SAMPLES] for array in stored])),
    )


def _stored(array: Array, graph: IntegerGraph, index: int) -> Array:
    tensor = graph.tensors[index]
    if not tensor.quantized:
        return array.astype(tensor.dtype)
    low, high = LEVELS[tensor.dtype]
    whole = np.floor(array / np.float32(tensor.scales[0]) + np.float32(0.5)) + tensor.zero
    return np.asarray(np.clip(whole, low, high), tensor.dtype)


def _simulated(network: Any, samples: Sequence[Array], graph: IntegerGraph) -> list[Array]:
    run = import_tensorflow().function(lambda *x: call(network, x, training=False), autograph=False)
    found = [
        [np.asarray(output) for output in run(*(array[start : start + _BATCH] for array in samples))]
        for start in range(0, len(samples[0]), _BATCH)
    ]
    joined = [np.concatenate(arrays) for arrays in zip(*found, strict=True)]
    tensors = [graph.tensors[index] for index in graph.outputs]
    return [
        np.round(real / np.float32(t.scales[0])) + t.zero if t.quantized else real
        for real, t in zip(joined, tensors, strict=True)
    ]


def _run(file: bytes, stored: Sequence[Array], xnnpack: bool) -> tuple[Array, ...]:
    """Outputs for all samples, in batches where the file allows and gives the same for the first samples."""
    first = [array[:_INNER_SAMPLES] for array in stored]
    try:
        twin = infer(batched_twin(file), stored, batch=_BATCH, xnnpack=xnnpack).outputs
        alone = infer(file, first, xnnpack=xnnpack).outputs
    except RunError:
        return tuple(infer(file, stored, xnnpack=xnnpack).outputs)
    same = all(np.abs(a[: len(b)].astype(float) - b).max() <= 1 for a, b in zip(twin, alone, strict=True))
    return tuple(twin) if same else tuple(infer(file, stored, xnnpack=xnnpack).outputs)


def _beside(tensor: Tensor, ours: Array, reference: Array, deployed: Array) -> OutputAgreement:
    """A simulation against the deployed kernels, with the chance by which the reference kernels may come closer."""
    bound = _bound(tensor, deployed)
    shares = [(_off(one, deployed) <= bound).reshape(len(deployed), -1).mean(1) for one in (ours, reference)]
    chance = _SIGMAS * float(np.std(shares[1] - shares[0])) / len(deployed) ** 0.5
    return replace(_compared(tensor, ours, deployed), chance=chance)


def _off(ours: Array, theirs: Array) -> Array:
    return np.abs(ours.astype(np.float64) - theirs)


def _bound(tensor: Tensor, theirs: Array) -> float:
    return QUANTA.get(tensor.dtype, 1e-3 * float(np.abs(theirs).max(initial=0)))


def _compared(tensor: Tensor, ours: Array, theirs: Array) -> OutputAgreement:
    off, bound = _off(ours, theirs), _bound(tensor, theirs)
    flat = [values.reshape(len(values), -1) for values in (ours, theirs)]
    top1 = float((flat[0].argmax(1) == flat[1].argmax(1)).mean()) if flat[0].shape[1] > 1 else None
    return OutputAgreement(tensor.name, float((off <= bound).mean()), float(off.max()), top1)


def _operators(network: Any, file: bytes, graph: IntegerGraph, stored: Sequence[Array]) -> list[OperatorAgreement]:
    """Each operator alone, over some runs of the file."""
    written = {index for operator in graph.operators for index in operator.outputs} | set(graph.inputs)
    runs = [
        {index: _real(values, graph, index) for index, values in run.items() if index in written}
        for run in inner_values(file, stored)
    ]
    found = []
    for operator, *made in zip(graph.operators, *(operators_alone(network, run) for run in runs), strict=True):
        for index in operator.outputs:
            if index in graph.group_of and all(index in run for run in runs):
                ours, theirs = (np.stack([run[index] for run in several]) for several in (made, runs))
                found.append(_one(operator, graph.tensors[index], ours, theirs))
    return found


def _one(operator: Operator, tensor: Tensor, ours: Array, theirs: Array) -> OperatorAgreement:
    off = np.abs(ours - theirs) / tensor.scales[0]
    quanta, differing = float(off.max(initial=0)), float((off > 0.5).mean())
    return OperatorAgreement(tensor.name, operator.name, quanta, differing, QUANTA[tensor.dtype])


def _real(stored: Array, graph: IntegerGraph, index: int) -> Array:
    tensor = graph.tensors[index]
    if not tensor.quantized:
        return stored
    return (stored.astype(np.float32) - tensor.zero) * np.float32(tensor.scales[0])
