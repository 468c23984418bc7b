from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toys import Toy

from edgekit.bench.run import infer
from edgekit.errors import ModelError
from edgekit.tflite import flatbuffer
from edgekit.tflite.batch import batched_twin
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import inspect_model
from edgekit.tflite.surgery import inline_buffers, pack, unpack, with_io_type, with_ranges, with_rescaled_copies


def _samples(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).uniform(0, 16, (count, 8, 8, 1)).astype(np.float32)


def test_packing_is_idempotent_and_changes_no_output(float_file: bytes) -> None:
    packed = inline_buffers(float_file)
    assert inline_buffers(packed) == packed
    x = _samples(4)
    np.testing.assert_array_equal(infer(packed, [x]).outputs[0], infer(float_file, [x]).outputs[0])


def test_every_constant_is_aligned_for_microcontrollers(float_file: bytes) -> None:
    root = flatbuffer.open_model(float_file)
    spans = [flatbuffer.buffer_span(root, i, len(float_file)) for i in range(root.BuffersLength())]
    assert {span[0] % 16 for span in spans if span} == {0}


def test_the_twin_gives_the_outputs_of_the_file_for_many_samples_at_once(float_file: bytes) -> None:
    x = _samples(37)
    single = infer(float_file, [x], batch=1).outputs[0]
    np.testing.assert_allclose(infer(batched_twin(float_file), [x], batch=16).outputs[0], single, atol=1e-5)


def test_ranges_are_written_to_the_named_activations_only(float_file: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    changed = with_ranges(float_file, {"digit": (0.0, 0.5)})
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(changed, 0))
    ranged = {t.name: (t.quantization.min, t.quantization.max) for t in tree.subgraphs[0].tensors
              if t.quantization is not None and t.quantization.min is not None}  # fmt: skip
    assert ranged == {b"digit": ([0.0], [0.5])}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
def test_the_type_of_inputs_and_outputs_changes_nothing_inside(dtype: str, int8_file: bytes) -> None:
    changed = with_io_type(int8_file, dtype)
    before, after = inspect_model(int8_file), inspect_model(changed)
    assert [t.dtype for t in (*after.inputs, *after.outputs)] == [dtype] * 2
    assert [t.name for t in (*after.inputs, *after.outputs)] == [t.name for t in (*before.inputs, *before.outputs)]
    inside = [op.name for op in after.operators if op.name not in {"QUANTIZE", "DEQUANTIZE"}]
    assert inside == [op.name for op in before.operators if op.name not in {"QUANTIZE", "DEQUANTIZE"}]
    assert after.signatures[0].inputs == {"image": "image"}


def test_int8_and_uint8_inputs_give_the_same_numbers(int8_file: bytes) -> None:
    x = np.arange(-128, 128, dtype=np.int16).reshape(4, 8, 8, 1)
    signed = infer(int8_file, [x.astype(np.int8)]).outputs[0]
    unsigned = infer(with_io_type(int8_file, "uint8"), [(x + 128).astype(np.uint8)]).outputs[0]
    np.testing.assert_array_equal(signed.astype(np.int16) + 128, unsigned)


def test_an_output_that_is_given_twice_is_cast_once() -> None:
    toy = Toy()
    x, y = toy.tensor((1, 4), "int8"), toy.tensor((1, 4), "int8")
    toy.operator("ABS", [x], [y], "AbsOptions")
    graph = read_graph(with_io_type(toy.bytes([x], [y, y]), "float32"))
    assert [op.name for op in graph.operators] == ["QUANTIZE", "ABS", "DEQUANTIZE"]
    assert graph.outputs[0] == graph.outputs[1]
    assert graph.tensors[graph.outputs[0]].name == "t1"


def test_operators_without_inputs_copy_nothing() -> None:
    toy = Toy()
    x, state = toy.tensor((1, 4)), toy.tensor((), "int32")
    toy.operator("VAR_HANDLE", [], [state], "VarHandleOptions")
    file = toy.bytes([x], [x])
    assert with_rescaled_copies(file) == file


def test_a_file_above_the_size_of_a_flatbuffer_is_an_error(float_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flatbuffers.builder.Builder.MAX_BUFFER_SIZE", 1 << 14)
    with pytest.raises(ModelError, match="exceed the 2 GB of a flatbuffer") as caught:
        inline_buffers(float_file)
    assert "quantize" in caught.value.mend


def test_custom_options_behind_the_flatbuffer_come_into_it() -> None:
    toy = Toy()
    x, y = toy.tensor((1, 4)), toy.tensor((1, 4))
    toy.operator("Mine", [x], [y])
    operator = toy.graph.operators[0]
    operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize = 9999, 7
    operator.largeCustomOptionsOffset = len(toy.bytes([x], [y]))
    file = toy.bytes([x], [y])
    moved = unpack(pack(unpack(file + b"options"))).subgraphs[0].operators[0]
    assert bytes(moved.customOptions) == b"options"
    assert (moved.largeCustomOptionsOffset, moved.largeCustomOptionsSize) == (0, 0)
    with pytest.raises(ModelError, match="custom options end at byte"):
        unpack(file + b"option")
