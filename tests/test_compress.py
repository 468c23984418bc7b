"""Compression in a recipe: stages in order, each keeping the earlier ones, resumed, and told in words."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edgekit import compress, run_stage
from edgekit.bench.run import infer
from edgekit.cli.compress import command
from edgekit.compress import Compressed, compress_model
from edgekit.data.parts import Part
from edgekit.errors import DataError, ModelError, OutputError, RecipeError, RunError
from edgekit.model.live import digest
from edgekit.pipeline import optimize
from edgekit.recipe import Recipe
from edgekit.run import Run
from edgekit.stages import teacher
from edgekit.stages.centroids import centroids_of
from edgekit.stages.distill import Distill
from edgekit.stages.kernels import kernels_of
from edgekit.stages.masks import masks_of
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.training import Training
from edgekit.step import Surroundings
from edgekit.talk import Line
from edgekit.tf import import_keras

ALL = "channels50-prune80-cluster16-int8:epochs=2"


@pytest.fixture(scope="module")
def few(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third of the digits, so that an epoch takes a moment."""
    path = tmp_path_factory.mktemp("few") / "few.npz"
    with np.load(digits / "digits.npz") as arrays:
        np.savez(path, **{name: array[:400] for name, array in arrays.items()})
    return path


@pytest.fixture(scope="module")
def built(digits: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, list[str]]:
    """Two recipes that begin alike."""
    out, said = tmp_path_factory.mktemp("built") / "out", list[str]()
    recipes = [ALL, "channels50-prune80-float16:epochs=2"]
    ask = teacher._run

    def asked(model: Any, part: Part, looks: Any) -> Any:
        said.append(f"the teacher is asked about the {part.name} part")
        return ask(model, part, looks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, "_run", asked)
        run = optimize(digits / "digits.keras", data=few, recipes=recipes, out=out, benchmark=False, say=said.append)
    return run, out, said


def test_the_teacher_is_asked_once_for_all_stages_and_recipes(built: tuple[Run, Path, list[str]]) -> None:
    asked = [line for line in built[2] if line.startswith("the teacher is asked")]
    assert asked
    assert len(asked) == len(set(asked))


def test_the_ledger_has_a_line_for_each_stage(built: tuple[Run, Path, list[str]]) -> None:
    run, out, _ = built
    first = run.artifacts[0]
    stages = ["convert", "prune_channels", "distill", "prune_weights", "cluster", "quantize"]
    assert [line.stage for line in first.history] == stages
    lines = dict(zip(stages, first.history, strict=True))
    assert lines["prune_channels"].macs <= lines["convert"].macs / 2
    assert lines["prune_weights"].deflated_bytes < 0.5 * lines["distill"].deflated_bytes  # type: ignore[operator]
    assert lines["cluster"].deflated_bytes < 0.8 * lines["prune_weights"].deflated_bytes  # type: ignore[operator]
    assert lines["quantize"].file_bytes < 0.5 * lines["cluster"].file_bytes  # type: ignore[operator]
    assert lines["distill"].value > lines["prune_channels"].value  # type: ignore[operator]
    assert all(line.metric == "accuracy" and line.value is not None for line in first.history)
    assert msgspec.json.decode((out / "run.json").read_bytes(), type=Run) == run


def test_what_each_stage_did_is_told(built: tuple[Run, Path, list[str]]) -> None:
    run, out, said = built
    reports = run.compression[run.artifacts[0].name]
    assert [report.stage for report in reports] == ["prune_channels", "distill", "prune_weights", "cluster"]
    assert all(len(row) == len(report.header) for report in reports for row in report.rows)
    assert [len(report.epochs) for report in reports] == [0, 3, 3, 3]
    assert any("no speed" in note for note in reports[2].notes)
    page = (out / "report.html").read_text()
    assert page.count("What prune_weights did") == 2
    assert "validation" in page
    assert sum("prune_weights: epoch 2/2" in line for line in said) == 1, (
        "recipes that begin alike share their training"
    )


def test_what_zeros_buy_is_said_of_each_target(digits: Path, few: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data": few, "recipes": ["prune50-int8:one-shot"], "benchmark": False}
    targets = ["coral-usb", "cortex-m4", "raspberry-pi-4", "android-arm64"]
    run = optimize(digits / "digits.keras", targets=targets, out=tmp_path / "out", **settings)
    for made in run.artifacts:
        [report] = run.compression[made.name]
        assert any(made.target in note.partition(": no speed")[0] for note in report.notes), report.notes


def test_the_reference_stays_the_model_that_came_in(built: tuple[Run, Path, list[str]]) -> None:
    run, _, _ = built
    assert run.reference.scores[0].value > 0.98
    assert {manifest.model.sha256 for manifest in run.artifacts} == {run.model.sha256}


def test_each_stage_keeps_what_the_earlier_ones_did(digits: Path, few: Path) -> None:
    found = compress_model(digits / "digits.keras", ALL, data=few)
    original = import_keras().saving.load_model(digits / "digits.keras")
    assert found.model.count_params() < 0.6 * original.count_params()
    masks, shared = masks_of(found.model, 0.7), centroids_of(found.model)
    named = {kernel.name for kernel in kernels_of(found.model) if kernel.kind in ("convolution", "pointwise")}
    pruned = {name for name in named if not name.startswith("conv2d/")}
    assert pruned <= masks.keys()
    assert pruned <= shared.keys()
    assert all(max(found.sizes) <= 17 for found in shared.values())


@pytest.mark.slow
def test_an_interrupted_training_goes_on_after_a_kill(digits: Path, few: Path, tmp_path: Path) -> None:
    """The bytes are those of an undisturbed run."""
    command = [sys.executable, "-m", "edgekit", "optimize", str(digits / "digits.keras"), "--data", str(few)]
    command += ["-r", "prune50-int8:epochs=6", "--no-benchmark", "-o"]
    process = subprocess.Popen(
        [*command, "out"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert any("epoch 3/6" in line for line in process.stderr)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run([*command, "out"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "prune_weights: goes on after epoch" in again.stderr
    assert "epoch 1/6" not in again.stderr
    subprocess.run([*command, "whole"], cwd=tmp_path, check=True, capture_output=True)
    place = "host/prune50-int8-epochs-6/digits-prune50-int8-epochs-6.tflite"
    assert (tmp_path / "out" / place).read_bytes() == (tmp_path / "whole" / place).read_bytes()
    assert not (tmp_path / "out.partial").exists()


def test_a_training_that_diverges_keeps_the_last_good_weights(digits: Path, few: Path, tmp_path: Path) -> None:
    stage = PruneWeights(sparsity=0.5, training=Training(epochs=3, learning_rate=900.0))
    recipe = tmp_path / "wild.toml"
    plain = Recipe.parse("prune50-float32")
    recipe.write_text(Recipe("wild", (stage, plain.convert)).to_toml())
    poisoned = tmp_path / "poisoned.npz"
    with np.load(few) as arrays:
        changed = {name: np.array(array) for name, array in arrays.items()}
    changed["x_train"] *= 1e30
    np.savez(poisoned, **changed)
    calls: list[Any] = [
        lambda: optimize(
            digits / "digits.keras", data=poisoned, recipes=[recipe], out=tmp_path / "out", benchmark=False
        ),
        lambda: compress_model(digits / "digits.keras", recipe, data=poisoned, folder=tmp_path / "kept"),
    ]
    for call in calls:
        with pytest.raises(RunError, match="prune_weights") as caught:
            call()
        kept = Path(caught.value.mend.rpartition(" in ")[2])
        weights = import_keras().saving.load_model(kept).get_weights()
        assert all(np.isfinite(weight).all() for weight in weights)


def test_an_integer_training_that_diverges_keeps_the_last_good_file(
    digits: Path, few: Path, tmp_path: Path, edgekit_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    training = Training(epochs=5, batch_size=16, learning_rate=900.0, optimizer="sgd")
    plain = Recipe.parse("int8")
    recipe = tmp_path / "wild.toml"
    recipe.write_text(Recipe("wild", (*plain.stages, QuantizeAware(training=training))).to_toml())
    words = ("--data", few, "-r", recipe, "-o", "out", "--no-benchmark")
    done = edgekit_cli("optimize", digits / "digits.keras", *words)
    assert done.returncode == 5
    assert "error: quantize_aware: the loss is nan in epoch 1" in done.stderr
    assert "lower learning_rate below 900" in done.stderr
    kept = Path(done.stderr.rstrip().rpartition(" in ")[2])
    assert kept == tmp_path / "out.partial" / "stages" / "quantize_aware-last-good.tflite"
    with np.load(few) as arrays:
        samples, labels = arrays["x_test"][:100], arrays["y_test"][:100]
    assert (infer(kept, [samples]).outputs[0].argmax(1) == labels).mean() > 0.9


def test_a_student_and_more_teachers_are_named_in_the_recipe(digits: Path, few: Path, tmp_path: Path) -> None:
    keras = import_keras()
    student = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    student.save(tmp_path / "student.keras")
    stage = Distill(
        student=str(tmp_path / "student.keras"),
        teachers=(str(digits / "digits.keras"),),
        training=Training(epochs=1),
    )
    recipe = Recipe("mine", (stage, Recipe.parse("float32").convert))
    found = compress_model(digits / "digits.keras", recipe, data=few)
    assert found.model.count_params() == 650


def test_a_student_of_python_begins_with_the_weights_of_the_seed(tmp_path: Path) -> None:
    body = "return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])"
    (tmp_path / "mine.py").write_text(f"import keras\n\n\ndef student():\n    {body}\n")

    def begun(seed: int) -> str:
        return digest(run_stage._other(f"{tmp_path / 'mine.py'}:student", Surroundings(None, None, seed=seed)))

    assert begun(1) == begun(1) != begun(2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_model_of_mixed_precision_is_refused_before_any_work(dtype: str) -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, dtype=f"mixed_{dtype}")])
    with pytest.raises(ModelError, match=f"computes in {dtype}") as caught:
        compress_model(model, "prune50:one-shot")
    assert "float32" in caught.value.mend


@pytest.mark.parametrize(
    ("recipe", "data", "error", "message"),
    [
        ("prune50-float32", None, DataError, "prune_weights trains, and no data was given"),
        ("channels50-float32", None, DataError, "distill trains"),
        ("prune50-float32", "test", DataError, "the data has only"),
        ("drop10-float32", "all", RecipeError, "no residual branch"),
        ("prune50-qat-int8:epochs=1", "all", RecipeError, "too few to learn ranges"),
        ("factorize1-float32:one-shot", "all", None, ""),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    recipe: str, data: str | None, error: type[Exception] | None, message: str, digits: Path, few: Path, tmp_path: Path
) -> None:
    given: Any = few if data == "all" else None
    if data == "test":
        given = tmp_path / "test.npz"
        with np.load(few) as arrays:
            np.savez(given, x_test=arrays["x_test"], y_test=arrays["y_test"])
    settings: dict[str, Any] = {"data": given, "recipes": [recipe], "out": tmp_path / "out", "benchmark": False}
    if error is None:
        assert optimize(digits / "digits.keras", **settings).artifacts
        return
    with pytest.raises(error) as caught:
        optimize(digits / "digits.keras", **settings)
    assert message in str(caught.value)
    assert not (tmp_path / "out.partial").exists() or message == "no residual branch"


def test_a_tflite_file_cannot_be_compressed_and_the_way_out_is_named(float_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(float_file)
    for recipe in ("prune50-float32:one-shot", "prune50-float16:one-shot"):
        with pytest.raises(ModelError, match="works on a Keras model, and this is a tflite"):
            optimize(path, recipes=[recipe], out=tmp_path / "out")


def test_every_stage_of_a_recipe_can_be_run() -> None:
    from typing import get_args

    from edgekit.recipe import Compression

    assert set(get_args(Compression)) == set(run_stage._RUN)


def test_quantization_aware_training_ends_the_ledger(digits: Path, tmp_path: Path) -> None:
    recipe = "prune50-qat-int8:epochs=5"
    settings: dict[str, Any] = {"data": digits / "digits.npz", "recipes": [recipe], "benchmark": False}
    run = optimize(digits / "digits.keras", out=tmp_path / "out", **settings)
    made = run.artifacts[0]
    assert [line.stage for line in made.history] == ["convert", "prune_weights", "quantize", "quantize_aware"]
    assert made.history[3].value is not None
    assert made.history[3].value >= made.history[0].value - 0.01  # type: ignore[operator]
    assert made.history[3].deflated_bytes < 0.8 * made.history[0].deflated_bytes / 3  # type: ignore[operator]
    told = run.compression[made.name][-1]
    assert any("computes what was trained" in note for note in told.notes)
    assert len(told.epochs) == 6
    assert {name for name, types in made.operators.items() if "float32" in types} <= {"QUANTIZE", "DEQUANTIZE"}


def test_channels_come_in_multiples_that_the_target_likes_or_the_budget_allows(digits: Path) -> None:
    for name, recipe, multiple in (
        ("host", "channels50:one-shot", 16),
        ("raspberry-pi-4", "channels50:one-shot", 8),
        ("host", "channels95:one-shot", 8),
    ):
        (step,) = compress_model(digits / "digits.keras", recipe, target=name).steps
        assert f"channels in multiples of {multiple}" in step.report.notes[1]
        assert step.model.get_layer("conv2d_2").filters % multiple == 0
    assert "host likes" in step.report.notes[1]


def test_what_may_mislead_is_said_before_anything_is_trained(digits: Path, tmp_path: Path) -> None:
    with np.load(digits / "digits.npz") as arrays:
        np.savez(tmp_path / "d.npz", x=arrays["x_train"][:100], y=arrays["y_train"][:100])
    said: list[str] = []
    compress_model(digits / "digits.keras", "channels50:one-shot", data=tmp_path / "d.npz", say=said.append)
    (first,) = (line for line in said if line.startswith("note: no test part was given"))
    assert isinstance(first, Line)
    assert said.index(first) < min(place for place, line in enumerate(said) if line.startswith("prune_channels"))


def test_what_tensorflow_cannot_run_is_told_with_the_stage(tmp_path: Path) -> None:
    keras = import_keras()
    layers = [keras.Input((3,), dtype="int32"), keras.layers.Embedding(5, 8), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(4)])
    x, y = np.full((40, 3), 9), np.arange(40) % 4
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(RunError, match=r"^prune_weights: TensorFlow cannot run the network: .*9 is not in") as caught:
        compress_model(model, "prune50:epochs=1", data=tmp_path / "d.npz")
    assert "in the range" in caught.value.mend


def test_compress_does_not_leave_qat_out_in_silence(digits: Path) -> None:
    with pytest.raises(RecipeError, match="qat trains the integer file"):
        compress_model(digits / "digits.keras", "channels50-qat-int8")


def test_a_phrase_without_a_number_format_goes_with_a_target_that_has_no_float(digits: Path) -> None:
    found = compress_model(digits / "digits.keras", "channels50:one-shot", target="coral-usb")
    assert found.model.count_params() < import_keras().saving.load_model(digits / "digits.keras").count_params()


def test_a_file_that_came_into_the_place_during_the_work_is_not_replaced(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "small.keras"

    def slowly(*words: object, **settings: object) -> Compressed:
        found = compress_model(digits / "digits.keras", "channels50:one-shot")
        out.write_text("mine")
        return found

    monkeypatch.setattr(compress, "compress_model", slowly)
    words = [str(digits / "digits.keras"), "-r", "channels50:one-shot", "-o", str(out)]
    done = CliRunner().invoke(command, words)
    assert isinstance(done.exception, OutputError)
    assert "exists already" in done.exception.problem
    assert out.read_text() == "mine"
