"""Judging a model: the file itself, in batches, with the preprocessing that travels with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from artifacts import artifact
from toys import Toy

from edgekit import verify
from edgekit.artifact import DataRecord
from edgekit.bench.plan import Plan, delegate_for
from edgekit.bench.run import infer
from edgekit.data.spec import Preprocessing
from edgekit.dataset import Part, load_dataset, load_for
from edgekit.device.local import LocalDevice
from edgekit.errors import DataError, InputError, ModelError, RunError
from edgekit.evaluate import evaluate_model, real_specs, specs_of
from edgekit.model import load_model
from edgekit.pipeline import optimize
from edgekit.tflite.inspect import inspect_model, read_contents
from edgekit.verify import run_file


@pytest.fixture(scope="module")
def scaled(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An artifact made with data whose pixels are 16 times too large, set right by recorded preprocessing."""
    folder = tmp_path_factory.mktemp("scaled")
    with np.load(digits / "digits.npz") as arrays:
        large = {key: value * 16 if key.startswith("x") else value for key, value in arrays.items()}
    np.savez(folder / "large.npz", **large)
    options = {"preprocessing.scale": [1 / 16], "preprocessing.mean": [0.5]}
    settings: dict[str, Any] = {"data": folder / "large.npz", "data_options": options, "benchmark": False}
    optimize(digits / "digits.keras", recipes=["int8"], out=folder / "out", **settings)
    return folder / "out/host/int8", folder / "large.npz"


def test_preprocessing_travels_with_the_artifact(scaled: tuple[Path, Path], tmp_path: Path) -> None:
    artifact, data = scaled
    by_folder, by_file = evaluate_model(artifact, data), evaluate_model(artifact / "digits-int8.tflite", data)
    assert by_folder.scores == by_file.scores
    assert by_folder.scores[0].value > 0.97
    alone = shutil.copy(artifact / "digits-int8.tflite", tmp_path / "alone.tflite")
    assert evaluate_model(alone, data).scores[0].value < 0.9
    (tmp_path / "manifest.json").write_text('{"name": "somebody else\'s"}')
    assert evaluate_model(alone, data).scores[0].value < 0.9


def test_the_users_word_beats_the_record(scaled: tuple[Path, Path]) -> None:
    artifact, data = scaled
    assert evaluate_model(artifact, data, data_options={"preprocessing.scale": [1.0]}).scores[0].value < 0.9


def test_a_dataset_has_to_be_read_with_the_preprocessing_of_the_artifact(scaled: tuple[Path, Path]) -> None:
    artifact, data = scaled
    plain = load_dataset(data)
    with pytest.raises(DataError, match=r"another preprocessing\.mean, preprocessing\.scale than") as caught:
        evaluate_model(artifact, plain)
    assert "overrides" in caught.value.mend
    told = {"preprocessing.scale": [1 / 16], "preprocessing.mean": [0.5]}
    assert evaluate_model(artifact, load_dataset(data, overrides=told)).scores == evaluate_model(artifact, data).scores
    nothing: dict[str, Any] = {"preprocessing.scale": [], "preprocessing.mean": []}
    assert evaluate_model(artifact, plain, data_options=nothing).scores[0].value < 0.9


def test_what_was_made_as_an_autoencoder_is_judged_as_one(tmp_path: Path) -> None:
    record = DataRecord("c" * 64, "autoencoder", {}, Preprocessing(), ())
    folder = artifact(tmp_path / "a", tiny_models.negative((1, 4)), data=record)
    values = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_test=values, y_test=np.arange(20) % 2)
    said: list[dict[str, Any]] = [{}, {"task": "classification"}]
    found = [evaluate_model(folder, tmp_path / "d.npz", data_options=options).scores[0].name for options in said]
    assert found == ["auc", "accuracy"]


def test_what_an_artifact_was_compiled_to_gets_its_preprocessing(scaled: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(scaled[0], tmp_path / "copy")
    compiled = shutil.copyfile(copy / "digits-int8.tflite", copy / "digits-int8_edgetpu.tflite")
    other = shutil.copyfile(compiled, copy / "other.tflite")
    assert evaluate_model(compiled, scaled[1]).scores == evaluate_model(copy, scaled[1]).scores
    assert evaluate_model(other, scaled[1]).scores != evaluate_model(copy, scaled[1]).scores


def test_a_delegate_that_took_nothing_is_told(digits: Path, float_file: bytes, library: str, tmp_path: Path) -> None:
    (tmp_path / "digits.tflite").write_bytes(float_file)
    plan = Plan(delegate=delegate_for(library))
    with LocalDevice() as device:
        found = evaluate_model(tmp_path / "digits.tflite", digits / "digits.npz", plan=plan, device=device, samples=20)
    assert found.warnings[-1] == f"{library} took no operator: all ran on the CPU"


def test_a_tampered_artifact_is_refused(scaled: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(scaled[0], tmp_path / "copy")
    with (copy / "digits-int8.tflite").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match="changed since its manifest"):
        evaluate_model(copy, scaled[1])


def test_a_keras_model_and_its_file_are_scored_alike(digits: Path, float_file: bytes, tmp_path: Path) -> None:
    (tmp_path / "digits.tflite").write_bytes(float_file)
    of_model = evaluate_model(digits / "digits.keras", digits / "digits.npz")
    of_file = evaluate_model(tmp_path / "digits.tflite", digits / "digits.npz")
    assert of_model.scores == of_file.scores
    assert (of_model.runtime, of_file.runtime.split()[0]) == ("keras", "ai-edge-litert")


def test_model_and_data_in_memory_are_scored_as_their_files_are(digits: Path) -> None:
    model = load_model(digits / "digits.keras").keras
    with np.load(digits / "digits.npz") as archive:
        arrays = dict(archive)
    found = evaluate_model(model, arrays)
    assert found.scores == evaluate_model(digits / "digits.keras", digits / "digits.npz").scores
    assert found.model == model.name
    assert evaluate_model(model, lambda: arrays).scores == found.scores
    with pytest.raises(InputError, match=r"the model given is no \.tflite file"):
        evaluate_model(model, arrays, plan=Plan(threads=2))


def test_without_labels_there_is_nothing_to_score(digits: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((50, 8, 8, 1), np.float32))
    with pytest.raises(DataError, match="no labels"):
        evaluate_model(digits / "digits.keras", tmp_path / "x.npz")


def test_batches_give_the_outputs_of_single_samples(digits: Path, float_file: bytes) -> None:
    summary = inspect_model(float_file)
    data = load_for(real_specs(summary.inputs), real_specs(summary.outputs), digits / "digits.npz")
    part = data.part("test")
    outputs = run_file(float_file, part, batch=64)
    assert outputs.batch == 64
    np.testing.assert_allclose(outputs.arrays[0], infer(float_file, list(part.array())).outputs[0], atol=1e-5)


def test_a_twin_that_disagrees_is_not_used(digits: Path, float_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the twin is another network: its outputs are all wrong."""
    summary = inspect_model(float_file)
    data = load_for(real_specs(summary.inputs), real_specs(summary.outputs), digits / "digits.npz")
    part = data.part("test").take(40)
    expected = run_file(float_file, part, batch=1)

    def spoiled(model: bytes) -> bytes:
        from edgekit.tflite.surgery import pack, unpack

        tree = unpack(model)
        for buffer in tree.buffers:
            if buffer.data is not None and len(buffer.data) > 10_000:
                buffer.data = np.zeros_like(buffer.data)
        return pack(tree)

    monkeypatch.setattr(verify, "batched_twin", spoiled)
    found = run_file(float_file, part, batch=64)
    assert found.batch == 1
    np.testing.assert_array_equal(found.arrays[0], expected.arrays[0])


def test_a_twin_that_cannot_run_is_not_used(digits: Path, float_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = inspect_model(float_file)
    data = load_for(real_specs(summary.inputs), real_specs(summary.outputs), digits / "digits.npz")
    real = verify.infer

    def refusing(*words: Any, batch: int = 1, **settings: Any) -> Any:
        if batch > 1:
            raise RunError("no batch today")
        return real(*words, batch=batch, **settings)

    monkeypatch.setattr(verify, "infer", refusing)
    assert run_file(float_file, data.part("test").take(20), batch=64).batch == 1


def test_a_file_that_answers_yes_or_no_runs_in_batches() -> None:
    graph = tiny_models.Graph()
    x, zero = graph.tensor("x", (1, 2)), graph.constant("zero", np.zeros((1,), np.float32))
    y = graph.tensor("y", (1, 2), tiny_models.BOOL)
    graph.operator(tiny_models.GREATER, [x, zero], [y])
    values = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    outputs = run_file(graph.bytes([x], [y]), Part("test", (values,)), batch=16)
    assert outputs.batch == 16
    np.testing.assert_array_equal(outputs.arrays[0], values > 0)


def test_what_a_signature_calls_the_outputs_goes_with_them() -> None:
    toy = Toy()
    x, *outputs = (toy.tensor((1, 4)) for _ in range(3))
    for output in outputs:
        toy.operator("NEG", [x], [output])
    toy.signature("serving_default", {"image": x}, {"kind": outputs[1], "size": outputs[0]})
    found = specs_of(read_contents(toy.bytes([x], outputs)))
    assert [[(spec.name, spec.alias) for spec in side] for side in found] == [
        [("t0", "image")],
        [("t1", "size"), ("t2", "kind")],
    ]
    toy.signature("other", {"image": x}, {"kind": outputs[0], "size": outputs[1]})
    assert {spec.alias for side in specs_of(read_contents(toy.bytes([x], outputs))) for spec in side} == {""}
