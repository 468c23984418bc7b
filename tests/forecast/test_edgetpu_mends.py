"""Computed sizes become constants: the compiler would take the file, and its answers stay the same to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from edgetpu_files import Of, Step, file_of, numbers, single

from edgekit.errors import ModelError
from edgekit.forecast.edgetpu import forecast_edgetpu
from edgekit.forecast.edgetpu_mends import fixed_sizes
from edgekit.package.build import package_model
from edgekit.tflite import surgery
from edgekit.tflite.graph import read_graph
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata

SIZE = Of((4,), "INT32", scale=None)
ONE = Of((), "INT32", scale=None)
RNG = np.random.default_rng(7)
IMAGE = Of((1, 4, 4, 2), signature=(-1, 4, 4, 2))
WEIGHTS = Of((3, 32), values=RNG.integers(-127, 128, (3, 32)).astype(np.int8), scale=0.01)


def flatten_with_an_open_batch() -> bytes:
    """What a converter makes of Flatten and Dense with an open batch: SHAPE, STRIDED_SLICE, PACK, RESHAPE."""
    tensors = {
        "in": IMAGE,
        "a": IMAGE,
        "shape": SIZE,
        "zero": numbers(0),
        "one": numbers(1),
        "batch": ONE,
        "rest": Of((), "INT32", np.int32(32), None),
        "size": Of((2,), "INT32", scale=None),
        "flat": Of((1, 1), signature=(-1, -1)),
        "weights": WEIGHTS,
        "out": Of((1, 3), signature=(-1, 3), scale=0.1),
    }
    steps = [
        Step("RELU", ("in",), ("a",)),
        Step("SHAPE", ("a",), ("shape",), {"outType": schema.TensorType.INT32}),
        Step("STRIDED_SLICE", ("shape", "zero", "one", "one"), ("batch",), {"shrinkAxisMask": 1}),
        Step("PACK", ("batch", "rest"), ("size",), {"valuesCount": 2}),
        Step("RESHAPE", ("a", "size"), ("flat",)),
        Step("FULLY_CONNECTED", ("flat", "weights", ""), ("out",), {"weightsFormat": 0}),
    ]
    return file_of(tensors, steps, ("in",), ("out",))


def answers(model: bytes) -> list[np.ndarray]:
    """What the runtime answers to eight samples, without any delegate."""
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    before, after = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found, chance = [], np.random.default_rng(3)
    for _ in range(8):
        interpreter.set_tensor(before["index"], chance.integers(-128, 128, (1, 4, 4, 2)).astype(np.int8))
        interpreter.invoke()
        found.append(interpreter.get_tensor(after["index"]).copy())
    return found


def test_a_file_that_the_compiler_refuses_is_one_that_it_takes() -> None:
    model = flatten_with_an_open_batch()
    refused = forecast_edgetpu(read_graph(model))
    assert {placement.code for placement in refused.left} == {"file-refused", "dynamic-size"}
    graph = read_graph(fixed_sizes(model))
    taken = forecast_edgetpu(graph)
    assert (taken.left, taken.partitions) == ((), 1)
    assert [operator.name for operator in graph.operators] == ["RELU", "RESHAPE", "FULLY_CONNECTED"]
    assert {tensor.name: tensor.shape for tensor in graph.tensors}["flat"] == (1, 32)
    assert not any(-1 in tensor.signature for tensor in graph.tensors)


def test_its_answers_stay_the_same_to_the_bit() -> None:
    model = flatten_with_an_open_batch()
    before, after = answers(model), answers(fixed_sizes(model))
    assert len({answer.tobytes() for answer in before}) > 4
    np.testing.assert_array_equal(before, after)


def test_a_mended_file_and_a_sound_one_stay_as_they_are() -> None:
    mended = fixed_sizes(flatten_with_an_open_batch())
    assert fixed_sizes(mended) == mended


def test_files_packed_behind_the_model_stay() -> None:
    whole = write_metadata(flatten_with_an_open_batch(), FileMetadata(files={"labels.txt": b"ant"}))
    assert read_metadata(fixed_sizes(whole)).files == {"labels.txt": b"ant"}


@pytest.mark.parametrize(
    ("name", "inputs", "options", "value"),
    [
        ("GATHER", (numbers(5, 6, 7), numbers(2, 0)), {}, [7, 5]),
        ("REDUCE_PROD", (numbers(5, 6, 7), numbers(0)), {}, 210),
        ("CONCATENATION", (numbers(5), numbers(6, 7)), {"axis": 0}, [5, 6, 7]),
        ("MUL", (numbers(5), numbers(6)), {}, [30]),
        ("ADD", (numbers(5), numbers(6)), {}, [11]),
        ("SUB", (numbers(5), numbers(6)), {}, [-1]),
        ("PACK", (numbers(5), numbers(6)), {"axis": 1, "valuesCount": 2}, [[5, 6]]),
        ("STRIDED_SLICE", (numbers(5, 6, 7), numbers(1), numbers(9), numbers(1)), {}, [6, 7]),
        ("STRIDED_SLICE", (numbers(5, 6, 7), numbers(9), numbers(2), numbers(1)), {"beginMask": 1}, [5, 6]),
        ("STRIDED_SLICE", (numbers(5, 6, 7), numbers(-1), numbers(0), numbers(1)), {"endMask": 1}, [7]),
    ],
)
def test_arithmetic_of_sizes_is_that_of_the_runtime(
    name: str, inputs: tuple[Of, ...], options: dict[str, int], value: object
) -> None:
    result = np.array(value, np.int32)
    tensors = {f"in{number}": of for number, of in enumerate(inputs)}
    tensors |= {"x": IMAGE, "size": Of(result.shape, "INT32", scale=None), "out": Of((1, 32), signature=(-1, 32))}
    steps = [Step(name, tuple(f"in{number}" for number in range(len(inputs))), ("size",), options or None)]
    steps.append(Step("RESHAPE", ("x", "size"), ("out",)))
    model = file_of(tensors, steps, ("x",), ("out",))
    interpreter = Interpreter(model_content=file_of(tensors, steps[:1], ("x",), ("size",)))
    interpreter.allocate_tensors()
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), result)
    graph = read_graph(fixed_sizes(model))
    constant = graph.tensors[graph.operators[0].inputs[1]].values()
    assert constant is not None
    np.testing.assert_array_equal(constant, result)


def test_a_size_that_depends_on_samples_is_told() -> None:
    tensors = {"in": IMAGE, "size": Of((2,), "INT32", scale=None), "out": Of((1, 32))}
    model = file_of(tensors, [Step("RESHAPE", ("in", "size"), ("out",))], ("in", "size"), ("out",))
    with pytest.raises(ModelError, match="RESHAPE #0 makes is not worked out from the batch alone") as caught:
        fixed_sizes(model)
    assert "edgekit optimize" in caught.value.mend
    tensors |= {"first": IMAGE, "shape": SIZE}
    steps = [Step("SHAPE", ("in",), ("shape",)), Step("RESHAPE", ("in", "shape"), ("first",))]
    steps += [Step("RESHAPE", ("first", "size"), ("out",))]
    with pytest.raises(ModelError, match="RESHAPE #2"):  # as `edgekit inspect` counts, though the first is worked out
        fixed_sizes(file_of(tensors, steps, ("in", "size"), ("out",)))


def test_a_shape_with_another_open_dimension_is_not_guessed() -> None:
    tensors = {"in": Of((1, 1, 2), signature=(-1, -1, 2)), "size": Of((3,), "INT32", scale=None), "out": Of((1, 1, 2))}
    steps = [Step("SHAPE", ("in",), ("size",)), Step("RESHAPE", ("in", "size"), ("out",))]
    with pytest.raises(ModelError, match="RESHAPE #1"):
        fixed_sizes(file_of(tensors, steps, ("in",), ("out",)))


def test_rows_of_a_dense_layer_are_not_taken_for_the_batch() -> None:
    """The leading dimension behind it is 16 rows, and stored as -1 and 1 like a batch."""
    tensors = {
        "in": IMAGE,
        "rows": numbers(-1, 2),
        "flat": Of((1, 2), signature=(-1, 2)),
        "weights": Of((3, 2), values=np.ones((3, 2), np.int8)),
        "dense": Of((1, 3), signature=(-1, 3)),
        "size": Of((2,), "INT32", scale=None),
        "out": Of((1, 3), signature=(-1, 3)),
    }
    steps = [
        Step("RESHAPE", ("in", "rows"), ("flat",)),
        Step("FULLY_CONNECTED", ("flat", "weights", ""), ("dense",), {"weightsFormat": 0}),
        Step("SHAPE", ("dense",), ("size",)),
        Step("RESHAPE", ("dense", "size"), ("out",)),
    ]
    graph = read_graph(fixed_sizes(file_of(tensors, steps, ("in",), ("out",))))
    assert {tensor.name: tensor.shape for tensor in graph.tensors}["dense"] == (16, 3)
    assert [operator.name for operator in graph.operators] == ["RESHAPE", "FULLY_CONNECTED", "RESHAPE"]
    size = graph.tensors[graph.operators[2].inputs[1]].values()
    assert size is not None
    assert size.tolist() == [16, 3]


def behind(name: str, inputs: tuple[Of, ...], output: Of, **options: int) -> bytes:
    """A file that reshapes what an operator gives to a size that is computed from it."""
    tensors = {f"in{number}": of for number, of in enumerate(inputs)}
    rank = len(output.shape)
    tensors |= {"a": output, "size": Of((rank,), "INT32", scale=None), "out": Of(output.shape, signature=(-1,) * rank)}
    steps = [
        Step(name, tuple(f"in{number}" for number in range(len(inputs))), ("a",), options or None),
        Step("SHAPE", ("a",), ("size",), {"outType": schema.TensorType.INT32}),
        Step("RESHAPE", ("a", "size"), ("out",)),
    ]
    fed = tuple(f"in{number}" for number, of in enumerate(inputs) if of.values is None)
    return file_of(tensors, steps, fed, ("out",))


FLAT = Of((1, 2), signature=(-1, 2))
PADDED = Of((1, 6, 4, 2), signature=(-1, 6, 4, 2))
DOUBLE = Of((1, 4, 4, 4), signature=(-1, 4, 4, 4))


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (behind("RELU", (IMAGE,), IMAGE), [1, 4, 4, 2]),
        (behind("MEAN", (IMAGE, numbers(1, 2)), FLAT), [1, 2]),
        (behind("PAD", (IMAGE, numbers(0, 0, 1, 1, 0, 0, 0, 0)), PADDED), [1, 6, 4, 2]),
        (behind("ADD", (IMAGE, IMAGE), IMAGE), [1, 4, 4, 2]),
        (behind("ADD", (IMAGE, Of((2,), values=np.ones(2, np.int8))), IMAGE), [1, 4, 4, 2]),
        (behind("CONCATENATION", (IMAGE, IMAGE), DOUBLE, axis=3), [1, 4, 4, 4]),
    ],
)
def test_the_batch_is_followed_through_operators_that_keep_it(model: bytes, size: list[int]) -> None:
    graph = read_graph(fixed_sizes(model))
    found = graph.tensors[graph.operators[1].inputs[1]].values()
    assert found is not None
    assert found.tolist() == size


@pytest.mark.parametrize(
    "model",
    [
        behind("REDUCE_MAX", (IMAGE, numbers(0)), Of((4, 4, 2), signature=(-1, 4, 2))),
        behind("REDUCE_MAX", (IMAGE, numbers(-4)), Of((4, 4, 2), signature=(-1, 4, 2))),
        behind("PAD", (IMAGE, numbers(0, 1, 0, 0, 0, 0, 0, 0)), IMAGE),
        behind("CONCATENATION", (IMAGE, IMAGE), IMAGE, axis=0),
        behind("ADD", (FLAT, Of((5, 2), values=np.ones((5, 2), np.int8))), FLAT),
        behind("TRANSPOSE", (FLAT, numbers(1, 0)), Of((2, 1), signature=(-1, 1))),
    ],
)
def test_a_batch_that_cannot_be_followed_is_not_guessed(model: bytes) -> None:
    with pytest.raises(ModelError, match="RESHAPE #2"):
        fixed_sizes(model)


def test_a_computed_size_that_is_an_output_stays_one() -> None:
    tensors = {"in": IMAGE, "shape": SIZE, "a": IMAGE}
    steps = [Step("SHAPE", ("in",), ("shape",)), Step("RELU", ("in",), ("a",))]
    graph = read_graph(fixed_sizes(file_of(tensors, steps, ("in",), ("shape", "a"))))
    assert [operator.name for operator in graph.operators] == ["SHAPE", "RELU"]


def test_a_file_without_open_sizes_is_returned_as_it_is() -> None:
    tensors = {"in": Of((1, 8)), "out": Of((1, 8))}
    model = file_of(tensors, [Step("RELU", ("in",), ("out",))], ("in",), ("out",))
    assert fixed_sizes(model) is model
    with pytest.raises(ModelError):
        fixed_sizes(b"no model")


def test_an_open_batch_that_no_size_is_computed_from_is_closed() -> None:
    model = file_of({"in": IMAGE, "out": IMAGE}, [Step("RELU", ("in",), ("out",))], ("in",), ("out",))
    assert read_graph(fixed_sizes(model)) is not None
    assert fixed_sizes(model) == surgery.with_static_batch(model)
    assert forecast_edgetpu(single("RELU", [IMAGE], IMAGE)).left == ()


def test_the_file_it_was_made_of_is_packaged_beside_it(tmp_path: Path) -> None:
    model = file_of({"in": IMAGE, "out": IMAGE}, [Step("RELU", ("in",), ("out",))], ("in",), ("out",))
    (tmp_path / "open.tflite").write_bytes(model)
    (tmp_path / "fixed.tflite").write_bytes(fixed_sizes(model))
    made = package_model(
        [f"edgetpu={tmp_path}/fixed.tflite", f"cpu={tmp_path}/open.tflite"], tmp_path / "out", kind="linux"
    )
    assert any("was not compiled for it" in note for note in made.notices)
