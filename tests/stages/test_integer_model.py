"""The simulation of an integer file: it is read from the file, computes what the file computes, and writes it again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import architectures
import numpy as np
import pytest
import tiny_models

from edgekit.bench.run import infer
from edgekit.errors import ModelError, RunError
from edgekit.graph.unroll import unrolled
from edgekit.stages.agreement import OperatorAgreement, OutputAgreement, SimulationAgreement, agreement
from edgekit.stages.calibrate import calibrate
from edgekit.stages.integer_file import with_integers
from edgekit.stages.integer_graph import IntegerGraph, read_graph
from edgekit.stages.integer_model import integer_model, integers_of
from edgekit.stages.integer_weights import weights_of
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.stages.quantize_aware import lowered
from edgekit.tf import import_keras
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.surgery import without_negation

Array = np.ndarray[Any, Any]
NUMERICS = Quantize("int8", granularity="per-channel", dense_granularity="per-channel", io="int8", engine="converter")
FAST = ("conv1d", "unet", "two_in_two_out")
SMALL = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet8", "vit", "nested", "shared"))]


@pytest.fixture(scope="module")
def built() -> Callable[[str], tuple[Any, IntegerGraph, list[Array]]]:
    """A random architecture, its integer graph, and samples."""
    found: dict[str, tuple[Any, IntegerGraph, list[Array]]] = {}

    def make(name: str) -> tuple[Any, IntegerGraph, list[Array]]:
        if name not in found:
            model = architectures.build(name)
            samples = [np.asarray(x) for x in import_keras().tree.flatten(architectures.samples(model, 32))]
            start = without_negation(lowered(model))
            ranges = calibrate(start, samples)
            found[name] = model, read_graph(quantize(Source(start, ranges), NUMERICS), start), samples
        return found[name]

    return make


@pytest.mark.parametrize("name", SMALL)
def test_each_operator_computes_what_the_kernels_compute(name: str, built: Any) -> None:
    model, graph, samples = built(name)
    simulation = integer_model(graph, weights_of(graph, model))
    found = agreement(simulation, with_integers(graph, integers_of(simulation)), graph, samples)
    assert found.parted is None
    assert max(one.quanta for one in found.operators) <= 1.01
    assert {operator.name for operator in graph.operators} == {one.operator for one in found.operators}
    assert all(tensor.dtype != "float32" for tensor in graph.tensors)


@pytest.mark.parametrize("name", SMALL)
def test_untrained_integers_are_those_of_the_quantizer(name: str, built: Any) -> None:
    model, graph, _ = built(name)
    simulation = integer_model(graph, weights_of(graph, model))
    again = read_graph(with_integers(graph, integers_of(simulation)), graph.source)
    for old, new in zip(graph.tensors, again.tensors, strict=True):
        assert old.shape == new.shape
        if old.quantized and (old.data is None or old.data.any()):
            assert old.zero == new.zero
            np.testing.assert_allclose(old.scales, new.scales, rtol=1e-6)
        if old.data is not None and old.data.any():
            assert np.abs(old.data.astype(np.int64) - new.data).max() <= 1
            assert (old.data != new.data).sum() <= max(1, 0.01 * old.data.size)


def test_untrained_scales_of_int16_are_those_of_the_quantizer() -> None:
    model = architectures.build("conv1d")
    samples = [np.asarray(x) for x in import_keras().tree.flatten(architectures.samples(model, 8))]
    start = without_negation(lowered(model))
    wide = Quantize("int16x8", granularity="per-channel", dense_granularity="per-channel", io="int16", engine="litert")
    graph = read_graph(quantize(Source(start, calibrate(start, samples, "minmax", 16)), wide), start)
    grids = integers_of(integer_model(graph, weights_of(graph, model))).grids
    kept = [graph.tensors[group[0]].scales[0] for group in graph.groups]
    np.testing.assert_allclose([scale for scale, _ in grids], kept, rtol=1e-6)


def test_same_scale_operators_share_a_range_and_fixed_outputs_keep_theirs(built: Any) -> None:
    _, graph, _ = built("unet")
    joined = next(op for op in graph.operators if op.name == "CONCATENATION")
    assert len({graph.group_of[index] for index in (*joined.inputs, *joined.outputs)}) == 1
    logistic = next(op for op in graph.operators if op.name == "LOGISTIC")
    assert graph.fixed[graph.group_of[logistic.outputs[0]]]
    assert sum(graph.fixed) == 1


def test_weights_are_those_of_the_keras_layers_times_the_folded_scales(built: Any) -> None:
    model, graph, _ = built("unet")
    weights, (first, norm) = weights_of(graph, model), model.layers[1:3]
    found = weights[next(c.source for c in graph.constants.values() if c.role == "kernel")]
    np.testing.assert_array_equal(found.value, np.asarray(first.kernel))
    expected = np.asarray(norm.gamma) / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    np.testing.assert_allclose(found.unit.ravel(), expected, rtol=1e-4)


def test_negation_is_a_product_with_minus_one() -> None:
    file, sample = tiny_models.negative((1, 4), 2), [np.array([[1.0, -2.0, 0.0, 3.5]], np.float32)]
    found = without_negation(file)
    assert [operator.name for operator in read_contents(found).operators] == ["MUL", "MUL"]
    np.testing.assert_array_equal(infer(found, sample).outputs[0], infer(file, sample).outputs[0])


def test_a_loop_is_named_with_the_way_out() -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.LSTM(5, name="memory"), keras.layers.Dense(2)])
    start = lowered(model)
    ranges = calibrate(start, [np.random.default_rng(0).normal(size=(8, 6, 4)).astype(np.float32)])
    graph = read_graph(quantize(Source(start, ranges), NUMERICS), start)
    weights = weights_of(graph, model)
    with pytest.raises(ModelError, match="WHILE") as found:
        integer_model(graph, weights)
    assert "unroll=True" in found.value.mend


def test_an_operator_that_nothing_is_known_of_is_named_with_the_ways_out() -> None:
    file = tiny_models.custom()
    graph = read_graph(file, file)
    with pytest.raises(ModelError, match=r"no rule to train through the operator Unheard \('y'\)") as found:
        integer_model(graph, {})
    assert "post-training int8" in found.value.mend


def test_unrolled_steps_compute_what_the_kernels_compute() -> None:
    keras = import_keras()
    layers = [keras.layers.Bidirectional(keras.layers.LSTM(3)), keras.layers.Dense(2)]
    model = unrolled(keras.Sequential([keras.Input((3, 4)), *layers]))
    start, samples = lowered(model), [np.random.default_rng(0).normal(size=(32, 3, 4)).astype(np.float32)]
    graph = read_graph(quantize(Source(start, calibrate(start, samples)), NUMERICS), start)
    simulation = integer_model(graph, weights_of(graph, model))
    found = agreement(simulation, with_integers(graph, integers_of(simulation)), graph, samples)
    assert "REVERSE_V2" not in {one.operator for one in found.operators if one.quanta > 1.01}
    found.accept()


def test_a_difference_names_the_first_tensor() -> None:
    same = OutputAgreement("out", 1.0, 0.0, 1.0)
    operators = (
        OperatorAgreement("a", "CONV_2D", 1.0, 0.01, 2.0),
        OperatorAgreement("b", "ADD", 3.0, 0.5, 2.0),
        OperatorAgreement("c", "MUL", 9.0, 0.5, 2.0),
    )
    with pytest.raises(RunError, match=r"part at 'b' \(ADD\): 3 quanta"):
        SimulationAgreement(512, (same,), (same,), operators).accept()
    bad = OutputAgreement("out", 0.9, 5.0, 0.9)
    with pytest.raises(RunError, match=r"'out'.*90.00%.*CONV_2D differs at 'a'"):
        SimulationAgreement(512, (bad,), (same,), operators[:1]).accept()
    SimulationAgreement(512, (bad,), (bad,), operators[:1]).accept()


@pytest.mark.parametrize(("chance", "accepted"), [(0.0035, True), (0.001, False), (0.0, False)])
def test_a_simulation_may_be_less_close_than_the_kernels_by_chance_only(chance: float, accepted: bool) -> None:
    ours, theirs = OutputAgreement("out", 0.9896, 69.0, 0.996, chance), OutputAgreement("out", 0.9910, 68.0, 0.994)
    with nullcontext() if accepted else pytest.raises(RunError, match="differ"):
        SimulationAgreement(512, (ours,), (theirs,), (OperatorAgreement("a", "MEAN", 1.0, 0.5, 2.0),)).accept()


def test_no_chance_helps_where_the_kernels_agree() -> None:
    ours, theirs = OutputAgreement("out", 0.9985, 5.0, 1.0, 0.01), OutputAgreement("out", 0.9995, 5.0, 1.0)
    with pytest.raises(RunError, match="differ"):
        SimulationAgreement(512, (ours,), (theirs,), (OperatorAgreement("a", "MEAN", 1.0, 0.5, 2.0),)).accept()
