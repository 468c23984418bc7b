"""Measures: the rungs of the ladder, the cheapest first, as far as a target permits them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec

from edgekit.doctor.adaptive_rounding import ITERATIONS
from edgekit.doctor.equalize import equalize
from edgekit.doctor.workshop import CALIBRATION, State, Tried, Workshop
from edgekit.errors import ModelError
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.training import Training
from edgekit.target import Target

_METHODS = ("minmax", "mse", "percentile:99.99")
_ISLANDS = (1, 2, 4)
_EPOCHS = 3
_STEPS = 200

Change = Callable[[Workshop, State, Tried | None], State]


@dataclass(frozen=True)
class Measure:
    """One rung: its name, what it makes of a state (given the best file so far, if any runs), and what it costs."""

    name: str
    change: Change
    note: str


def measures(target: Target | None) -> Iterator[Measure]:
    """The ladder for a target; without one, for a processor that runs everything by XNNPACK, as this host."""
    for method in _METHODS:
        yield Measure(f"calibrate: {method}", _calibrated(method), f"{CALIBRATION} samples")
    yield Measure("equalize", lambda _, state, __: replace(state, source=equalize(state.source)), "exact in float")
    yield Measure("correct biases", lambda _, state, __: replace(state, corrected=True), "costs nothing to run")
    yield Measure("round adaptively", lambda _, state, __: replace(state, rounded=True), f"{ITERATIONS} steps a layer")
    yield from _finer(target)
    yield from _wider(target)
    yield from _islands(target)
    yield Measure(f"train: {_EPOCHS} epochs", _trained, "all in integers, on the train part")


def _calibrated(method: str) -> Change:
    return lambda _, state, __: replace(state, method=method)


def _finer(target: Target | None) -> Iterator[Measure]:
    convolutions = target is None or "per-channel" in target.numerics.granularity
    dense = target is None or "per-channel" in target.numerics.dense_granularity
    if convolutions:
        yield Measure("per-channel weights", _per_channel("granularity"), "a scale for each channel")
    if dense:
        yield Measure("per-channel dense weights", _per_channel("dense_granularity"), "a scale for each output")


def _per_channel(key: str) -> Change:
    def change(_: Workshop, state: State, __: Tried | None) -> State:
        if getattr(state.stage, key) == "per-channel":
            raise ModelError("the weights are per-channel already")
        return replace(state, stage=msgspec.structs.replace(state.stage, **{key: "per-channel"}))

    return change


def _wider(target: Target | None) -> Iterator[Measure]:
    """Activations of 16 bits, with inputs and outputs of the same kind as they were where the target has it.

    Not by XNNPACK, which has no kernels for them: those of reference take 17 ms for a ResNet-8 that takes 0.19 ms in
    float and 0.06 ms in int8 (x86-64, ai-edge-litert 2.3, one thread).
    """
    if target is not None and "int16x8" not in target.numerics.schemes:
        return
    integers = "int16" if target is None or "int16" in target.numerics.io else "float32"

    def change(_: Workshop, state: State, __: Tried | None) -> State:
        if target is None or "xnnpack" in target.runtime.delegates:
            raise ModelError("not tried: XNNPACK has no 16-bit kernels, and the others take longer than float")
        io = "float32" if state.stage.io == "float32" else integers
        return replace(state, stage=msgspec.structs.replace(state.stage, scheme="int16x8", io=io, engine="litert"))

    yield Measure("16-bit activations", change, f"twice the working memory; integer inputs become {integers}")


def _islands(target: Target | None) -> Iterator[Measure]:
    if target is None or "float32" in target.numerics.schemes:
        for count in _ISLANDS:
            yield Measure(f"{count} in float", _island(count), "slower where the target is fast in integers only")


def _island(count: int) -> Change:
    def change(shop: Workshop, state: State, best: Tried | None) -> State:
        made = best if best is not None and best.state is state else shop.tried(replace(state, keep=()))
        return replace(state, keep=(*state.keep, *(n for n in shop.worst(made, count) if n not in state.keep)))

    return change


def _trained(shop: Workshop, state: State, _: Tried | None) -> State:
    """A few epochs, more where there are so few samples that these would be less than 200 steps."""
    train = shop.data.train
    if train is None or train.labels is None:
        raise ModelError("needs a train part with labels", "give x_train and y_train")
    steps = max(len(train) // Training().batch_size, 1)
    training = Training(epochs=max(_EPOCHS, math.ceil(_STEPS / steps)), learning_rate=1e-4)
    return replace(state, keep=(), training=QuantizeAware(training=training))
