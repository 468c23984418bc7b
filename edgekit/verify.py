"""Verify: run a deployed file on a whole part of the data, in batches, and judge it beside the float model.

The file itself is judged, with the runtime that deploys it. For speed its batched twin is run, after a few samples
have shown that twin and file give the same outputs; where they do not, the file is run a batch of its own at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from msgspec import Struct

from edgekit.answers import Answers, answers
from edgekit.bench.plan import Plan
from edgekit.bench.result import Delegation
from edgekit.bench.run import infer
from edgekit.dataset import Dataset, Part
from edgekit.device.protocol import Device
from edgekit.errors import DataError, RunError
from edgekit.formulas import decisions
from edgekit.metrics import Agreement, Difference, Score, agreement, paired_differences, scores, top_k
from edgekit.tflite.batch import batched_twin
from edgekit.tflite.inspect import ModelContents, TensorInfo, read_contents
from edgekit.tflite.numbers import to_real, to_stored

Array = np.ndarray[Any, Any]

Judged = tuple[tuple[Array, ...], tuple[Array, ...]]

_PROBES = 8
_CHUNK_BYTES = 256 << 20


class Outputs(Struct, frozen=True):
    """Real-valued outputs of a file over a part: one `[samples, ...]` array for each output, and how they were made.

    `delegations` has what the delegate that was asked for took, XNNPACK after it; empty where the runtime is silent.
    """

    arrays: tuple[Array, ...]
    batch: int
    runtime: str
    delegations: tuple[Delegation, ...] = ()


class Verification(Struct, frozen=True):
    """A deployed file beside the float model it came from, over the same samples.

    `differences` are deployed minus float. Without labels there is no score, only agreement. `answers` has one entry
    for each judged output of a classifier that is judged by accuracy or top<k> on two samples or more, and is else
    empty. `part` is the part of the data that judged it.
    """

    samples: int
    runtime: str
    batch: int
    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    agreement: Agreement
    answers: tuple[Answers, ...] = ()
    part: str = "test"


def run_file(
    model: bytes,
    part: Part,
    *,
    batch: int = 64,
    plan: Plan | None = None,
    device: Device | None = None,
) -> Outputs:
    """Run a TFLite file on every sample of `part`; quantized inputs and outputs are scaled here.

    The plan says with which runtime, threads, cores and delegate. `device` must be open; without one this machine is
    used. Raises RunError if the runtime cannot run it, DataError if the samples do not fit its inputs, DeviceError.
    """
    single, chunks = _Runner(model, 1, read_contents(model), plan or Plan(), device), part.batches(_chunk(part))
    first = next(chunks)
    runner, begun = _fastest(single, first, batch) if batch > 1 and len(part) > _PROBES else (single, single(first))
    done = [begun, *map(runner, chunks)]
    arrays = tuple(np.concatenate(column) for column in zip(*(chunk.arrays for chunk in done), strict=True))
    return Outputs(arrays, runner.batch, begun.runtime, begun.delegations)


def verify(data: Dataset, part: Part, reference: Sequence[Array], outputs: Outputs) -> Verification:
    """Score a file's outputs over `part`, and their difference from the float model's on the same samples."""
    before, after, metric = data.judged(part, reference), data.judged(part, outputs.arrays), data.metrics
    found: tuple[Score, ...] = ()
    differences: tuple[Difference, ...] = ()
    if metric and before and after:
        found = tuple(scores(metric, *after, data.output_names))
        differences = tuple(paired_differences(metric, after[0], before[1], after[1]))
    same = agreement(reference, outputs.arrays, [data.task_of(place) for place in range(len(reference))])
    told = tuple(_answers(data, before, after))
    return Verification(len(part), outputs.runtime, outputs.batch, found, differences, same, told, part.name)


def _answers(data: Dataset, before: Judged | None, after: Judged | None) -> Iterator[Answers]:
    """The answers to each label of one class a sample; a metric of the user's own may take labels of any kind."""
    if not before or not after:
        return
    for place, (y, a, b) in enumerate(zip(before[0], before[1], after[1], strict=True)):
        task, metric = (data.heads[place].task, data.heads[place].metric) if data.heads else (data.task, data.metric)
        by_class = task == "classification" and metric and (metric == "accuracy" or top_k(metric))
        if by_class and len(y) > 1 and decisions(y, a)[0].ndim == 1:
            yield answers(y, a, b)


@dataclass(frozen=True)
class _Runner:
    """Runs samples through one file (or its twin), a batch at a time."""

    model: bytes
    batch: int
    summary: ModelContents
    plan: Plan
    device: Device | None

    def __call__(self, inputs: Sequence[Array]) -> Outputs:
        if len(inputs) != len(self.summary.inputs):
            raise DataError(
                f"the data has {len(inputs)} inputs, the model {len(self.summary.inputs)}",
                f"give one array for each of: {', '.join(tensor.name for tensor in self.summary.inputs)}",
            )
        stored = [to_stored(array, tensor) for array, tensor in zip(inputs, self.summary.inputs, strict=True)]
        done = infer(self.model, stored, batch=self.batch, device=self.device, **self.plan.running)
        real = (to_real(array, tensor) for array, tensor in zip(done.outputs, self.summary.outputs, strict=True))
        runtime = f"{done.runtime.name} {done.runtime.version}"
        return Outputs(tuple(real), self.batch, runtime, done.delegations)


def _fastest(single: _Runner, inputs: Sequence[Array], batch: int) -> tuple[_Runner, Outputs]:
    """The twin where it can run and agrees with the file on the first samples, else the file; and its outputs."""
    expected = single([array[:_PROBES] for array in inputs])
    twin = replace(single, model=batched_twin(single.model), batch=batch)
    try:
        found = twin(inputs)
    except RunError:  # another constant holds the batch; the file itself is still right
        return single, single(inputs)
    tolerances = [quantum(tensor, array) for tensor, array in zip(single.summary.outputs, expected.arrays, strict=True)]
    probed = [array[:_PROBES] for array in found.arrays]
    pairs = zip(expected.arrays, probed, tolerances, strict=True)
    alike = all(a.shape == b.shape and np.abs(a.astype(np.float64) - b).max(initial=0) <= t for a, b, t in pairs)
    return (twin, found) if alike else (single, single(inputs))


def quantum(tensor: TensorInfo, expected: Array) -> float:
    """What two runs of one file may differ by: one quantum, or a ten-thousandth of a float output's range."""
    return tensor.scale * 1.01 if tensor.scale else 1e-6 + 1e-4 * float(np.abs(expected.astype(float)).max(initial=0))


def _chunk(part: Part) -> int:
    """Samples whose inputs fill about 256 MiB as float32."""
    sample = sum(array[:1].size * 4 for array in part.inputs)
    return max(1, _CHUNK_BYTES // max(sample, 1))
