"""Adaptive rounding: weights move by less than a quantum, layers come nearer to float, and the same each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import patients
import pytest

from edgekit.doctor.adaptive_rounding import round_adaptively
from edgekit.doctor.patches import fits, patches_of
from edgekit.doctor.stepwise import Walk, real_of, steps_of
from edgekit.errors import ModelError
from edgekit.stages.calibrate import calibrate
from edgekit.stages.inner_values import inner_values
from edgekit.stages.integer_graph import WEIGHTED, IntegerGraph, read_graph
from edgekit.stages.integer_ops import kernel_layout
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.numbers import to_stored

Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="module")
def windows(once: Once, tmp_path_factory: pytest.TempPathFactory) -> patients.Net:
    """An untrained network with every kind of window that a patch is cut with."""
    return patients.net(once, patients.windows, patients.digits_arrays(), tmp_path_factory.mktemp("windows"))


@pytest.fixture(scope="module", params=["per-tensor", "per-channel"])
def rounded(request: pytest.FixtureRequest, windows: patients.Net) -> tuple[bytes, bytes, patients.Net]:
    """A file, and with its weights rounded adaptively."""
    file = windows.int8(request.param)
    return file, round_adaptively(file, windows.file, [windows.arrays["x_train"][:60]], iterations=200), windows


def test_a_walk_computes_what_the_runtime_computes(windows: patients.Net) -> None:
    """To one quantum, given the runtime's own values: that multiplies by fixed-point numbers."""
    file, samples = windows.int8(), windows.arrays["x_test"][:4]
    graph = read_graph(file, windows.file)
    walk = Walk(graph, [samples])
    runs = inner_values(file, [to_stored(samples, read_contents(file).inputs[0])])
    for operator in graph.operators:
        walk.step(operator)
        for tensor in (graph.tensors[index] for index in operator.outputs):
            stored = np.concatenate([run[tensor.index] for run in runs]).astype(np.float32)
            real = (stored - tensor.zero) * tensor.scales[0]
            off = np.abs(walk.values[tensor.index].numpy() - real) / tensor.scales[0]
            assert off.max() < 1.01, operator
            assert off.mean() < 0.3, operator
            walk.values[tensor.index] = real


def test_a_walk_lets_go_of_what_nobody_reads_any_more(windows: patients.Net) -> None:
    graph = read_graph(windows.file, windows.file)
    walk = Walk(graph, [windows.arrays["x_test"][:2]])
    for operator in graph.operators:
        walk.step(operator)
    assert {*walk.values} == {*graph.outputs}


def test_patches_are_the_layer(windows: patients.Net) -> None:
    """With its own kernel and bias each float layer leaves nothing: strides, paddings, dilations, multipliers."""
    graph = read_graph(windows.file, windows.file)
    walk, seen = Walk(graph, [windows.arrays["x_test"][:3]]), []
    for operator in graph.operators:
        read = walk.read(graph.tensors[operator.inputs[0]], operator)
        walk.step(operator)
        if fits(graph, operator):
            kernel, bias = (real_of(graph.tensors[index]) if index >= 0 else 0.0 for index in operator.inputs[1:])
            patches = patches_of(operator, kernel.shape[1:3], read, walk.values[operator.outputs[0]])
            layout = kernel_layout(operator.name, kernel, operator.options)
            assert patches.noise(layout, bias) < 1e-8 * np.square(patches.truth).sum(-1).mean()
            assert patches.noise(layout * 1.1, bias) > 1e-4 * np.square(patches.truth).sum(-1).mean()
            seen.append(operator.name)
    weighted = [operator.name for operator in graph.operators if operator.name in WEIGHTED]
    assert {*seen} == {*weighted} == {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert len(weighted) == len(seen) + 1  # the one with groups


def _constants(file: bytes, net: patients.Net, role: str) -> dict[int, np.ndarray]:
    constants = read_graph(file, net.file).constants
    return {index: one.tensor.data for index, one in constants.items() if one.role == role}


def test_a_weight_becomes_one_of_its_two_neighbours(rounded: tuple[bytes, bytes, patients.Net]) -> None:
    before, after, net = rounded
    graph = read_graph(before, net.file)
    kernels = [_constants(file, net, "kernel") for file in (before, after)]
    moved = 0
    for index, whole in kernels[1].items():
        exact = graph.constants[index].value / steps_of(graph.tensors[index])
        assert np.abs(whole - exact).max() < 1
        assert np.abs(whole.astype(int) - kernels[0][index]).max() <= 1
        moved += int((whole != kernels[0][index]).sum())
    assert moved


def test_nothing_else_changes_but_biases(rounded: tuple[bytes, bytes, patients.Net]) -> None:
    before, after, net = rounded
    graphs = [read_graph(file, net.file) for file in (before, after)]
    free = {index for index, one in graphs[0].constants.items() if one.role in ("kernel", "bias")}
    for one, other in zip(*(graph.tensors for graph in graphs), strict=True):
        assert replace(one, data=None) == replace(other, data=None) or _same(one, other)
        assert one.index in free or one.data is None or (one.data == other.data).all()


def _same(one: object, other: object) -> bool:
    names = ("index", "name", "shape", "dtype", "scales", "zero", "axis")
    return all(getattr(one, name) == getattr(other, name) for name in names)


@pytest.mark.parametrize("granularity", ["per-tensor", "per-channel"])
def test_the_output_comes_nearer_to_float_on_other_samples(granularity: str, windows: patients.Net) -> None:
    """With activations of 16 bits and nothing cut off the rounding of weights is all that is lost."""
    samples = [windows.arrays["x_train"][:100]]
    seen = [np.concatenate([samples[0], windows.arrays["x_test"][:64]])]
    stage = Quantize("int16x8", granularity, granularity, "float32", "litert")
    file = quantize(Source(windows.file, calibrate(windows.file, seen, "minmax", 16)), stage)
    after = round_adaptively(file, windows.file, samples, iterations=200)
    assert _noise(after, windows) < 0.7 * _noise(file, windows)


def _noise(file: bytes, net: patients.Net) -> float:
    """The noise of the output to the signal, on samples of the test part."""
    ends = []
    for one in (net.file, file):
        graph = read_graph(one, net.file)
        walk = Walk(graph, [net.arrays["x_test"][:64]])
        for operator in graph.operators:
            walk.step(operator)
        ends.append(walk.values[graph.outputs[0]].numpy())
    return float(np.square(ends[0] - ends[1]).sum() / np.square(ends[0]).sum())


def test_the_same_file_each_time(windows: patients.Net) -> None:
    file, samples = windows.int8("per-tensor"), [windows.arrays["x_train"][:20]]
    once, twice = (round_adaptively(file, windows.file, samples, iterations=50) for _ in range(2))
    assert once == twice != file


def test_what_is_no_nearer_on_other_samples_is_not_taken(windows: patients.Net) -> None:
    """Two samples are too few to learn from."""
    file = windows.int8("per-tensor")
    after = round_adaptively(file, windows.file, [windows.arrays["x_train"][:2]], iterations=50)
    assert _noise(after, windows) < 1.5 * _noise(file, windows)


def test_an_operator_without_a_rule_is_refused(windows: patients.Net) -> None:
    graph: IntegerGraph = read_graph(windows.file, windows.file)
    strange = replace(graph, operators=(replace(graph.operators[0], name="WHILE"), *graph.operators[1:]))
    with pytest.raises(ModelError, match="no rule to compute the operator WHILE"):
        Walk(strange, [windows.arrays["x_test"][:2]])
