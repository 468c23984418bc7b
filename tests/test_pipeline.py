"""The whole road: what comes out, that it is the same every time, and that nothing is lost on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit import makings, pipeline
from edgekit.artifact import Artifact
from edgekit.dataset import load_dataset
from edgekit.errors import DataError, GateError, ModelError, OutputError, RecipeError, RunError, TargetError
from edgekit.evaluate import evaluate_model
from edgekit.gate import Gate
from edgekit.pipeline import optimize
from edgekit.recipe import Recipe
from edgekit.request import Request
from edgekit.run import Run
from edgekit.stages.convert import Convert
from edgekit.stages.prune_channels import PruneChannels
from edgekit.target import load_target, target_names
from edgekit.tf import import_keras
from edgekit.workspace import Workspace, workspace

TARGETS = ("raspberry-pi-4", "coral-usb")


@pytest.fixture(scope="module")
def built(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Two targets, two recipes where both run, measured."""
    out = tmp_path_factory.mktemp("built") / "out"
    run = optimize(digits / "digits.keras", data=digits / "digits.npz", targets=TARGETS, recipes=["int8"], out=out)
    return run, out


def test_every_artifact_is_whole_and_proven(built: tuple[Run, Path]) -> None:
    run, out = built
    assert [manifest.name for manifest in run.artifacts] == ["raspberry-pi-4/int8", "coral-usb/int8"]
    for manifest in run.artifacts:
        artifact = Artifact.load(out / manifest.name)
        assert artifact.manifest == manifest
        assert hashlib.sha256(artifact.model).hexdigest() == manifest.sha256
        assert manifest.verification is not None
        assert manifest.verification.samples == 597
        assert manifest.verification.batch > 1
        score, difference = manifest.verification.scores[0], manifest.verification.differences[0]
        assert score.value > 0.97
        assert difference.low <= score.value - run.reference.scores[0].value <= difference.high
        told = manifest.verification.answers[0]
        assert (told.samples, told.classes) == (597, 10)
        assert told.difference == pytest.approx(difference.value)
        assert told.churn == pytest.approx(1 - manifest.verification.agreement.rate)
        assert [line.stage for line in manifest.history] == ["convert", "quantize"]
        assert manifest.history[1].deflated_bytes < manifest.history[0].deflated_bytes  # type: ignore[operator]
        assert manifest.sha256 in run.measurements
    assert [manifest.inputs[0].dtype for manifest in run.artifacts] == ["float32", "uint8"]


def test_what_a_cell_ends_with_is_told_in_a_line(built: tuple[Run, Path]) -> None:
    run, out = built
    artifact = repr(Artifact.load(out / "coral-usb/int8"))
    assert artifact.startswith("Artifact(coral-usb/int8: digits-int8.tflite, ")
    assert repr(run).startswith("Run(digits: raspberry-pi-4/int8 accuracy 0.9")
    assert max(len(artifact), len(repr(run))) < 200
    assert repr(run).endswith(f"; {len(run.warnings)} warnings, 0 gates not met)")


def test_a_dataset_keeps_its_calibration_samples_and_it_is_told(digits: Path, tmp_path: Path) -> None:
    data = load_dataset(digits / "digits.npz")
    settings: dict[str, Any] = {"recipes": ["int8:calibration=300"], "benchmark": False}
    run = optimize(digits / "digits.keras", data=data, out=tmp_path / "out", **settings)
    assert any("calibrated on 200 samples, the recipe asks for 300" in warning for warning in run.warnings)
    with pytest.raises(DataError, match="read with another metric than"):
        optimize("none.keras", data=data, data_options={"metric": "auc"}, out=tmp_path / "auc", **settings)


def test_the_folder_is_complete_and_nothing_else_is_left(built: tuple[Run, Path]) -> None:
    run, out = built
    assert sorted(path.name for path in out.iterdir()) == ["coral-usb", "raspberry-pi-4", "report.html", "run.json"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert msgspec.json.decode((out / "run.json").read_bytes(), type=Run) == run
    assert str(Path.home()) not in (out / "coral-usb/int8/manifest.json").read_text()


def test_the_same_inputs_give_the_same_bytes(built: tuple[Run, Path], digits: Path, tmp_path: Path) -> None:
    """In another process, another folder, another hash seed."""
    _, out = built
    command = [sys.executable, "-m", "edgekit", "optimize", str(digits / "digits.keras"), "--data"]
    command += [str(digits / "digits.npz"), "-t", TARGETS[0], "-t", TARGETS[1], "-r", "int8", "-o", "again"]
    environment = {**os.environ, "PYTHONHASHSEED": "42", "TZ": "Asia/Tokyo"}
    subprocess.run([*command, "--no-benchmark"], check=True, capture_output=True, cwd=tmp_path, env=environment)
    for target in TARGETS:
        for name in ("digits-int8.tflite", "manifest.json", "recipe.toml"):
            place = Path(target) / "int8" / name
            assert (tmp_path / "again" / place).read_bytes() == (out / place).read_bytes(), place


def test_a_result_is_not_overwritten_unless_asked(built: tuple[Run, Path], digits: Path, tmp_path: Path) -> None:
    _, out = built
    before = (out / "run.json").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        optimize(digits / "digits.keras", out=out)
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").touch()
    with pytest.raises(OutputError, match="not a result of edgekit"):
        optimize(digits / "digits.keras", out=foreign, overwrite=True)
    assert (out / "run.json").read_bytes() == before
    assert (foreign / "holiday.jpg").exists()


def test_an_interrupted_run_goes_on_at_the_first_unfinished_stage(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> bytes:
        raise KeyboardInterrupt

    settings: dict[str, Any] = {"data": digits / "digits.npz", "recipes": ["int8"], "benchmark": False}
    with monkeypatch.context() as patch:
        patch.setattr(makings, "quantize", stop)
        with pytest.raises(KeyboardInterrupt):
            optimize(digits / "digits.keras", out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
    said: list[str] = []
    optimize(digits / "digits.keras", out=tmp_path / "out", say=said.append, **settings)
    kept = [line.partition(":")[0] for line in said if "kept from before" in line]
    assert "convert to float32" in kept
    assert "calibrate on 200 samples" in kept
    assert not any("quantize" in line for line in kept)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_killed_process_is_resumed_with_the_bytes_of_an_undisturbed_one(
    built: tuple[Run, Path], digits: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "edgekit", "optimize", str(digits / "digits.keras"), "--data"]
    command += [str(digits / "digits.npz"), "-t", "raspberry-pi-4", "-r", "int8", "--no-benchmark", "-o", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stages = tmp_path / "out.partial" / "stages"
    deadline = time.monotonic() + 60
    while not (stages.is_dir() and any(stages.iterdir())) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    place = "raspberry-pi-4/int8/digits-int8.tflite"
    assert (tmp_path / "out" / place).read_bytes() == (built[1] / place).read_bytes()


def test_a_changed_setting_is_never_answered_with_an_old_result(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    settings: dict[str, Any] = {"data": digits / "digits.npz", "benchmark": False, "out": tmp_path / "out"}
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "render_report", stop)
        with pytest.raises(KeyboardInterrupt):
            optimize(digits / "digits.keras", recipes=["int8:calibration=20"], **settings)
    run = optimize(digits / "digits.keras", recipes=["int8:calibration=100"], **settings)
    fresh = optimize(
        digits / "digits.keras",
        recipes=["int8:calibration=100"],
        data=digits / "digits.npz",
        benchmark=False,
        out=tmp_path / "fresh",
    )
    assert run.artifacts[0].sha256 == fresh.artifacts[0].sha256
    variants = sorted(path.name for path in (tmp_path / "out" / "host").iterdir())
    assert variants == [run.artifacts[0].recipe.slug], "what the interrupted call had written is gone"


def test_a_changed_metric_of_the_users_own_judges_anew(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    metric = tmp_path / "own.py"
    settings: dict[str, Any] = {
        "data": digits / "digits.npz",
        "data_options": {"metric": f"{metric}:own"},
        "recipes": ["float16"],
        "benchmark": False,
        "out": tmp_path / "out",
    }
    metric.write_text("def own(y, out):\n    return 1.0\n")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "render_report", stop)
        with pytest.raises(KeyboardInterrupt):
            optimize(digits / "digits.keras", **settings)
    metric.write_text("def own(y, out):\n    return 2.0\n")
    judged = optimize(digits / "digits.keras", **settings).artifacts[0].verification
    assert judged is not None
    assert judged.scores[0].value == 2


def test_a_measurement_by_other_tools_is_taken_again(
    float_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[object] = []
    monkeypatch.setattr(makings, "measure", lambda *given: measured.append(given))
    with workspace(tmp_path / "out", False, print) as work:
        for runtime in ("1", "1", "2"):
            made = makings.Makings(None, None, work, (), print)  # type: ignore[arg-type]
            made.tools = {"runtime": runtime}
            made.measurement(float_file)
    assert len(measured) == 2


def test_a_measurement_on_another_machine_is_taken_again(
    float_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, work = list[object](), Workspace(tmp_path, print)
    monkeypatch.setattr(makings, "measure", lambda *given: measured.append(given))
    for facts in (("pi", 4), ("pi", 4), ("desk", 4), ("desk", 2)):
        monkeypatch.setattr(makings.platform, "node", lambda facts=facts: facts[0])
        monkeypatch.setattr(makings, "usable_cores", lambda facts=facts: facts[1])
        makings.Makings(None, None, work, (), print).measurement(float_file)  # type: ignore[arg-type]
    assert len(measured) == 3


def test_a_calibration_by_other_tools_is_made_again(
    float_file: bytes, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, seen = load_dataset(digits / "digits.npz"), list[int]()

    def observe(*_: object, **__: object) -> Any:
        seen.append(1)
        return SimpleNamespace(slow="", to_bytes=lambda: b"ranges")

    monkeypatch.setattr(makings, "observe", observe)
    monkeypatch.setattr(makings, "observed_from", lambda found, file: found)
    for runtime in ("1", "1", "2"):
        made = makings.Makings(None, data, Workspace(tmp_path, print), (), print)  # type: ignore[arg-type]
        made.tools = {"runtime": runtime}
        made.observed(float_file, 10)
    assert len(seen) == 2


def _saved(folder: Path, *layers: Any) -> Path:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    keras.Sequential([*layers, keras.layers.Dense(3)]).save(folder / "small.keras")
    return folder / "small.keras"


def test_ids_in_a_float_input_are_not_made_integers_of_8_bits(tmp_path: Path) -> None:
    keras = import_keras()
    inner = keras.layers.Embedding(500, 4), keras.layers.Flatten()
    model = _saved(tmp_path, keras.Input((6,), name="ids"), *inner)
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).integers(0, 500, (80, 6)))
    settings: dict[str, Any] = {"data": tmp_path / "d.npz", "benchmark": False}
    with pytest.raises(ModelError, match="input 'ids' is float32 and the model casts it to whole numbers") as refused:
        optimize(model, recipes=["int8"], out=tmp_path / "int8", **settings)
    assert "dtype='int32'" in refused.value.mend
    assert optimize(model, recipes=["float16"], out=tmp_path / "float16", **settings).artifacts


def test_recurrent_layers_that_stay_in_float_are_warned_of(tmp_path: Path) -> None:
    keras = import_keras()
    model = _saved(tmp_path, keras.Input((5, 4)), keras.layers.GRU(6))
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(80, 5, 4)).astype(np.float32))
    run = optimize(model, data=tmp_path / "d.npz", recipes=["int8", "float16"], out=tmp_path / "out", benchmark=False)
    (said,) = [warning for warning in run.warnings if "loops" in warning]
    assert said.startswith("host/int8: recurrent layers run as loops, which stay in float")
    assert "`-r qat-int8`" in said


def test_what_a_latency_decides_depends_on_the_batch_it_was_measured_with() -> None:
    cut = PruneChannels(latency=0.5)
    one, four = (Recipe("r", (cut, Convert(batch=batch))) for batch in (1, 4))
    host = load_target("host")
    assert makings.cut_by(host, one) != makings.cut_by(host, four)


def test_two_runs_do_not_share_a_folder(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"recipes": ["float16"], "benchmark": False, "out": tmp_path / "out"}

    def second(*_: object) -> bytes:
        with pytest.raises(OutputError, match="in use by another run"):
            optimize(digits / "digits.keras", **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(makings, "quantize", second)
    with pytest.raises(KeyboardInterrupt):
        optimize(digits / "digits.keras", **settings)


def test_a_gate_that_is_missed_says_by_how_much_and_keeps_the_result(built: tuple[Run, Path]) -> None:
    run, _ = built
    assert run.gates == ()
    run.accept()
    strict = [fault for manifest in run.artifacts for fault in Gate(-0.5).unmet(manifest, "accuracy")]
    assert len(strict) == 2
    assert "more than -0.5" in strict[0]
    with pytest.raises(GateError, match="accuracy"):
        msgspec.structs.replace(run, gates=tuple(strict)).accept()


def test_a_missed_gate_is_explained_by_the_doctor(digits: Path, tmp_path: Path) -> None:
    """Channels far apart, which float does not mind and one scale for all of them does."""
    import keras

    model = keras.models.load_model(digits / "digits.keras")
    factors = np.exp(np.random.default_rng(0).uniform(-3.5, 3.5, 32)).astype(np.float32)
    normalization, reader = model.get_layer("batch_normalization"), model.get_layer("conv2d_1")
    gamma, beta, *moments = normalization.get_weights()
    normalization.set_weights([gamma * factors, beta * factors, *moments])
    reader.set_weights([reader.get_weights()[0] / factors[:, None]])
    model.save(tmp_path / "apart.keras")
    settings: dict[str, Any] = {"data": digits / "digits.npz", "targets": ["raspberry-pi-4"], "benchmark": False}
    run = optimize(
        tmp_path / "apart.keras", recipes=["int8:per-tensor"], out=tmp_path / "out", max_drop="1%", **settings
    )
    (name,) = run.diagnoses
    assert run.diagnoses[name].findings[0].code == "scale-disparity"
    assert run.gates[0].startswith(name)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Why it loses" in page
    assert "scale-disparity" in page
    with pytest.raises(GateError) as refused:
        run.accept()
    assert "edgekit doctor" in refused.value.mend


def test_without_data_nothing_is_claimed(digits: Path, tmp_path: Path) -> None:
    run = optimize(digits / "digits.keras", recipes=["dynamic-int8"], out=tmp_path / "out", benchmark=False)
    assert run.artifacts[0].verification is None
    assert run.artifacts[0].data is None
    assert any("nothing was verified" in warning for warning in run.warnings)
    with pytest.raises(DataError, match="no calibration data"):
        optimize(digits / "digits.keras", recipes=["int8"], out=tmp_path / "other")
    with pytest.raises(DataError, match="labelled data"):
        optimize(digits / "digits.keras", recipes=["float16"], max_drop=0.01, out=tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_every_shipped_target_gets_a_file_that_it_can_run(digits: Path, tmp_path: Path) -> None:
    names = target_names()
    settings: dict[str, Any] = {"data": digits / "digits.npz", "targets": names, "benchmark": False}
    run = optimize(digits / "digits.keras", out=tmp_path / "out", max_drop="2%", **settings)
    assert [manifest.target for manifest in run.artifacts] == names
    assert run.gates == ()
    for manifest in run.artifacts:
        rules = load_target(manifest.target).numerics
        assert manifest.numeric in rules.schemes
        assert {tensor.dtype for tensor in (*manifest.inputs, *manifest.outputs)} <= {*rules.io}
    assert len(set(run.warnings)) == len(run.warnings)


def test_a_float_tflite_file_goes_the_post_training_way(float_file: bytes, digits: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.tflite"
    path.write_bytes(float_file)
    run = optimize(path, data=digits / "digits.npz", recipes=["int8"], out=tmp_path / "out", benchmark=False)
    assert run.artifacts[0].verification is not None
    assert run.artifacts[0].verification.scores[0].value > 0.97


def test_a_keras_model_in_memory_and_several_recipes(digits: Path, tmp_path: Path) -> None:
    model = import_keras().models.load_model(digits / "digits.keras")
    recipes = ["int8:io=int8", "int16x8:engine=litert", "float32", "int8:batch=4"]
    run = optimize(model, data=digits / "digits.npz", recipes=recipes, out=tmp_path / "out", benchmark=False)
    assert [manifest.numeric for manifest in run.artifacts] == ["int8", "int16x8", "float32", "int8"]
    assert [manifest.inputs[0].shape[0] for manifest in run.artifacts] == [1, 1, 1, 4]
    assert all(m.verification and m.verification.scores[0].value > 0.97 for m in run.artifacts)
    assert sorted(run.reference.files) == [1, 4]


def test_models_with_two_inputs_and_outputs_go_the_whole_way(tmp_path: Path) -> None:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="a_right")
    joined = keras.layers.Concatenate()([left, right])
    outputs = [
        keras.layers.Dense(2, name="value")(joined),
        keras.layers.Dense(3, activation="softmax", name="a")(joined),
    ]
    model = keras.Model([left, right], outputs)
    rng = np.random.default_rng(0)
    arrays = {"x.left": rng.normal(size=(400, 4)).astype("f"), "x.a_right": rng.normal(size=(400, 3)).astype("f")}
    np.savez(tmp_path / "data.npz", **arrays)
    run = optimize(model, data=tmp_path / "data.npz", recipes=["int8"], out=tmp_path / "out", benchmark=False)
    manifest = run.artifacts[0]
    assert [tensor.name for tensor in manifest.inputs] == ["left", "a_right"]
    assert [tensor.name for tensor in manifest.outputs] == ["value", "a"]
    assert manifest.verification is not None
    assert manifest.verification.agreement.sqnr_db is not None
    assert manifest.verification.agreement.sqnr_db > 25


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"targets": ["raspbery-pi-4"]}, TargetError, "did you mean 'raspberry-pi-4'"),
        ({"recipes": ["int88"]}, RecipeError, "did you mean 'int8'"),
        ({"targets": ["coral-usb"], "recipes": ["float16"]}, RecipeError, "cannot run 'float16'"),
        ({"model": "digits.kers"}, ModelError, "no such file"),
        ({"data": "digits.npy"}, DataError, "digits.npy"),
        ({"data_options": {"metrik": "auc"}}, DataError, "did you mean 'metric'"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    change: dict[str, Any], error: type[Exception], message: str, digits: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"data": digits / "digits.npz", "recipes": ["int8"], "out": tmp_path / "out", **change}
    with pytest.raises(error) as caught:
        optimize(settings.pop("model", digits / "digits.keras"), **settings)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_missing_calibration_samples_are_told_from_missing_data(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        optimize("never-looked-for.keras", out=tmp_path / "out")
    assert "give --data" in caught.value.mend
    with np.load(digits / "digits.npz") as arrays:
        np.savez(tmp_path / "test.npz", x_test=arrays["x_test"], y_test=arrays["y_test"])
    with pytest.raises(DataError, match=r"only test \(597\)") as caught:
        optimize(digits / "digits.keras", data=tmp_path / "test.npz", out=tmp_path / "out")
    assert "x_calibration" in caught.value.mend


def test_a_gate_that_can_never_fail_is_refused(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="accepts every loss") as caught:
        optimize(digits / "digits.keras", data=digits / "digits.npz", max_drop=1.0, out=tmp_path / "out")
    assert "--max-drop 1%" in caught.value.mend


def test_a_gate_needs_labels_in_the_part_that_judges(digits: Path, tmp_path: Path) -> None:
    with np.load(digits / "digits.npz") as arrays:
        np.savez(tmp_path / "d.npz", **{name: array for name, array in arrays.items() if name != "y_test"})
    with pytest.raises(DataError, match="needs labelled data"):
        optimize(digits / "digits.keras", data=tmp_path / "d.npz", max_drop="1%", out=tmp_path / "out")


def test_a_single_name_is_not_read_letter_by_letter() -> None:
    pairs = Request.plan("host", "int8").pairs
    assert [(target.name, recipe.name) for target, recipe in pairs] == [("host", "int8")]


def test_a_target_that_was_loaded_is_as_good_as_its_name() -> None:
    host = load_target("host")
    assert Request.plan(host, "int8") == Request.plan("host", "int8") == Request.plan(["host", host], "int8")
    other = msgspec.structs.replace(host, title="another board of the same name")
    with pytest.raises(RecipeError, match="two variants would be written"):
        Request.plan([host, other], "int8")


def test_a_recipe_that_was_built_in_python_is_taken_and_checked() -> None:
    sound = Recipe.parse("int8:calibration=50")
    assert Request.plan("host", sound) == Request.plan("host", [sound]) == Request.plan("host", "int8:calibration=50")
    wild = msgspec.structs.replace(sound, seed=-1)
    with pytest.raises(RecipeError, match="seed"):
        Request.plan("host", [wild])
    for given in (Convert(), [Convert()]):
        with pytest.raises(RecipeError, match="Convert is no recipe"):
            Request.plan("host", given)  # type: ignore[arg-type]


def test_a_float_tflite_file_gets_an_engine_that_can_start_from_it(float_file: bytes, tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(float_file)
    made = optimize(tmp_path / "float.tflite", recipes=["dynamic-int8"], out=tmp_path / "out", benchmark=False)
    assert [manifest.numeric for manifest in made.artifacts] == ["dynamic-int8"]
    assert made.artifacts[0].recipe.quantize.engine == "litert"
    asked = ["dynamic-int8:engine=converter"]
    with pytest.raises(RecipeError, match="only from Keras"):
        optimize(tmp_path / "float.tflite", recipes=asked, out=tmp_path / "other", benchmark=False)


def test_a_file_is_evaluated_as_what_it_holds(digits: Path, float_file: bytes, tmp_path: Path) -> None:
    (tmp_path / "really-tflite.keras").write_bytes(float_file)
    found = evaluate_model(tmp_path / "really-tflite.keras", digits / "digits.npz")
    assert found.runtime != "keras"
    assert found.samples == 597


def test_a_recipe_that_would_overwrite_another_is_refused(digits: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(Recipe.parse("float16").to_toml().replace('name = "float16"', 'name = "int8"'))
    with pytest.raises(RecipeError, match="host/int8"):
        optimize(digits / "digits.keras", data=digits / "digits.npz", recipes=["int8", recipe], out=tmp_path / "out")


def test_a_variant_that_the_runtime_refuses_is_named_with_the_way_out() -> None:
    cause = RunError("invoke: div.cc:262 data[i] != zero_point was not true.Node number 195 (DIV) failed to invoke.")
    assert makings._explained(cause, "int8").mend.endswith("int8:keep-float=DIV")
    assert makings._explained(cause, "int8:io=int8").mend.endswith("int8:io=int8,keep-float=DIV")
    assert makings._explained(cause, "int8:keep-float=ADD,seed=1").mend.endswith("int8:keep-float=ADD+DIV,seed=1")


@pytest.mark.parametrize("title", ["float32", "dynamic-int8", "my-recipe", "int8 after quantize", "int8 (litert)"])
def test_no_recipe_is_named_that_would_be_refused(title: str) -> None:
    cause = RunError("Node number 195 (DIV) failed to invoke.", "report it")
    assert makings._explained(cause, title).mend == "report it"


def test_the_command_line_prints_a_table_and_its_json(
    digits: Path, tmp_path: Path, edgekit_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["optimize", digits / "digits.keras", "--data", digits / "digits.npz", "-r", "float16", "--no-benchmark"]
    done = edgekit_cli(*words, "-o", "a", "--max-drop", "1%")
    assert done.returncode == 0, done.stderr
    assert "(float model)" in done.stdout
    assert done.stdout.rstrip().endswith("a/report.html")
    assert "load the model" in done.stderr.splitlines()
    found = json.loads(edgekit_cli(*words, "-o", "b", "--json").stdout)
    assert found["artifacts"][0]["numeric"] == "float16"
    again = edgekit_cli(*words, "-o", "b")
    assert (again.returncode, again.stdout) == (3, "")
    assert "--overwrite" in again.stderr
