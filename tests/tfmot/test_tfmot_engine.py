"""The second engine on small tf_keras models: what it prunes, clusters and rounds stays so in the integer file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.compress import compress_model
from edgekit.dataset import Dataset, load_dataset, load_for
from edgekit.errors import EdgekitError, ModelError, RecipeError, RunError
from edgekit.model import Model, load_model
from edgekit.pipeline import Run, optimize
from edgekit.stages.cluster import Cluster
from edgekit.stages.kernels import kernels_of
from edgekit.stages.prune_weights import PruneLayers, PruneWeights
from edgekit.stages.training import Training
from edgekit.talk import Line
from edgekit.tflite.surgery import unpack
from edgekit.tfmot import engine, process
from edgekit.tfmot.job import Job, Prune
from edgekit.tfmot.source import open_model

pytestmark = pytest.mark.usefixtures("one_process")

SHORT = Training(epochs=4, batch_size=16, learning_rate=1e-3)


def setting(legacy: Path, model: Model, folder: Path, **more: Any) -> engine.Setting:
    return engine.Setting(data_for(legacy, model), folder, seed=1, **more)


def data_for(legacy: Path, model: Model) -> Dataset:
    return load_for(model.inputs, model.outputs, legacy / "data.npz")


@pytest.fixture(scope="module")
def network(legacy: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(legacy / "network.h5", tmp_path_factory.mktemp("source"))


def kernels(model: Any) -> dict[str, np.ndarray]:
    return {kernel.layer: kernel.value for kernel in kernels_of(model)}


def integer_kernels(file: bytes) -> list[np.ndarray]:
    """The int8 constants of convolutions and dense layers, `[outputs, ...]`, in the order of the file."""
    tree = unpack(file)
    (graph,) = tree.subgraphs
    found = []
    for operator in graph.operators:
        tensors = [graph.tensors[index] for index in operator.inputs if index >= 0]
        data = tree.buffers[tensors[1].buffer].data if len(tensors) > 2 else None
        if data is not None:
            found.append(np.frombuffer(bytes(data), np.int8).reshape(tensors[1].shape))
    return found


def test_half_a_record_of_an_interrupted_run_is_none(tmp_path: Path) -> None:
    (tmp_path / "prune.h5").touch()
    for said in (b"", b'{"key": "k", "done"'):
        (tmp_path / "prune.json").write_bytes(said)
        assert engine._kept(tmp_path / "prune.h5", "k") is None


@pytest.mark.parametrize(("loss", "metric"), [("__main__:own", "auto"), ("auto", "__main__:own")])
def test_a_function_of_a_notebook_is_refused_before_it_trains(loss: str, metric: str, tmp_path: Path) -> None:
    data = load_dataset((np.zeros((40, 2)), np.arange(40) % 2), overrides={"metric": metric})
    stage = PruneWeights(sparsity=0.5, training=Training(loss=loss))
    technique, out = Prune({}, stage.schedule, stage.power, stage.begin, stage.end), tmp_path / "prune.h5"
    with pytest.raises(RecipeError, match="trains in another process") as caught:
        engine._job(None, tmp_path / "m.h5", stage, technique, engine.Setting(data, tmp_path), out)
    assert caught.value.mend.endswith("mine.py:own")


def test_what_another_version_of_the_engine_trained_is_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_dataset((np.zeros((40, 2)), np.arange(40) % 2))
    stage, out = PruneWeights(sparsity=0.5), tmp_path / "prune.h5"
    technique, setting = Prune({}, stage.schedule, stage.power, stage.begin, stage.end), engine.Setting(data, tmp_path)
    out.touch()
    model, keys = SimpleNamespace(outputs=[None]), []
    monkeypatch.setattr(engine, "output_kinds", lambda *_: ())
    for number in ("0.8.0", "0.8.0", "0.8.1"):
        monkeypatch.setattr(engine, "versions", lambda packages, number=number: dict.fromkeys(packages, number))
        keys.append(engine._job(model, out, stage, technique, setting, out).key)
    assert keys[0] == keys[1] != keys[2]


# The whole way.


@pytest.fixture(scope="module")
def built(legacy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    out = tmp_path_factory.mktemp("built") / "out"
    recipes = ["prune50-cluster4-qat-int8:engine=tfmot,epochs=17"]
    run = optimize(legacy / "network.h5", data=legacy / "data.npz", recipes=recipes, out=out, benchmark=False)
    return run, out


def test_zeros_and_shared_values_are_in_the_integer_file(built: tuple[Run, Path]) -> None:
    run, out = built
    (manifest,) = run.artifacts
    found = integer_kernels((out / manifest.name / manifest.file).read_bytes())
    assert len(found) == 6
    for kernel in (found[2], found[3], found[4]):  # the middle one stands before a ReLU layer
        assert np.mean(kernel == 0) >= 0.49
        assert max(len(np.unique(row)) for row in kernel) <= 4
    assert manifest.numeric == "int8"
    assert manifest.verification is not None
    assert manifest.verification.scores[0].value > 0.9


def test_the_ledger_names_the_engine_in_each_line_and_the_manifest_its_versions(built: tuple[Run, Path]) -> None:
    run, _ = built
    (manifest,) = run.artifacts
    details = {record.stage: record.detail for record in manifest.history}
    assert list(details) == ["convert", "prune_weights", "cluster", "quantize", "quantize_aware"]
    assert [stage for stage, detail in details.items() if detail.endswith("tfmot")] == [
        "prune_weights",
        "cluster",
        "quantize_aware",
    ]
    assert {"tensorflow-model-optimization", "tf_keras"} <= set(manifest.versions)
    assert manifest.versions["keras"].startswith("3.")


def test_what_it_does_not_round_is_told(built: tuple[Run, Path]) -> None:
    run, _ = built
    (reports,) = run.compression.values()
    kept, unrounded, fixed, ranges = reports[-1].notes
    assert kept == "zeros and shared values of the model kept"
    assert unrounded.startswith("third: ")
    assert "before a ReLU layer" in unrounded
    assert fixed.startswith("third: ")
    assert "-6..6" in ranges


def test_the_trained_ranges_are_those_of_the_file(built: tuple[Run, Path]) -> None:
    run, out = built
    manifest = run.artifacts[0]
    report = run.compression[manifest.name][-1]
    ranges = [(float(low), float(high)) for _, low, high in report.rows]
    tree = unpack((out / manifest.name / manifest.file).read_bytes())
    tensors = [tensor for tensor in tree.subgraphs[0].tensors if tensor.quantization and tensor.type == 9]
    scales = [float(tensor.quantization.scale[0]) for tensor in tensors if len(tensor.quantization.scale) == 1]
    inner = [(high - low) / 255 for low, high in ranges[:-1]]  # the last one is before the softmax's own 1/256
    assert len(inner) >= 6
    for step in inner:
        assert any(abs(step - scale) < 1e-3 * step for scale in scales), (step, scales)


# A stage alone.


def test_pruning_follows_the_plan_of_the_native_engine(network: Model, legacy: Path, tmp_path: Path) -> None:
    stage = PruneWeights(sparsity=0.6, layers=(PruneLayers("head", keep=True),), training=SHORT)
    said: list[str] = []
    before = set(sys.modules)  # other tests of this process may have had tf_keras
    done = engine.train(network.keras, network.path, stage, setting(legacy, network, tmp_path, say=said.append))
    found = kernels(done.model)
    assert {name: round(float(np.mean(kernel == 0)), 1) for name, kernel in found.items()} == {
        "first": 0.0,  # it sees two channels only
        "depthwise": 0.0,
        "second": 0.6,
        "third": 0.6,
        "hidden": 0.6,
        "head": 0.0,
    }
    lines = [text for text in said if isinstance(text, Line)]
    assert len(lines) == SHORT.epochs
    assert all("loss" in line and "accuracy" in line for line in lines)
    assert [epoch.number for epoch in done.epochs] == [1, 2, 3, 4]
    assert not any(epoch.best for epoch in done.epochs[:2])  # zeros are not complete before 60 % of the training
    assert done.file.is_file()
    assert not {"tf_keras", "tensorflow_model_optimization"} & (set(sys.modules) - before)


def test_clustering_keeps_the_zeros_that_are_there(network: Model, legacy: Path, tmp_path: Path) -> None:
    pruned = engine.train(
        network.keras, network.path, PruneWeights(sparsity=0.5, training=SHORT), setting(legacy, network, tmp_path)
    )
    stage = Cluster(clusters=5, init="linear", training=SHORT)
    done = engine.train(pruned.model, pruned.file, stage, setting(legacy, network, tmp_path))
    before, after = kernels(pruned.model), kernels(done.model)
    for name in ("second", "third", "hidden"):
        assert len(np.unique(after[name])) <= 5
        assert not after[name][before[name] == 0].any()


def test_zeros_stay_in_layers_that_later_stages_leave_alone(network: Model, legacy: Path, tmp_path: Path) -> None:
    def only(name: str) -> tuple[PruneLayers, ...]:
        return PruneLayers("*", keep=True), PruneLayers(name, sparsity=0.5)

    stages = [
        PruneWeights(sparsity=0.5, layers=only("second"), training=SHORT),
        PruneWeights(sparsity=0.5, layers=only("hidden"), training=SHORT),
        Cluster(clusters=5, only=("third",), training=SHORT),
    ]
    model, file, pruned = network.keras, network.path, ("second", "hidden")
    for place, stage in enumerate(stages):
        before = kernels(model)
        done = engine.train(model, file, stage, setting(legacy, network, tmp_path / str(place)))
        model, file = done.model, done.file
        assert all(not kernels(model)[name][before[name] == 0].any() for name in pruned[:place])
    assert [round(float(np.mean(kernels(model)[name] == 0)), 1) for name in pruned] == [0.5, 0.5]


@pytest.mark.slow
def test_an_interrupted_training_goes_on_and_ends_as_an_undisturbed_one(
    network: Model, legacy: Path, tmp_path: Path
) -> None:
    stage = Cluster(clusters=8, training=SHORT)
    whole = engine.train(network.keras, network.path, stage, setting(legacy, network, tmp_path / "whole"))

    def stop(text: str) -> None:
        if "epoch 3/4" in text and isinstance(text, Line):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.train(network.keras, network.path, stage, setting(legacy, network, tmp_path / "cut", say=stop))
    assert not children(os.getpid())
    said: list[str] = []
    again = setting(legacy, network, tmp_path / "cut", say=said.append)
    resumed = engine.train(network.keras, network.path, stage, again)
    assert any("goes on after epoch" in text for text in said)
    losses = [[epoch.loss for epoch in done.epochs] for done in (whole, resumed)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    kept = engine.train(network.keras, network.path, stage, again)
    assert kept.epochs == resumed.epochs
    assert said[-1] == "cluster: kept from before"


# What goes wrong.


def refused(legacy: Path, name: str, recipe: str, tmp_path: Path) -> EdgekitError:
    with pytest.raises(EdgekitError) as caught:
        optimize(
            legacy / name,
            data=legacy / "data.npz",
            recipes=[f"{recipe}:engine=tfmot,epochs=17"],
            out=tmp_path / "out",
            benchmark=False,
        )
    return caught.value


@pytest.mark.parametrize(
    ("name", "recipe", "words", "mend"),
    [
        ("lonely.h5", "qat-int8", "cannot quantize layer 'lonely' (BatchNormalization)", "leave engine out"),
        ("nested.h5", "qat-int8", "a model inside another model", "leave engine out"),
        ("custom.h5", "prune50-int8", "Doubled", "builds the model"),
        ("exported", "prune50-int8", "has no layers to train", "name.h5"),
        ("lambda", "prune50-int8", "Lambda 'twice' carries Python code", "--trust"),
    ],
)
def test_what_it_cannot_do_names_the_layer_and_the_way_out(
    legacy: Path, name: str, recipe: str, words: str, mend: str, tmp_path: Path
) -> None:
    error = refused(legacy, name, recipe, tmp_path)
    assert isinstance(error, ModelError)
    assert words in error.problem
    assert mend in error.mend


def test_tf_keras_reads_the_part_of_a_file_that_was_checked(legacy: Path, network: Model, tmp_path: Path) -> None:
    both = tmp_path / "both.keras"  # HDF5 in front, a zip behind, and a name that says zip
    both.write_bytes((legacy / "network.h5").read_bytes() + (legacy / "lonely.keras").read_bytes())
    assert zipfile.is_zipfile(both)
    opened = open_model(both, tmp_path / "opened")
    assert opened.path is not None
    x = np.ones((1, 8, 8, 2), np.float32)
    read = load_model(opened.path)  # what tf_keras made of it
    np.testing.assert_allclose(read.predict([x])[0], network.predict([x])[0], atol=1e-5)


def test_a_keras_3_model_is_told_from_a_damaged_one(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="this is a Keras 3 model") as caught:
        open_model(digits / "digits.keras", tmp_path)
    assert caught.value.mend.startswith("leave engine out")
    with pytest.raises(ModelError, match="a Keras 3 model in Python"):
        open_model(load_model(digits / "digits.keras").keras, tmp_path)


@pytest.mark.parametrize("name", ["network.keras", "saved"])
def test_other_files_of_tf_keras_come_in(legacy: Path, network: Model, name: str, tmp_path: Path) -> None:
    opened = open_model(legacy / name, tmp_path)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(opened.predict([x])[0], network.predict([x])[0], atol=1e-5)
    assert opened.sha256 != network.sha256


def test_the_keras_part_alone_gives_a_keras_3_model_with_nested_layers_pruned(legacy: Path) -> None:
    done = compress_model(legacy / "nested.h5", "prune50:engine=tfmot,epochs=2", data=legacy / "data.npz")
    shares = {name: float(np.mean(kernel == 0)) for name, kernel in kernels(done.model).items()}
    assert shares == pytest.approx({"conv": 0.0, "block_conv": 0.5, "head": 0.5}, abs=0.01)


# The process.


def children(parent: int) -> list[int]:
    """Living processes of the second engine that `parent` has started, or all of them for 0."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, words = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        state, above = status.rpartition(")")[2].split()[:2]
        if b"edgekit.tfmot.child" in words and state != "Z" and int(above) == parent:
            found.append(int(folder.name))
    return found


def test_a_child_that_is_killed_is_an_error(legacy: Path, tmp_path: Path) -> None:
    job = Job(origin="m", model=str(legacy / "network.h5"), out=str(tmp_path / "m.h5"))
    with process.shared():
        process.run(job, {}, lambda _: None)
        (child,) = children(os.getpid())[-1:]
        os.kill(child, signal.SIGKILL)
        with pytest.raises(RunError, match="killed by signal 9"):
            process.run(job, {}, lambda _: None)


def test_no_child_outlives_a_parent_that_is_killed() -> None:
    code = "import time\nfrom edgekit.tfmot.process import _Child\nchild = _Child()\n"
    code += "print(child._process.pid, flush=True)\ntime.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    deadline = time.monotonic() + 30
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_this_process_never_imports_the_packages() -> None:
    code = "import sys, edgekit.pipeline, edgekit.tfmot.engine, edgekit.tfmot.source, edgekit.tfmot.child\n"
    code += "print({'tf_keras', 'tensorflow_model_optimization', 'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
