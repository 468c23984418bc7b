"""Agreement: a simulation, the file on this host and the file on a device, compared on the same samples.

Kernels may round differently by one quantum, and a network multiplies that: outputs of two sound runtimes lie several
quanta apart, and inner tensors tens. So nothing is read from how far two runs have drifted apart. One side runs the
file, and every tensor of it is kept; then the other side computes each operator alone, given what the first has put
into it. What differs by more than the bound is that operator's own doing, and the first in the order of execution is
where the two part. By induction two sides that agree so are the same function, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.data.parts import Part
from edgekit.errors import ModelError, RunError
from edgekit.host_agreement import TensorDifference, difference_of, quanta_apart, same_decisions
from edgekit.tflite.inspect import ModelContents, OperatorInfo, TensorInfo
from edgekit.verify import Outputs

Array = npt.NDArray[Any]
Values = dict[int, Array]

HYBRID = 500.0
"""What an operator of float values and int8 weights may differ by: 5 % of the range.

It rounds its inputs on the fly, and kernels do that by grids of their own: XNNPACK and the reference kernels differed
by 2 and 3 % in the two networks looked at (fer, MobileNetV2).
"""

COMPARED = 2
"""Samples on which operators are compared one by one: those whose outputs differ most."""


class OperatorDifference(Struct, frozen=True):
    """A tensor that two sides compute from the same inputs: by how many quanta at most they differ, and may differ.

    `beyond` is the share of its values that differ by more. A quantum is the scale of a quantized tensor, and a
    ten-thousandth of the range of any other.
    """

    index: int
    operator: str
    tensor: str
    quanta: float
    bound: float
    beyond: float


class Leg(Struct, frozen=True):
    """Two sides that should be one function: `one` beside `other`.

    `outputs` are compared over all samples as both run, `decisions` is the share of samples with the greatest value at
    the same place. `operators` are compared on `COMPARED` samples, each given the same inputs, in the order of
    execution. Where that cannot be done, or does not explain the outputs, `unseen` says so, and the outputs are judged.
    """

    one: str
    other: str
    samples: int
    outputs: tuple[TensorDifference, ...]
    decisions: float | None
    operators: tuple[OperatorDifference, ...] = ()
    unseen: str | None = None

    @property
    def parted(self) -> OperatorDifference | None:
        """The first operator that differs by more than its bound."""
        return next((found for found in self.operators if found.quanta > found.bound + 0.01), None)

    @property
    def same(self) -> bool:
        """Whether the two agree."""
        alike = all(output.quanta <= 1 for output in self.outputs)
        return self.parted is None and (alike or (self.unseen is None and bool(self.operators)))


class Agreements(Struct, frozen=True):
    """All that was compared of a file, and what could not be, with the reason."""

    model: str
    part: str
    samples: int
    legs: tuple[Leg, ...]
    left_out: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing parts."""
        return all(leg.same for leg in self.legs)


class Side(Protocol):
    """What computes the function of a file, whole."""

    @property
    def name(self) -> str:
        """In a few words, as `XNNPACK on this host`."""

    def outputs(self, part: Part) -> Outputs:
        """Real-valued outputs for all samples."""


class Running(Side, Protocol):
    """A side that can show its inner tensors."""

    def values(self, part: Part) -> Values:
        """What it computes between the operators, `[samples, ...]` as stored, by the index of the tensor."""


class Feedable(Side, Protocol):
    """A side that can compute each operator alone."""

    def alone(self, part: Part, values: Values) -> Values:
        """What it makes of given inputs of each operator, by the index of the tensor that the operator writes."""


def operators_compared(
    one: Feedable, other: Running, contents: ModelContents, bound: Callable[[TensorInfo], float]
) -> Callable[[Part], Iterator[OperatorDifference]]:
    """A look at some samples: `one` is fed with what `other` computes."""

    def look(part: Part) -> Iterator[OperatorDifference]:
        theirs = other.values(part)
        ours = one.alone(part, theirs)
        return _differences(contents, ours, theirs, bound)

    return look


def _differences(
    contents: ModelContents, ours: Values, theirs: Values, bound: Callable[[TensorInfo], float]
) -> Iterator[OperatorDifference]:
    for operator in contents.operators:
        for index in operator.outputs if operator.subgraph == 0 else ():
            if index in ours and index in theirs:
                tensor = contents.tensors[index]
                most = HYBRID if _hybrid(operator, tensor) else bound(tensor)
                yield compared(operator.index, operator.name, tensor, ours[index], theirs[index], most)


def _hybrid(operator: OperatorInfo, written: TensorInfo) -> bool:
    return bool(operator.macs) and operator.weight_dtype in ("int8", "int4") and written.dtype == "float32"


def compared(
    index: int, operator: str, tensor: TensorInfo, ours: Array, theirs: Array, bound: float
) -> OperatorDifference:
    """Two arrays of one tensor, as stored."""
    apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64).reshape(ours.shape))
    if tensor.scale is None:
        apart = apart / (1e-6 + 1e-4 * float(np.abs(theirs.astype(np.float64)).max(initial=0)))
    apart = np.where(np.isnan(apart), np.inf, apart)
    beyond = float((apart > bound + 0.01).mean()) if apart.size else 0.0
    return OperatorDifference(index, operator, tensor.name, float(apart.max(initial=0)), bound, beyond)


def leg(
    one: Side,
    other: Side,
    part: Part,
    tensors: Sequence[TensorInfo],
    look: Callable[[Part], Iterator[OperatorDifference]],
    always: bool = True,
) -> Leg:
    """Compare two sides: outputs over the whole part, then operators on the samples whose outputs differ most.

    Unless `always`, the operators are only looked at where an output differs by more than a quantum.
    """
    pair = one.outputs(part), other.outputs(part)
    apart = [quanta_apart(*found) for found in zip(tensors, *(side.arrays for side in pair), strict=True)]
    outputs = tuple(difference_of(*found) for found in zip(tensors, apart, strict=True))
    found, unseen = _looked(look, part, apart) if always or any(one.quanta > 1 for one in outputs) else ((), None)
    return Leg(one.name, other.name, len(part), outputs, same_decisions(*pair), found, unseen)


def _looked(
    look: Callable[[Part], Iterator[OperatorDifference]], part: Part, apart: Sequence[Array]
) -> tuple[tuple[OperatorDifference, ...], str | None]:
    by_sample = np.max([quanta.reshape(len(part), -1).max(1) for quanta in apart], axis=0)
    worst = np.sort(np.argsort(-by_sample, kind="stable")[:COMPARED])
    try:
        return tuple(look(part.select(worst))), None
    except (ModelError, RunError) as cause:
        return (), cause.problem
