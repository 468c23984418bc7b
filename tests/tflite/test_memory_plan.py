"""The arena: nothing that lives together shares bytes, and TFLite Micro records the same size."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from toys import Toy

from edgekit.source_check import check_model
from edgekit.tflite.inspect import ModelContents, OperatorInfo, TensorInfo, read_contents
from edgekit.tflite.memory_plan import MemoryPlan, Planner, plan_memory

RECORDED = {
    "microwakeword/hey_jarvis": 3424,
    "microwakeword/okay_nabu": 3840,
    "microwakeword/hey_mycroft": 4288,
    "microwakeword/alexa": 3648,
    "mlperf_tiny_ad/ad01_fp32": 3072,
    "mlperf_tiny_ad/ad01_int8": 768,
    "mlperf_tiny_ic/pretrainedResnet": 196_608,
    "mlperf_tiny_ic/pretrainedResnet_quant": 49_152,
    "basic_pitch/nmp": 5_388_416,
    "tflm/hello_world_int8": 32,
    "tflm/hello_world_float": 128,
    "tflm/micro_speech_quantized": 5968,
}
"""Bytes of the arena's head as tflite-micro 0.dev20261023 prints them (`print_allocations`)."""


@pytest.mark.parametrize("name", RECORDED)
def test_tflite_micro_recorded_the_same(name: str, shared_data: Path) -> None:
    assert plan_memory(shared_data / "models" / f"{name}.tflite", "micro").arena_bytes == RECORDED[name]


@st.composite
def graphs(draw: st.DrawFn) -> ModelContents:
    """Operators that each read what some earlier ones wrote."""
    count = draw(st.integers(1, 12))
    tensors = [TensorInfo(f"t{i}", (1, draw(st.integers(1, 300))), "int8") for i in range(count + 1)]
    operators = tuple(
        operator(number, tuple(draw(st.sets(st.integers(0, number), min_size=1, max_size=3))))
        for number in range(count)
    )
    return contents_of(tensors, operators, (0,), (count,))


def operator(number: int, inputs: tuple[int, ...]) -> OperatorInfo:
    return OperatorInfo(
        number, "ADD", False, False, 0, "int8", inputs, (number + 1,), f"t{number + 1}", (), 0, 0, "", False
    )


def contents_of(
    tensors: list[TensorInfo], operators: tuple[OperatorInfo, ...], inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> ModelContents:
    sides = [tuple(tensors[index] for index in side) for side in (inputs, outputs)]
    return ModelContents(
        0,
        "",
        "int8",
        *sides,
        operators,
        tuple(tensors),
        0,
        0,
        0,
        1,
        (),
        (),
        input_indices=inputs,
        output_indices=outputs,
    )


@given(graphs(), st.sampled_from(["litert", "micro"]))
def test_what_lives_together_lies_apart(contents: ModelContents, planner: Planner) -> None:
    plan = plan_memory(contents, planner)
    unit = 64 if planner == "litert" else 16
    assert len(plan.tensors) == len(contents.tensors)
    assert all(one.offset % unit == 0 for one in plan.tensors)
    assert plan.live_bytes <= plan.arena_bytes
    for one in plan.tensors:
        assert one.offset + one.bytes <= plan.arena_bytes
        for other in plan.tensors:
            if one is not other and one.first <= other.last and other.first <= one.last:
                assert one.offset + one.bytes <= other.offset or other.offset + other.bytes <= one.offset


@given(graphs())
def test_the_peak_is_what_lives_at_oneoperator(contents: ModelContents) -> None:
    plan = plan_memory(contents, "micro")
    assert plan.live_bytes == sum(one.bytes for one in plan.tensors if one.first <= plan.peak <= one.last)


def test_a_chain_needs_two_neighbours() -> None:
    tensors = [TensorInfo(f"t{i}", (1, size), "int8") for i, size in enumerate((64, 640, 128, 64))]
    operators = tuple(operator(number, (number,)) for number in range(3))
    contents = contents_of(tensors, operators, (0,), (3,))
    assert plan_memory(contents, "micro").arena_bytes == 640 + 128
    kept = plan_memory(contents, "litert")
    assert kept.arena_bytes == 640 + 128 + 64, "the input stays"
    assert kept.peak == 1


def test_states_are_apart_and_open_dimensions_are_named() -> None:
    tensors = [
        TensorInfo("x", (-1, 10), "float32"),
        TensorInfo("state", (1, 100), "float32", variable=True),
        TensorInfo("y", (-1, 10), "float32"),
    ]
    add = OperatorInfo(0, "ADD", False, False, 0, "float32", (0, 1), (2,), "y", (), 0, 0, "", True)
    plan = plan_memory(contents_of(tensors, (add,), (0,), (2,)))
    assert plan.persistent_bytes == 400
    assert plan.dynamic == ("x", "y")
    assert plan.arena_bytes == 64 + 40


def _on(number: int, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> OperatorInfo:
    return structs.replace(operator(number, inputs), name=name, outputs=outputs)


@pytest.mark.parametrize("planner", ["litert", "micro"])
def test_what_resource_variables_keep_are_states(planner: Planner) -> None:
    tensors = [TensorInfo(f"t{i}", (1, size), "int8") for i, size in enumerate((10, 10, 10, 100))]
    tensors += [TensorInfo(f"handle{i}", (1,), "resource") for i in range(2)]
    x, read, y, large, first, second = range(6)
    operators = (
        _on(0, "VAR_HANDLE", (), (first,)),
        _on(1, "VAR_HANDLE", (), (second,)),
        _on(2, "READ_VARIABLE", (first,), (read,)),
        _on(3, "ADD", (x, read), (y,)),
        _on(4, "CONCATENATION", (x, y), (large,)),
        _on(5, "ASSIGN_VARIABLE", (first, y), ()),
        _on(6, "ASSIGN_VARIABLE", (second, large), ()),
    )
    assert plan_memory(contents_of(tensors, operators, (x,), (y,)), planner).persistent_bytes == 10 + 100


def test_what_is_only_read_and_no_constant_has_room_on_a_microcontroller() -> None:
    """As the scratch memory of an NPU; LiteRT gives it none."""
    tensors = [TensorInfo(f"t{i}", (1, 64), "int8") for i in range(3)]
    tensors += [TensorInfo("scratch", (640,), "uint8"), TensorInfo("empty", (0,), "uint8")]
    tensors += [TensorInfo("weights", (64,), "int8", constant_bytes=64)]
    operators = (operator(0, (0,)), _on(1, "ethos-u", (5, 3, 4, -1, 1), (2,)))
    contents = contents_of(tensors, operators, (0,), (2,))
    plan = plan_memory(contents, "micro")
    assert plan.arena_bytes == 640 + 64 + 64
    assert {one.tensor: (one.first, one.last) for one in plan.tensors}["scratch"] == (0, 1)
    assert {one.tensor for one in plan_memory(contents, "litert").tensors} == {"t0", "t1", "t2"}


def test_graphs_that_are_called_are_said_to_be_missing() -> None:
    toy = Toy()
    x, y = toy.tensor([1, 8]), toy.tensor([1, 8])
    toy.operator("WHILE", [x], [y], "WhileOptions")
    file = toy.bytes([x], [y])
    for target, told in (("cortex-m4", ["WHILE x1 (#0)"]), ("raspberry-pi-4", [])):
        found = check_model(file, target).findings
        assert [one.subject for one in found if one.code == "memory-not-counted"] == told


def test_a_file_without_operators_has_a_plan() -> None:
    plan = plan_memory(tiny_models.negative((1, 4)))
    assert isinstance(plan, MemoryPlan)
    assert plan.arena_bytes == 64 + 16


def test_a_microcontroller_without_the_memory_is_told_where_it_goes(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative((1, 512, 512)))
    found = check_model(tmp_path / "m.tflite", "cortex-m4").findings
    [finding] = [one for one in found if one.code == "arena-too-large"]
    assert "2.00 MiB for tensors, and the memory is 256 KiB" in finding.problem
    assert "NEG #0" in finding.problem
    roomy = check_model(tmp_path / "m.tflite", "raspberry-pi-4").findings
    assert not [one for one in roomy if one.code == "arena-too-large"]


def test_digits_on_a_microcontroller(int8_file: bytes) -> None:
    plan, contents = plan_memory(int8_file, "micro"), read_contents(int8_file)
    assert 0 < plan.arena_bytes < 64 * 1024
    assert {one.tensor for one in plan.tensors} >= {tensor.name for tensor in (*contents.inputs, *contents.outputs)}
