"""What is said of TFLite Micro is true: the interpreter runs what is taken, and refuses what is not."""

from __future__ import annotations

import importlib.util
import itertools
import random
from pathlib import Path

import flatbuffers
import interpreter
import made_graphs
import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from operator_files import CODES, SPECS, one_operator

from edgekit.errors import ModelError
from edgekit.forecast.micro import forecast_micro
from edgekit.forecast.placement import Forecast, Placement
from edgekit.operators import load_table
from edgekit.tflite.graph import read_graph

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="the package tflite-micro is not installed"
)
TABLE = load_table("tflite-micro")
UNFED = "uint16"
"""The Python interface of the interpreter cannot fill an input of this type."""
Case = tuple[str, tuple[str, ...], str]


def forecast(model: bytes) -> Forecast:
    return forecast_micro(read_graph(model))


def only(model: bytes) -> Placement:
    (placement,) = forecast(model).placements
    return placement


def promised(name: str) -> list[Case]:
    """The operator in all combinations of types that its kernels are said to take; what is not said is int32."""
    found, count = set(), len(SPECS[name].inputs)
    for signature in TABLE.operators[name].signatures() or ("float32 -> float32",):
        reads, _, writes = signature.replace("any", "float32").partition(" -> ")
        wanted = reads.split(", ")
        wanted = wanted[:-1] + wanted[-2:-1] * count if wanted[-1] == "..." else [*wanted, *["int32"] * count]
        choices = [choice.split("|") for choice in (*wanted[:count], writes or wanted[0])]
        found |= {(name, one[:-1], one[-1]) for one in itertools.product(*choices) if UNFED not in one}
    return sorted(found)


def unpromised(name: str) -> list[Case]:
    """The same with another type in the place of that of the first activation, and of all that share it."""
    fed = [place for place, shape in enumerate(SPECS[name].inputs) if isinstance(shape, tuple)]
    turned = {_turned(case, fed, other) for case in promised(name) for other in CODES.keys() - {"int4", UNFED}}
    return sorted(turned - {*promised(name)})


def _turned(case: Case, fed: list[int], other: str) -> Case:
    name, inputs, output = case
    kind = inputs[fed[0]] if fed else output
    changed = [other if place in fed and one == kind else one for place, one in enumerate(inputs)]
    return name, tuple(changed), other if output == kind else output


def asked(cases: list[Case], folder: Path) -> list[tuple[Case, Placement, str]]:
    """(case, what the forecast says, what the interpreter says)."""
    files = [one_operator(*case) for case in cases]
    said = interpreter.refusals(files, folder)
    return [(case, only(file), words) for case, file, words in zip(cases, files, said, strict=True)]


@needs_package
def test_one_kernel_of_each_operator_runs(tmp_path: Path) -> None:
    first = [min(promised(name), key=lambda case: "int8" not in case[1]) for name in SPECS]
    wrong = [(case, words) for case, placement, words in asked(first, tmp_path) if words or not placement.taken]
    assert not wrong


@needs_package
@pytest.mark.slow
def test_every_kernel_runs(tmp_path: Path) -> None:
    every = [case for name in SPECS for case in promised(name)]
    wrong = [(case, words) for case, placement, words in asked(every, tmp_path) if words or not placement.taken]
    assert not wrong


@needs_package
@pytest.mark.parametrize(
    "names", [["RSQRT", "GREATER", "SPLIT"], pytest.param([*SPECS], marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_other_types_are_refused(names: list[str], tmp_path: Path) -> None:
    cases = [case for name in names for case in unpromised(name)]
    found = asked(cases, tmp_path)
    assert not [case for case, placement, words in found if placement.taken and words]
    silent = {case[0] for case, placement, words in found if not words and not placement.taken}
    assert silent <= UNCHECKED | NEWER


UNCHECKED = {
    *("EQUAL", "NOT_EQUAL", "LOGICAL_AND", "LOGICAL_OR", "PRELU", "TRANSPOSE_CONV"),
    *("SPLIT", "SPLIT_V", "PAD", "PADV2"),
}
"""Kernels that do not look at the type of some tensor, and read its bytes as another one: refused here."""

NEWER = {"CAST"}
"""Takes bool to bool since the commit that the table cites."""


@needs_package
def test_real_files_run_as_forecast(shared_data: Path, tmp_path: Path) -> None:
    files = [path.read_bytes() for path in sorted((shared_data / "models").rglob("*.tflite"))]
    said = interpreter.refusals(files, tmp_path)
    assert [forecast(file).partitions for file in files] == [int(not words) for words in said]
    assert 5 < sum(not words for words in said) < len(said)


def computed_permutation() -> bytes:
    graph = tiny_models.Graph()
    x, order, y = graph.tensor("x", (2, 3)), graph.tensor("order", (2,), CODES["int32"]), graph.tensor("y", (3, 2))
    graph.operator(schema.BuiltinOperator.TRANSPOSE, [x, order], [y])
    return graph.bytes([x, order], [y])


def appended_permutation() -> bytes:
    """The same with a constant order that lies behind the flatbuffer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(computed_permutation()), 0))
    model.subgraphs[0].inputs = [0]
    model.subgraphs[0].tensors[1].buffer, end = len(model.buffers), 4096
    model.buffers.append(schema.BufferT(offset=end, size=8))
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()).ljust(end, b"\0") + np.array([1, 0], np.int32).tobytes()


def deep_slice(dimensions: int = 5) -> bytes:
    graph, shape = tiny_models.Graph(), (2,) * dimensions
    x, y = graph.tensor("x", shape), graph.tensor("y", shape)
    ends = [graph.constant(f"c{value}", np.full(dimensions, value, np.int32)) for value in (0, 2, 1)]
    graph.operator(schema.BuiltinOperator.STRIDED_SLICE, [x, *ends], [y])
    graph.graph.operators[0].builtinOptionsType = schema.BuiltinOptions.StridedSliceOptions
    graph.graph.operators[0].builtinOptions = schema.StridedSliceOptionsT()
    return graph.bytes([x], [y])


def joined(inputs: int = 2, activation: int = 0, scale: float = 0.1) -> bytes:
    graph = tiny_models.Graph()
    tensors = [graph.tensor(f"x{index}", (1, 4), CODES["int8"], scale) for index in range(inputs)]
    y = graph.tensor("y", (1, 4 * inputs), CODES["int8"], 0.1)
    graph.operator(schema.BuiltinOperator.CONCATENATION, tensors, [y])
    options = schema.ConcatenationOptionsT()
    options.axis, options.fusedActivationFunction = 1, activation
    graph.graph.operators[0].builtinOptionsType = schema.BuiltinOptions.ConcatenationOptions
    graph.graph.operators[0].builtinOptions = options
    return graph.bytes(tensors, [y])


RULES = {
    "computed-parameter": computed_permutation(),
    "appended-constant": appended_permutation(),
    "unsupported-rank": deep_slice(),
    "too-many-inputs": joined(inputs=11),
    "fused-activation": joined(activation=1),
    "different-scales": joined(scale=0.2),
    "custom-operator": tiny_models.custom(),
    "unsupported-operator": tiny_models.wide((2, 2)),
    "hybrid": one_operator("CONV_2D", ("float32", "int8"), "float32"),
    "unsupported-type": one_operator("DEQUANTIZE", ("float16",), "float32"),
}


@needs_package
@pytest.mark.parametrize("code", RULES)
def test_each_rule_is_one_of_the_interpreter(code: str, tmp_path: Path) -> None:
    found = forecast(RULES[code])
    assert [placement.code for placement in found.left] == [code]
    assert (found.partitions, found.unit) == (0, "micro")
    assert all(placement.reason and placement.mend and placement.source for placement in found.left)
    (said,) = interpreter.refusals([RULES[code]], tmp_path)
    assert said


@needs_package
def test_what_is_just_inside_the_rules_runs(tmp_path: Path) -> None:
    inside = [deep_slice(4), joined(inputs=10), joined()]
    assert [forecast(model).partitions for model in inside] == [1, 1, 1]
    assert interpreter.refusals(inside, tmp_path) == ["", "", ""]


@needs_package
def test_versions_are_not_looked_at(tmp_path: Path) -> None:
    model = bytearray(tiny_models.negative())
    versioned = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    versioned.operatorCodes[0].version = 99
    builder = flatbuffers.Builder(1024)
    builder.Finish(versioned.Pack(builder), file_identifier=b"TFL3")
    assert only(bytes(builder.Output())).taken
    assert interpreter.refusals([bytes(builder.Output())], tmp_path) == [""]


def test_silent_wrongs_are_refused() -> None:
    """What no kernel checks, and what no interpreter is asked: broadcasting in five dimensions, seven dimensions."""
    graph = tiny_models.Graph()
    x, z, y = graph.tensor("x", (1, 2, 2, 2, 2)), graph.tensor("z", (2,)), graph.tensor("y", (1, 2, 2, 2, 2))
    graph.operator(schema.BuiltinOperator.ADD, [x, z], [y])
    assert only(graph.bytes([x, z], [y])).code == "unsupported-rank"
    assert only(tiny_models.negative((1,) * 7)).code == "too-many-dimensions"
    assert only(tiny_models.negative((1,) * 6)).taken


def test_the_mend_of_a_type_is_int8_only_where_that_changes_the_type() -> None:
    whole, small = made_graphs.fed([1, 4], "int64"), made_graphs.fed([1, 4], "uint8")
    mends = [forecast_micro(made_graphs.operator("ADD", [one, one], [one])).left[0].mend for one in (whole, small)]
    assert mends == ["compute in one of these types", "make it with `--recipe int8`"]


def test_a_body_that_is_not_looked_at_is_said(shared_data: Path) -> None:
    found = forecast((shared_data / "models/microwakeword/alexa.tflite").read_bytes())
    (once,) = [placement for placement in found.placements if placement.name == "CALL_ONCE"]
    assert once.taken
    assert "not looked at" in once.reason


def test_every_operator_of_the_table_cites_its_kernel() -> None:
    known = {*CODES, "resource", "any"}
    for name, rule in TABLE.operators.items():
        assert f"/kernels/{rule.file or '-'}" in TABLE.source_of(name), name
        words = {word for one in rule.signatures() for word in one.replace("->", ",").replace("|", ",").split(",")}
        assert {word.strip() for word in words} <= {*known, "..."}, name
    assert {*SPECS} < {*TABLE.operators}


def test_a_damaged_file_ends_in_an_answer_or_a_model_error(shared_data: Path) -> None:
    whole, chance = (shared_data / "models/tflm/micro_speech_quantized.tflite").read_bytes(), random.Random(7)
    for _ in range(300):
        model = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            model[chance.randrange(len(model))] = chance.randrange(256)
        try:
            found = forecast(bytes(model))
        except ModelError:
            continue
        assert all(isinstance(placement.taken, bool) for placement in found.placements)
