"""An operator cut out of a file computes what it computes inside."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from edgekit.bench.run import infer
from edgekit.stages.inner_values import inner_values
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.numbers import to_stored
from edgekit.tflite.pieces import empty, pieces
from edgekit.tflite.surgery import pack, schema, unpack


@pytest.fixture(scope="module", params=["float32", "int8"])
def model(request: pytest.FixtureRequest, float_file: bytes, int8_file: bytes) -> bytes:
    return {"float32": float_file, "int8": int8_file}[request.param]


def test_each_piece_computes_what_the_operator_computes_inside(model: bytes, digits: Path) -> None:
    contents = read_contents(model)
    with np.load(digits / "digits.npz") as arrays:
        sample = to_stored(arrays["x_test"][:1].astype(np.float32), contents.inputs[0])
    inside = inner_values(model, [sample])[0]
    found = list(pieces(model))
    assert len(found) >= len([op for op in contents.operators if op.macs])
    for piece in found:
        assert piece.file is not None, piece.reason
        own = read_contents(piece.file)
        names = {contents.tensors[index].name: index for index in piece.operator.inputs if index >= 0}
        given = [inside[names[tensor.name]] for tensor in own.inputs]
        outputs = infer(piece.file, given, xnnpack=False).outputs
        for index, output in zip(piece.operator.outputs, outputs, strict=True):
            np.testing.assert_allclose(output.reshape(inside[index].shape), inside[index], rtol=1e-6)


def test_what_prepares_constants_is_no_piece_of_its_own(float_file: bytes) -> None:
    halves = with_half_kernel(float_file)
    assert read_contents(halves).operators[0].name == "DEQUANTIZE"
    first, *_ = pieces(halves)
    assert first.operator.name == "CONV_2D"
    assert first.file is not None
    assert [op.name for op in read_contents(first.file).operators] == ["DEQUANTIZE", "CONV_2D"]
    assert len(read_contents(first.file).inputs) == 1
    x = np.random.default_rng(0).normal(size=read_contents(first.file).inputs[0].shape).astype(np.float32)
    whole = next(piece for piece in pieces(float_file) if piece.operator.name == "CONV_2D").file
    assert whole is not None
    np.testing.assert_allclose(infer(first.file, [x]).outputs[0], infer(whole, [x]).outputs[0], atol=0.01)


def with_half_kernel(model: bytes) -> bytes:
    """The file with the kernel of its first operator in float16, and a DEQUANTIZE, as float16 files have it."""
    tree, fb = unpack(model), schema()
    graph = tree.subgraphs[0]
    first = graph.operators[0]
    kernel = graph.tensors[first.inputs[1]]
    half, buffer, code, operator = copy.copy(kernel), fb.BufferT(), fb.OperatorCodeT(), fb.OperatorT()
    values = np.asarray(tree.buffers[kernel.buffer].data).view(np.float32).astype(np.float16)
    buffer.data, half.buffer, half.type, half.name = (
        values.view(np.uint8),
        len(tree.buffers),
        fb.TensorType.FLOAT16,
        b"half",
    )
    tree.buffers.append(buffer)
    kernel.buffer = 0
    graph.tensors.append(half)
    code.builtinCode = code.deprecatedBuiltinCode = fb.BuiltinOperator.DEQUANTIZE
    code.version, operator.opcodeIndex = 3, len(tree.operatorCodes)
    tree.operatorCodes.append(code)
    operator.inputs, operator.outputs = np.array([len(graph.tensors) - 1]), np.array([first.inputs[1]])
    graph.operators.insert(0, operator)
    return pack(tree)


def test_the_empty_file_gives_back_its_input() -> None:
    x = np.array([3.5], np.float32)
    np.testing.assert_array_equal(infer(empty(), [x]).outputs[0].ravel(), x)


def test_a_custom_operator_cannot_be_cut_out() -> None:
    [piece] = pieces(tiny_models.custom())
    assert piece.file is None
    assert "custom operator" in piece.reason
