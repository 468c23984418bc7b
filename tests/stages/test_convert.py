"""A converted file is the same function as its model, and keeps its contract."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import negative

from edgekit.bench.run import infer
from edgekit.errors import ModelError, RecipeError
from edgekit.model import Model, TensorSpec, load_model
from edgekit.stages.convert import export, lower_at_once, static_shape, take_tflite
from edgekit.tf import import_keras, import_tensorflow
from edgekit.tflite.inspect import inspect_model, read_contents
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata

keras = import_keras()


def _two_in_two_out() -> Any:
    """Names in the reverse of the alphabet, so that the converter's sorting would show."""
    left, right = keras.Input((4,), name="z_left"), keras.Input((3,), name="a_right")
    joined = keras.layers.Concatenate()([left, right])
    second = keras.layers.Dense(2, name="y_second")(joined)
    first = keras.layers.Dense(5, activation="softmax", name="b_first")(joined)
    return keras.Model([left, right], [second, first])


def _dictionary() -> Any:
    inputs = {"red": keras.Input((4,), name="one"), "blue": keras.Input((4,), name="two")}
    return keras.Model(inputs, {"sum": inputs["red"] + 2 * inputs["blue"]})


def _preprocessing() -> Any:
    norm = keras.layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(3, 2, (64, 8, 8, 3)).astype(np.float32))
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            keras.layers.Rescaling(1 / 255),
            norm,
            keras.layers.RandomFlip(),
            keras.layers.Resizing(6, 6),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
        ]
    )


def _nested() -> Any:
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6, activation="gelu")], name="inner")
    x = keras.Input((6,), name="x")
    return keras.Model(x, inner(inner(x)) + keras.ops.relu(x))


def _recurrent() -> Any:
    x = keras.Input((7, 3), name="series")
    return keras.Model(x, keras.layers.Dense(2)(keras.layers.LSTM(4)(x)))


def _indices() -> Any:
    x = keras.Input((5,), dtype="int32", name="tokens")
    return keras.Model(x, keras.layers.Flatten()(keras.layers.Embedding(10, 3)(x)))


def _batch(model: Model, count: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    shapes = [(count, *(size or 1 for size in spec.shape[1:])) for spec in model.inputs]
    return [
        rng.integers(0, 10, shape).astype(np.int32) if spec.dtype == "int32" else rng.normal(size=shape).astype("f")
        for spec, shape in zip(model.inputs, shapes, strict=True)
    ]


@pytest.mark.parametrize(
    "build", [_two_in_two_out, _dictionary, _preprocessing, _nested, _recurrent, _indices], ids=lambda f: f.__name__[1:]
)
def test_a_file_is_its_model(build: Any, tmp_path: Path) -> None:
    model = load_model(build())
    file = export(model, 1, tmp_path / "export").lower()
    summary = inspect_model(file)
    assert [tensor.name for tensor in summary.inputs] == [spec.name for spec in model.inputs]
    assert [tensor.name for tensor in summary.outputs] == [spec.name for spec in model.outputs]
    assert not any(tensor.dynamic for tensor in summary.tensors)
    assert not any(operator.flex or operator.custom for operator in summary.operators)
    x = _batch(model, 5)
    for expected, found in zip(model.predict(x), infer(file, x).outputs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_batch_size_is_the_recipes(tmp_path: Path) -> None:
    model = load_model(_nested())
    assert inspect_model(export(model, 4, tmp_path / "export").lower()).inputs[0].shape == (4, 6)


def test_the_same_model_gives_the_same_bytes(digits: Path, float_file: bytes, tmp_path: Path) -> None:
    assert export(load_model(digits / "digits.keras"), 1, tmp_path / "again").lower() == float_file


def test_an_open_dimension_is_refused(tmp_path: Path) -> None:
    x = keras.Input((None, None, 3), name="image")
    model = load_model(keras.Model(x, keras.layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(ModelError, match="open dimension") as caught:
        export(model, 1, tmp_path / "export")
    assert "keras.Input(shape=(HEIGHT, WIDTH, 3))" in caught.value.mend
    assert not (tmp_path / "export").exists()
    with pytest.raises(ModelError, match="open dimension") as caught:
        static_shape(TensorSpec("words", (None, None), "int32"), 1)
    assert "keras.Input(shape=(STEPS,), dtype='int32')" in caught.value.mend


def test_what_tflite_cannot_do_is_named(tmp_path: Path) -> None:
    x = keras.Input((8,), name="x")
    model = load_model(keras.Model(x, keras.ops.erfinv(x)))
    with pytest.raises(ModelError, match="Erfinv"):
        export(model, 1, tmp_path / "export").lower()


def test_a_float_file_is_taken_as_it_is_and_a_quantized_one_refused(float_file: bytes, shared_data: Path) -> None:
    path = shared_data / "models/mlperf_tiny_ic"
    taken = inspect_model(take_tflite(load_model(path / "pretrainedResnet.tflite"), 1))
    assert taken.inputs[0].shape == (1, 32, 32, 3)
    with pytest.raises(ModelError, match="already int8"):
        take_tflite(load_model(path / "pretrainedResnet_quant.tflite"), 1)
    with pytest.raises(RecipeError, match="keeps its shapes"):
        take_tflite(load_model(path / "pretrainedResnet.tflite"), 8)


def test_label_files_of_a_float_file_stay_packed(tmp_path: Path) -> None:
    files = {"labels.txt": b"ant\nbee\n"}
    (tmp_path / "m.tflite").write_bytes(write_metadata(negative((1, 2)), FileMetadata(files=files)))
    assert read_metadata(take_tflite(load_model(tmp_path / "m.tflite"), 1)).files == files


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tf = import_tensorflow()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def full(*arguments: object, **options: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "variables/part-0; No space left on device [Op:SaveV2]")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="No space left") as caught:
        export(load_model(model), 1, tmp_path / "export")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_model_of_mixed_precision_is_told_so(dtype: str, tmp_path: Path) -> None:
    x = keras.Input((4,))
    mixed = keras.Model(x, keras.layers.Dense(2, dtype=f"mixed_{dtype}")(x))
    with pytest.raises(ModelError, match=f"computes in {dtype}") as caught:
        export(load_model(mixed), 1, tmp_path / "export").lower()
    assert "float32" in caught.value.mend


@pytest.mark.parametrize("build", [_two_in_two_out, _preprocessing, _nested, _recurrent])
def test_lowering_at_once_gives_the_operators_of_an_export(build: Any, tmp_path: Path) -> None:
    model = load_model(build())
    slow, quick = read_contents(export(model, 1, tmp_path / "x").lower()), read_contents(lower_at_once(model, 1))
    assert sorted(op.name for op in quick.operators) == sorted(op.name for op in slow.operators)
    assert (quick.macs, quick.parameters) == (slow.macs, slow.parameters)
    assert [one.shape for one in quick.inputs] == [one.shape for one in slow.inputs]
    assert [one.shape for one in quick.outputs] == [one.shape for one in slow.outputs]
