"""What people give to qat-int8 by mistake, from the command line: each is an error that names the mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.cli import cli
from edgekit.errors import DataError, EdgekitError, ModelError, RecipeError
from edgekit.model import load_model
from edgekit.stages.calibrate import calibrate
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize

Array = np.ndarray[Any, Any]

QAT = """name = "mine"
[[stages]]
stage = "convert"
[[stages]]
stage = "quantize"
scheme = "int8"
[[stages]]
stage = "quantize_aware"
training = {{ epochs = 9, batch_size = 16 }}
{}
"""


@pytest.fixture
def refused(tmp_path: Path, digits: Path) -> Callable[..., EdgekitError]:
    """The error that `edgekit optimize` ends with; data are the digits, some of them changed."""
    with np.load(digits / "digits.npz") as stored:
        arrays = {name: array[:200] for name, array in stored.items()}

    def run(model: Path, recipe: str = "qat-int8", data: bool = True, **changes: Array | None) -> EdgekitError:
        kept = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
        np.savez(tmp_path / "data.npz", **kept)
        words = ["optimize", str(model), "-r", recipe, "-o", str(tmp_path / "out"), "--no-benchmark"]
        with pytest.raises(EdgekitError) as caught:
            cli.main([*words, *(("--data", str(tmp_path / "data.npz")) if data else ())], standalone_mode=False)
        return caught.value

    return run


def test_data_that_cannot_train(refused: Callable[..., EdgekitError], digits: Path) -> None:
    model, rng = digits / "digits.keras", np.random.default_rng(0)
    x = rng.normal(size=(200, 8, 8, 1)).astype(np.float32)
    for error, problem, mend in (
        (refused(model, data=False), "quantize_aware trains, and no data was given", "a training part"),
        (refused(model, x_train=None, y_train=None), "the data has only test", "a training part"),
        (refused(model, x_train=np.where(x > 3, np.nan, x)), "NaN", "remove these samples"),
        (refused(model, x_train=x[:, :7], x_test=x[:, :7]), r"samples have shape (7, 8, 1)", "8"),
    ):
        assert isinstance(error, DataError)
        assert problem in error.problem
        assert mend in error.mend
    few = refused(model)
    assert isinstance(few, RecipeError)
    assert "10 steps are too few to learn ranges, 50 are needed" in few.problem


def test_models_that_are_not_float_any_more(
    refused: Callable[..., EdgekitError], digits: Path, float_file: bytes, tmp_path: Path
) -> None:
    network, file = load_model(digits / "digits.keras").keras, float_file
    samples = np.zeros((4, 8, 8, 1), np.float32)
    numerics = Quantize("int8", "per-channel", "per-channel", "int8", "converter")
    (tmp_path / "int8.tflite").write_bytes(quantize(Source(file, calibrate(file, [samples])), numerics))
    integer = refused(tmp_path / "int8.tflite")
    assert isinstance(integer, ModelError)
    assert "works on a Keras model, and this is a tflite" in integer.problem
    weights = network.get_weights()
    weights[0].flat[3] = np.nan
    network.set_weights(weights)
    network.save(tmp_path / "broken.keras")
    assert "NaN or infinity in the weights conv2d" in refused(tmp_path / "broken.keras").problem


@pytest.mark.parametrize(
    ("rule", "problem", "mend"),
    [
        ('layers = [{ pattern = "digits", bits = 4 }]', "'digits' matches no layer", "did you mean 'digit'?"),
        ('layers = [{ pattern = "resc*", keep = true }]', "('resc*') has no operator", "conv2d"),
        ('layers = [{ pattern = "conv2d", bits = 9 }]', "bits", ""),
        ("steps = 3", "steps", "did you mean"),
    ],
)
def test_exceptions_that_fit_no_layer(
    rule: str, problem: str, mend: str, refused: Callable[..., EdgekitError], digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(QAT.format(rule))
    error = refused(digits / "digits.keras", str(tmp_path / "mine.toml"))
    assert isinstance(error, RecipeError)
    assert problem in error.problem
    assert mend in error.mend
