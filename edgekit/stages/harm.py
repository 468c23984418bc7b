"""Harm: how far a network gets from what it said, and from the labels, when a part of it goes.

The change of the outputs is, over some samples,

    change = || y' - y || / || y - mean(y) ||

0 says nothing changed, 1 that the network might as well always give its mean. It needs no labels and, unlike the share
of right answers of a few hundred samples, has no steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edgekit.data.parts import Dataset, Part
from edgekit.errors import DataError, RecipeError
from edgekit.metrics import mean_value
from edgekit.stages import losses
from edgekit.stages.allocation import Curve
from edgekit.stages.probes import Probe, Values
from edgekit.talk import Say
from edgekit.tf import import_tensorflow

Array = npt.NDArray[Any]
_BATCH = 128
_FEWEST = 2


class Harm(Struct, frozen=True):
    """What happened when `share` of a part went: the metric (None where nothing is labelled), the change of outputs."""

    share: float
    value: float | None
    change: float


class Judge:
    """A network, compiled once, and the samples it is judged on: of the validation part, else of the train part.

    The test part is never looked at. `baseline` is the metric of the network as it came. Raises DataError where there
    is nothing to judge by, or an output is no number.
    """

    def __init__(self, network: Any, data: Dataset, samples: int) -> None:
        tf = import_tensorflow()
        size = network.inputs[0].shape[0]
        self.data, self.part = _judged_by(data, _chosen(data, samples, size or 1))
        self.metric = None if self.part.labels is None and self.data.task != "autoencoder" else self.data.metric
        self._batches = [[tf.constant(x) for x in batch] for batch in self.part.batches(size or _BATCH)]
        specs = [tf.TensorSpec([size, *x.shape[1:]], x.dtype) for x in self._batches[0]]
        self._run = tf.function(
            lambda *inputs: losses.call(network, inputs, training=False), input_signature=specs, autograph=False
        )
        self._wanted = self._outputs()
        if not _finite(self._wanted):
            raise DataError(
                f"{network.name!r} gives NaN or infinity for samples of the {self.part.name} part",
                "look for NaN or huge values in the data and the weights",
            )
        self.baseline = self._value(self._wanted)

    def harm(self, probe: Probe, share: float) -> Harm:
        """What happens when this share of a part goes; the network is as before afterwards.

        Raises RecipeError where the network gives NaN or infinity then.
        """
        with _assigned(probe.values(share)):
            outputs = self._outputs()
        if not _finite(outputs):
            raise RecipeError(
                f"sensitivity: without {share:.0%} of {probe.name!r} the network gives NaN or infinity",
                f"keep that layer whole: layers = [{{ pattern = {probe.name!r}, keep = true }}], or try others only",
            )
        return Harm(share, self._value(outputs), change_of(self._wanted, outputs))

    def _outputs(self) -> list[Array]:
        parts = [self._run(*batch) for batch in self._batches]
        return [np.concatenate([part.numpy() for part in output]) for output in zip(*parts, strict=True)]

    def _value(self, outputs: Sequence[Array]) -> float | None:
        judged = self.data.judged(self.part, outputs) if self.metric else None
        return None if judged is None or self.metric is None else mean_value(self.metric, *judged)


def change_of(wanted: Sequence[Array], outputs: Sequence[Array]) -> float:
    """The change from `wanted` to `outputs`, of the output that changes most; infinity where one is no number."""
    if not _finite([*wanted, *outputs]):
        return math.inf
    sizes = [
        (float(np.linalg.norm(now - then)), float(np.linalg.norm(then - then.mean(axis=0))))
        for now, then in zip(outputs, wanted, strict=True)
    ]
    return max(moved / spread if spread else float(moved > 0) for moved, spread in sizes)


def harms(judge: Judge, probes: Sequence[Probe], tried: Sequence[float], say: Say) -> list[tuple[Harm, ...]]:
    """What happens when each of the shares `tried` of each part goes."""
    found = []
    for number, probe in enumerate(probes):
        say(f"sensitivity: {number + 1} of {len(probes)}, {probe.name}")
        found.append(tuple(judge.harm(probe, share) for share in tried))
    return found


def curves(
    judge: Judge, probes: Sequence[Probe], tried: Sequence[float], cost: Callable[[Probe], float], say: Say
) -> list[Curve]:
    """The change of the outputs over the share of each part, measured at the shares `tried`, which rise."""
    return [
        Curve.of(cost(probe), tried, [harm.change for harm in found])
        for probe, found in zip(probes, harms(judge, probes, tried, say), strict=True)
    ]


@contextmanager
def _assigned(values: Values) -> Iterator[None]:
    before = [variable.numpy().copy() for variable, _ in values]
    try:
        for variable, value in values:
            variable.assign(value)
        yield
    finally:
        for (variable, _), value in zip(values, before, strict=True):
            variable.assign(value)


def _finite(outputs: Sequence[Array]) -> bool:
    return all(bool(np.isfinite(output).all()) for output in outputs)


def _chosen(data: Dataset, samples: int, multiple: int) -> Part:
    """Samples of the first part that is for choosing, as many as whole batches hold."""
    part = next((part for part in (data.validation, data.train, data.calibration) if part is not None), None)
    if part is None or len(part) < max(_FEWEST, multiple):
        have = ", ".join(f"{part.name} ({len(part)})" for part in data.parts)
        raise DataError(
            f"sensitivity is judged on validation samples, and the data has only {have}",
            "give x_validation or x_train (docs/data.md); the test part is for the end",
        )
    return part.take(max(min(samples, len(part)) // multiple, 1) * multiple)


def _judged_by(data: Dataset, part: Part) -> tuple[Dataset, Part]:
    """An autoencoder is judged by what it rebuilds: what anomalies look like is for the test part."""
    if data.task != "autoencoder":
        return data, part
    return replace(data, spec=msgspec.structs.replace(data.spec, metric="mse")), replace(part, labels=None)
