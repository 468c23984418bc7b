from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from toys import Toy

from edgekit.cli.inspect import render
from edgekit.errors import ModelError
from edgekit.tflite.inspect import inspect_model, read_contents
from edgekit.tflite.macs import operator_macs


def test_the_digits_network_is_read_as_it_was_built(float_file: bytes) -> None:
    summary = inspect_model(float_file)
    assert summary.numeric == "float32"
    assert [(t.name, t.shape, t.dtype) for t in summary.inputs] == [("image", (1, 8, 8, 1), "float32")]
    assert [(t.name, t.shape) for t in summary.outputs] == [("digit", (1, 10))]
    dense = next(op for op in summary.operators if op.name == "FULLY_CONNECTED")
    assert dense.macs == 64 * 10
    separable = 16 * 64 * 9 + 16 * 64 * 64
    convolutions = 64 * 32 * 9 + 16 * 64 * 32 * 9 + separable + 16 * 64 * 64 * 9
    assert summary.macs == convolutions + dense.macs
    assert summary.file_bytes == len(float_file) > summary.deflated_bytes > summary.parameters


def test_a_path_may_be_a_text(float_file: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(float_file)
    assert inspect_model(str(tmp_path / "m.tflite")) == inspect_model(float_file)
    with pytest.raises(ModelError, match=r"none\.tflite: no such file"):
        inspect_model(str(tmp_path / "none.tflite"))


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "macs"),
    [
        ("CONV_2D", [(1, 8, 8, 3), (16, 3, 3, 3)], [(1, 8, 8, 16)], 8 * 8 * 16 * 27),
        ("CONV_2D", [(1, 8, 8, 8), (16, 3, 3, 4)], [(1, 8, 8, 16)], 8 * 8 * 16 * 36),  # two groups
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 3, 4)], [(1, 8, 8, 4)], 8 * 8 * 4 * 9),
        ("FULLY_CONNECTED", [(2, 5), (7, 5)], [(2, 7)], 70),
        ("TRANSPOSE_CONV", [(4,), (6, 3, 3, 2), (1, 4, 4, 2)], [(1, 8, 8, 6)], 4 * 4 * 2 * 9 * 6),
        ("BATCH_MATMUL", [(1, 4, 6), (1, 6, 5)], [(1, 4, 5)], 120),
        ("BATCH_MATMUL", [(1, 6, 4), (1, 6, 5)], [(1, 4, 5)], 120),  # the first one transposed
        ("SVDF", [(2, 10), (6, 10), (6, 4)], [(2, 3)], 2 * 6 * (10 + 4)),
        ("RELU", [(1, 4)], [(1, 4)], 0),
        ("CONV_2D", [(1, 8, 8, 3)], [(1, 8, 8, 16)], 0),
    ],
)
def test_multiply_accumulates(
    name: str, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]], macs: int
) -> None:
    assert operator_macs(name, inputs, outputs) == macs


def test_that_the_steps_of_a_loop_are_not_counted_is_said() -> None:
    plain = read_contents(tiny_models.negative())
    body = replace(plain.operators[0], subgraph=1, macs=10)
    for name, said in (("WHILE", True), ("IF", False)):
        called = replace(plain, operators=(replace(plain.operators[0], name=name), body), subgraphs=2)
        assert ("2 subgraphs; MACs: the body of WHILE counted once" in render(called, "m", False)) == said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" * 9, "not a TFLite file"),
        (b"PK\3\4" * 9, "a zip"),
        (b"\x08\0\0\0TFL3", "damaged"),
    ],
)
def test_what_is_no_model_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        inspect_model(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(ModelError, match=str(path)):
            inspect_model(path)


@settings(max_examples=150, deadline=2000)
@given(data=st.data())
def test_a_mutated_file_is_answered_or_refused(data: st.DataObject, float_file: bytes) -> None:
    mutated = bytearray(float_file[: data.draw(st.integers(0, len(float_file)))])
    for _ in range(data.draw(st.integers(0, 8))):
        if mutated:
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModelError):  # anything else fails the test
        assert inspect_model(bytes(mutated)).file_bytes == len(mutated)


@pytest.mark.parametrize(
    ("file", "numeric", "operators"),
    [
        ("mlperf_tiny_ic/pretrainedResnet_quant.tflite", "int8", 16),
        ("mlperf_tiny_ic/pretrainedResnet.tflite", "float32", 16),
        ("fer/emotion_model_quantized.tflite", "dynamic-int8", 33),
        ("coral_pairs/mobilenet_v1_0.25_128_quant.tflite", "int8", 31),
        ("microwakeword/okay_nabu.tflite", "int8", 73),
    ],
)
def test_files_seen_in_the_wild(file: str, numeric: str, operators: int, shared_data: Path) -> None:
    summary = inspect_model(shared_data / "models" / file)
    assert (summary.numeric, len(summary.operators)) == (numeric, operators)


def test_published_mac_counts(shared_data: Path) -> None:
    """MobileNetV1 0.25 128 has 14 M multiply-accumulates (arXiv:1704.04861, tables 6 and 7)."""
    summary = inspect_model(shared_data / "models/coral_pairs/mobilenet_v1_0.25_128_quant.tflite")
    assert 13e6 < summary.macs < 15e6
    assert summary.parameters == pytest.approx(470_000, rel=0.02)


def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(ModelError, match="a device"):
        inspect_model(Path("/dev/zero"))


def dense() -> tuple[Toy, int, int]:
    """A dense layer of 20 products, its input and its output."""
    toy = Toy()
    x, y = toy.tensor((1, 4)), toy.tensor((1, 5))
    toy.operator("FULLY_CONNECTED", [x, toy.tensor((5, 4), data=True), -1], [y], "FullyConnectedOptions")
    return toy, x, y


def test_a_graph_of_another_signature_is_not_run_with_the_main_one() -> None:
    toy, x, y = dense()
    toy.model.subgraphs.append(toy.graph)
    toy.signature("first", {"a": x}, {"b": y})
    toy.signature("second", {"c": x}, {"d": y}, subgraph=1)
    found = read_contents(toy.bytes([x], [y]))
    assert (found.macs, found.subgraphs) == (20, 2)
    assert {"  signature first: a -> b", "  signature second: c -> d"} < {*render(found, "m", False).splitlines()}


def test_a_graph_that_is_called_runs_with_the_main_one() -> None:
    toy, x, y = dense()
    called, called.inputs, called.outputs = toy.graph, [x], [y]
    toy.graph = type(called)()
    toy.graph.tensors, toy.graph.operators, toy.model.subgraphs = [], [], [toy.graph, called]
    x, y = toy.tensor((1, 4)), toy.tensor((1, 5))
    toy.operator("CALL", [x], [y], "CallOptions", subgraph=1)
    assert read_contents(toy.bytes([x], [y])).macs == 20


def test_the_older_scheme_of_8_bits_is_called_by_its_name() -> None:
    toy = Toy()
    x, y = toy.tensor((1, 4), "uint8"), toy.tensor((1, 4), "uint8")
    toy.operator("RELU", [x], [y])
    found = read_contents(toy.bytes([x], [y]))
    assert found.numeric == "int8"
    assert render(found, "m", False).startswith("m: uint8, ")
