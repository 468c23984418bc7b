"""Agreement: sides that are one function agree, and where one is tampered with, that operator is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from click.testing import CliRunner
from crooked import crooked, kernels, with_another_kernel
from tiny_models import custom

from edgekit.bench.plan import Plan
from edgekit.cli.agree import command
from edgekit.data.parts import Part
from edgekit.doctor.agree import agree
from edgekit.doctor.agreement import HYBRID, compared, operators_compared
from edgekit.doctor.case import lowered
from edgekit.doctor.sides import FileSide, KerasSide, Simulation
from edgekit.errors import DataError, GateError, ModelError
from edgekit.model import load_model
from edgekit.report.agreement import agreement_text
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.tf import import_keras
from edgekit.tflite.inspect import TensorInfo, read_contents

REFERENCE = Plan(xnnpack=False)


@pytest.fixture(scope="module")
def file(int8_file: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agree") / "digits-int8.tflite"
    path.write_bytes(int8_file)
    return path


@pytest.fixture(scope="module")
def some(digits: Path) -> Part:
    with np.load(digits / "digits.npz") as arrays:
        return Part("test", (arrays["x_test"][:2],))


@pytest.fixture(scope="module")
def retrained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Keras model with other weights in its second convolution, so that the file is no longer of it."""
    model = import_keras().models.load_model(digits / "digits.keras")
    layer = model.get_layer("conv2d_1")
    layer.set_weights([np.flip(layer.get_weights()[0], 0), *layer.get_weights()[1:]])
    path = tmp_path_factory.mktemp("retrained") / "retrained.keras"
    model.save(path)
    return path


def test_keras_simulation_and_both_kernels_agree(file: Path, digits: Path) -> None:
    found = agree(file, digits / "digits.npz", source=digits / "digits.keras", samples=20)
    assert found.same
    assert found.left_out == ()
    assert [(leg.one, leg.other) for leg in found.legs] == [
        ("Keras model", "float32 file"),
        ("integer simulation", "reference kernels"),
        ("reference kernels", "XNNPACK"),
    ]
    computed = [op.output_name for op in read_contents(file.read_bytes()).operators]
    assert all([one.tensor for one in leg.operators] == computed for leg in found.legs[1:])
    assert "PART" not in agreement_text(found)


@pytest.mark.parametrize("place", [0, -1])
def test_a_device_that_computes_something_else_is_found_at_its_first_operator(
    place: int, file: Path, digits: Path
) -> None:
    number = kernels(file.read_bytes())[place]
    operator = read_contents(file.read_bytes()).operators[number]
    with crooked(lambda given: with_another_kernel(given, number)) as device:
        found = agree(file, digits / "digits.npz", samples=8, device=device)
    leg = found.legs[-1]
    assert not found.same
    assert leg.other.startswith("crooked")
    assert leg.parted is not None
    assert (leg.parted.tensor, leg.parted.operator, leg.parted.index) == (operator.output_name, operator.name, number)
    assert [one.index for one in leg.operators if one.quanta > one.bound] == [number]
    assert f"first at '{operator.output_name.split(';')[0]}' ({operator.name}, #{number})" in agreement_text(found)


def test_a_device_that_cannot_show_its_tensors_is_judged_by_its_outputs(file: Path, digits: Path) -> None:
    outputs = len(read_contents(file.read_bytes()).outputs)

    def change(model: bytes) -> bytes | None:
        whole = len(read_contents(model).outputs) == outputs
        return with_another_kernel(model, kernels(model)[0]) if whole else None

    with crooked(change) as device:
        found = agree(file, digits / "digits.npz", samples=8, device=device)
    assert not found.same
    assert found.legs[-1].parted is None
    assert "cannot be compared one by one" in agreement_text(found)


def test_a_device_that_is_wrong_only_as_deployed_is_found(file: Path, digits: Path) -> None:
    """What fuses operators may compute something else than the operators: showing all tensors then hides it."""
    outputs = len(read_contents(file.read_bytes()).outputs)

    def change(model: bytes) -> bytes:
        whole = len(read_contents(model).outputs) == outputs
        return with_another_kernel(model, kernels(model)[0]) if whole else model

    with crooked(change) as device:
        found = agree(file, digits / "digits.npz", samples=8, device=device)
    assert not found.same
    assert "stops some fusing" in (found.legs[-1].unseen or "")


@pytest.mark.parametrize("scheme", ["float16", "dynamic-int8"])
def test_files_that_unpack_or_round_on_the_fly_agree(
    scheme: Literal["float16", "dynamic-int8"], float_file: bytes, digits: Path, tmp_path: Path
) -> None:
    path = tmp_path / "digits.tflite"
    path.write_bytes(quantize(Source(float_file), Quantize(scheme, io="float32", engine="litert")))
    found = agree(path, digits / "digits.npz", samples=8)
    assert found.same, agreement_text(found)
    assert {one.bound for one in found.legs[0].operators} >= ({1.0} if scheme == "float16" else {1.0, HYBRID})


def test_fed_with_its_own_values_a_file_computes_them_again(int8_file: bytes, some: Part) -> None:
    side = FileSide("reference", int8_file, REFERENCE)
    values = side.values(some)
    again = side.alone(some, values)
    assert values.keys() == again.keys()
    assert all((values[index] == again[index]).all() for index in values)


def test_the_simulation_is_of_the_file_with_its_own_integers(int8_file: bytes, some: Part) -> None:
    """Of a file with an integer kernel changed, too; and beside another file it parts at that kernel only."""
    number = kernels(int8_file)[1]
    other = FileSide("changed", with_another_kernel(int8_file, number), REFERENCE)
    of_its_own = operators_compared(Simulation(other.model), other, other.contents, lambda _: 2.0)(some)
    assert all(one.quanta <= 2 for one in of_its_own)
    of_another = operators_compared(Simulation(int8_file), other, other.contents, lambda _: 2.0)(some)
    assert [one.index for one in of_another if one.quanta > 2] == [number]


def test_a_keras_model_that_the_file_is_not_of_parts_at_its_layer(
    float_file: bytes, retrained: Path, digits: Path, tmp_path: Path
) -> None:
    path = tmp_path / "digits.tflite"
    path.write_bytes(float_file)
    found = agree(path, digits / "digits.npz", source=retrained, samples=8)
    parted = found.legs[0].parted
    assert parted is not None
    names = [op.output_name for op in read_contents(float_file).operators]
    assert names.index(parted.tensor) == kernels(float_file)[1]
    assert "integer simulation" in found.left_out[0]
    words = [str(path), "--data", str(digits / "digits.npz"), "--float", str(retrained), "--samples", "8", "--json"]
    done = CliRunner().invoke(command, words)
    assert isinstance(done.exception, GateError)
    assert "Keras model and float32 file part at" in done.exception.problem
    assert json.loads(done.stdout)["legs"][0]["operators"]


def test_inputs_in_another_order_than_the_file_has_go_by_their_names(tmp_path: Path) -> None:
    keras = import_keras()
    a, b = (keras.Input((3,), name=name) for name in "ab")
    less = keras.layers.Subtract()([a, b])
    for name, inputs in (("file", [a, b]), ("turned", [b, a])):
        keras.Model(inputs, less).save(tmp_path / f"{name}.keras")
    (tmp_path / "less.tflite").write_bytes(lowered(load_model(tmp_path / "file.keras")))
    np.savez(tmp_path / "data.npz", **{"x_test.a": np.ones((4, 3)), "x_test.b": np.zeros((4, 3))})
    found = agree(tmp_path / "less.tflite", tmp_path / "data.npz", source=tmp_path / "turned.keras")
    assert found.legs[0].one == "Keras model"
    assert found.same, agreement_text(found)


def test_a_keras_model_is_compared_with_a_file_of_a_larger_batch(some: Part, digits: Path) -> None:
    model = load_model(digits / "digits.keras")
    found = list(KerasSide(model).compared_with(lowered(model, 8), some))
    assert found
    assert all(one.quanta <= one.bound + 0.01 for one in found)


def test_a_value_that_is_no_number_on_one_side_parts() -> None:
    tensor = TensorInfo("x", (1, 2), "float32")
    found = compared(0, "ADD", tensor, np.array([[1.0, np.nan]]), np.array([[1.0, 2.0]]), 1.0)
    assert found.quanta == np.inf
    assert found.beyond == 0.5


def test_input_that_cannot_be_used_is_refused(file: Path, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no \.tflite file"):
        agree(digits / "digits.keras", digits / "digits.npz")
    np.savez(tmp_path / "other.npz", x_test=np.zeros((3, 9, 9, 1), np.float32))
    with pytest.raises(DataError, match="shape"):
        agree(file, tmp_path / "other.npz")
    path = tmp_path / "custom.tflite"
    path.write_bytes(custom("Detection"))
    np.savez(tmp_path / "four.npz", x_test=np.zeros((3, 4), np.float32))
    with pytest.raises(Exception, match="Detection"):
        agree(path, tmp_path / "four.npz")
