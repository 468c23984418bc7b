"""What cannot be used is refused by the commands, each with what was found and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import patients
import pytest
from shown import edgekit
from tiny_models import custom, sum_and_difference

from edgekit.doctor import diagnosis
from edgekit.doctor.case import open_case
from edgekit.errors import ModelError, RunError
from edgekit.robustness import beside_float
from edgekit.stages.inner_values import inner_values
from edgekit.tf import import_keras
from edgekit.tflite.surgery import pack, schema, unpack

PAIR = ("int8.tflite", "--float", "float.tflite", "--data")


def quantized(model: bytes) -> bytes:
    """The file with all its tensors called int8."""
    tree = unpack(model)
    for tensor in tree.subgraphs[0].tensors:
        tensor.type = schema().TensorType.INT8
        tensor.quantization = schema().QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]
    return pack(tree)


def other_network(path: Path) -> None:
    """A network with the inputs and outputs of the digits', and nothing else of it."""
    keras = import_keras()
    inputs = keras.Input((8, 8, 1), name="image")
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(hidden)).save(path)


def with_nan(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed[3, 2] = np.nan
    return changed


@pytest.fixture(scope="module")
def folder(sound: Mapping[str, patients.Net], tmp_path_factory: pytest.TempPathFactory) -> Path:
    net, here = sound["digits"], tmp_path_factory.mktemp("input")
    (here / "int8.tflite").write_bytes(net.int8())
    (here / "float.tflite").write_bytes(net.file)
    (here / "cut.tflite").write_bytes(net.int8()[:20_000])
    (here / "text.tflite").write_text("hello\n" * 20)
    (here / "empty.tflite").touch()
    (here / "folder").mkdir()
    (here / "custom.tflite").write_bytes(quantized(custom("Detection")))
    (here / "custom_float.tflite").write_bytes(custom("Detection"))
    other_network(here / "other.keras")
    x = net.arrays["x_test"][:40]
    labels = {"y_test": net.arrays["y_test"][:40]}
    np.savez(here / "data.npz", x_test=x, **labels)
    np.savez(here / "wide.npz", x_test=np.zeros((40, 9, 8, 1), np.float32), **labels)
    np.savez(here / "none.npz", x_test=x[:0], y_test=labels["y_test"][:0])
    np.savez(here / "nan.npz", x_test=with_nan(x), **labels)
    np.savez(here / "bare.npz", x_test=x)
    np.savez(here / "four.npz", x_test=np.zeros((8, 4), np.float32))
    return here


CASES = [
    (("doctor", "int8.tflite", "--data", "data.npz"), 2, "give --float and --data"),
    (("doctor", "int8.tflite", "--float", "gone.keras", "--data", "data.npz"), 3, "no such file"),
    (("doctor", "int8.tflite", "--float", "other.keras", "--data", "data.npz"), 3, "not the same network"),
    (("doctor", "int8.tflite", "--float", "int8.tflite", "--data", "data.npz"), 3, "quantized itself"),
    (("doctor", "int8.tflite", "--float", "cut.tflite", "--data", "data.npz"), 3, "the float file: damaged"),
    (("doctor", "int8.tflite", "--float", "folder", "--data", "data.npz"), 3, "a folder without saved_model.pb"),
    (("doctor", "custom.tflite", "--float", "custom_float.tflite", "--data", "four.npz"), 3, "Detection (#0)"),
    (("doctor", *PAIR, "wide.npz"), 3, "samples have shape (9, 8, 1), input 'image' of the model takes (8, 8, 1)"),
    (("doctor", *PAIR, "none.npz"), 3, "x_test has no samples"),
    (("doctor", *PAIR, "nan.npz"), 3, "8 values that are NaN"),
    (("doctor", *PAIR, "text.tflite"), 3, "give an .npz"),
    (("doctor", *PAIR, "folder"), 3, "no class folders"),
    (("doctor", *PAIR, "bare.npz", "--floor", "90%"), 3, "a floor needs labelled data"),
    (("doctor", *PAIR, "data.npz", "--floor", "120%"), 3, "set a floor that the float model reaches"),
    (("doctor", *PAIR, "data.npz", "--html", "gone/page.html"), 3, "no such folder"),
    (("doctor", *PAIR, "data.npz", "--html", "data.npz"), 3, "exists already"),
    (("doctor", "--html", "page.html"), 2, "go with a MODEL"),
    (("agree", "int8.tflite", "--data", "data.npz", "--float", "other.keras"), 3, "not the same network"),
    (("agree", "custom_float.tflite", "--data", "four.npz"), 5, "no custom operator 'Detection'"),
    (("agree", "int8.tflite", "--data", "wide.npz"), 3, "samples have shape"),
    (("agree", "float.tflite", "--data", "data.npz", "--no-xnnpack"), 3, "nothing to compare"),
    (("agree", "cut.tflite", "--data", "data.npz"), 3, "damaged or truncated"),
    (("agree", "text.tflite", "--data", "data.npz"), 3, "it starts with b'hello"),
    (("agree", "empty.tflite", "--data", "data.npz"), 3, "it is empty"),
    (("agree", "folder", "--data", "data.npz"), 3, "no manifest.json in it"),
    (("agree", "other.keras", "--data", "data.npz"), 3, "`edgekit optimize` makes one"),
    (
        ("optimize", "int8.tflite", "-t", "host", "-r", "dynamic-int8", "--data", "data.npz", "-o", "out"),
        3,
        "already int8",
    ),
]


@pytest.mark.parametrize(("words", "code", "said"), CASES, ids=[f"{n}-{case[0][0]}" for n, case in enumerate(CASES)])
def test_what_cannot_be_used_is_refused_with_a_mend(
    words: tuple[str, ...], code: int, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    told, ended = edgekit(["edgekit", *words], monkeypatch)
    assert (ended, said in told) == (code, True), told
    assert "mend: " in told or code == 2


def test_what_cannot_be_repaired_is_refused_before_it_is_explained(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(diagnosis, "diagnose", lambda *_, **__: pytest.fail("it takes minutes"))
    told, ended = edgekit(["edgekit", "doctor", *PAIR, "data.npz", "--repair", "-o", "out.tflite"], monkeypatch)
    assert (ended, "no data to calibrate on" in told) == (3, True), told


def test_a_floor_that_is_refused_takes_no_explanation_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    words = ["edgekit", "doctor", *PAIR, "data.npz", "--floor", "120%", "--html", "why.html"]
    told, ended = edgekit(words, monkeypatch)
    assert (ended, "in int8, on 40 test samples" in told) == (3, True), told
    assert (folder / "why.html").stat().st_size


def test_inputs_in_another_order_are_refused_by_their_names(tmp_path: Path) -> None:
    """Of one shape they would be taken for each other, and nobody would know."""
    for turned in (False, True):
        (tmp_path / f"{turned}.tflite").write_bytes(sum_and_difference(turned))
    np.savez(tmp_path / "data.npz", **{"x_test.x": np.ones((8, 3)), "x_test.y": np.zeros((8, 3))})
    case = open_case(tmp_path / "True.tflite", tmp_path / "True.tflite", tmp_path / "data.npz")
    assert [array.max() for array in case.data.part("test").array()] == [0, 1]
    with pytest.raises(ModelError, match="the inputs come in another order: y, x and, in float, x, y"):
        open_case(tmp_path / "True.tflite", tmp_path / "False.tflite", tmp_path / "data.npz")


def test_an_interpreter_that_crashes_is_told_by_its_signal(
    float_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child that runs the file dies; the parent goes on, and says of what."""
    (tmp_path / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RunError, match=r"crashed the interpreter \(SIGSEGV\)"):
        inner_values(float_file, [np.zeros((1, 8, 8, 1), np.float32)])


def test_an_int8_file_is_no_float_model_to_judge_by(folder: Path) -> None:
    with pytest.raises(ModelError, match="is int8, and no float model"):
        beside_float(folder / "int8.tflite", folder / "int8.tflite", folder / "data.npz")


def test_a_keras_model_of_other_weights_is_not_what_a_file_was_made_from(
    int8_file: bytes, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = import_keras().models.load_model(digits / "digits.keras")
    layer = model.get_layer("conv2d_2")
    layer.set_weights([np.flip(layer.get_weights()[0], 2), *layer.get_weights()[1:]])
    model.save(tmp_path / "retrained.keras")
    (tmp_path / "int8.tflite").write_bytes(int8_file)
    words = ["edgekit", "agree", str(tmp_path / "int8.tflite"), "--data", str(digits / "digits.npz")]
    told, ended = edgekit([*words, "--float", str(tmp_path / "retrained.keras")], monkeypatch)
    assert ended == 3
    assert "not those of the float file" in told
