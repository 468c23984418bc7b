"""Models trained with tensorflow-model-optimization: plain Keras models that compute what the stripped ones do.

The goldens were made by that package itself: see `tfmot_goldens/make.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgekit.errors import ModelError
from edgekit.model import load_model

GOLDENS = Path(__file__).parent / "tfmot_goldens"
STRIPPED = sorted(path.stem for path in GOLDENS.glob("*.h5") if not path.stem.startswith("qat"))
QAT = sorted(path.stem for path in GOLDENS.glob("qat*.h5"))
CLUSTERED = [name for name in STRIPPED if name.startswith("clustered")]
PRUNED = [name for name in STRIPPED if name.startswith("pruned")]


def expected(name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    with np.load(GOLDENS / f"{name}.npz") as stored:
        return stored["x"], [stored[f"y{place}"] for place in range(len(stored.files) - 1)]


def changed(name: str, folder: Path, change: Callable[[h5py.File], None]) -> Path:
    target = folder / f"{name}.h5"
    shutil.copy(GOLDENS / target.name, target)
    with h5py.File(target, "r+") as file:
        change(file)
    return target


def in_config(change: Callable[[list[dict[str, Any]]], None]) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        config = json.loads(file.attrs["model_config"])
        change(config["config"]["layers"])
        file.attrs["model_config"] = json.dumps(config)

    return edit


def replaced(group: str, name: str, value: np.ndarray) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[f"model_weights/{group}/{name}"]
        file[f"model_weights/{group}/{name}"] = value

    return edit


@pytest.mark.parametrize("name", STRIPPED)
def test_outputs_are_those_of_the_stripped_model(name: str) -> None:
    model = load_model(GOLDENS / f"{name}.h5")
    x, outputs = expected(name)
    for ours, theirs in zip(model.predict([x]), outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-5)
    assert any("tensorflow-model-optimization removed" in sentence for sentence in model.healed)
    assert not any("prune_low_magnitude" in layer.name or "cluster" in layer.name for layer in model.keras.layers)


@pytest.mark.parametrize("name", QAT)
def test_a_model_trained_for_rounding_computes_what_its_trainer_computed(name: str) -> None:
    model = load_model(GOLDENS / f"{name}.h5")
    x, outputs = expected(name)
    for ours, theirs in zip(model.predict([x]), outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-5)
    assert [spec.name for spec in model.outputs] == ["dense", "score"][: len(outputs)]
    assert any("trained ranges and rounding kept" in sentence for sentence in model.healed)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_was_made_of_it_opens_in_another_process(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"made{suffix}"
    load_model(GOLDENS / "qat.h5").keras.save(file)
    code = f"from edgekit.model import load_model; print(load_model({str(file)!r}).kind)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("keras", "")


def quantized_by_another(layers: list[dict[str, Any]]) -> None:
    layers[2]["config"]["quantize_config"]["class_name"] = "MyQuantizeConfig"


def of_another_the_output_only(layers: list[dict[str, Any]]) -> None:
    quantized_by_another(layers)
    settings = layers[2]["config"]
    inner = {"quantize_config": settings["quantize_config"]}
    settings["quantize_config"] = {"class_name": "OutputOnlyConfig", "config": inner}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_config(quantized_by_another), "quantized by MyQuantizeConfig"),
        (in_config(of_another_the_output_only), "quantized by MyQuantizeConfig"),
        (replaced("quant_relu", "quant_relu/output_max:0", np.float32(np.inf)), "not finite"),
        (replaced("quant_conv", "quant_conv/kernel_max:0", np.zeros(9, np.float32)), "does not fit"),
    ],
)
def test_what_rounding_is_not_known_is_refused(change: Callable[[h5py.File], None], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load_model(changed("qat", tmp_path, change))
    assert caught.value.mend


def kernels(name: str) -> dict[str, np.ndarray]:
    weights = load_model(GOLDENS / f"{name}.h5").keras.weights
    return {weight.path: np.asarray(weight) for weight in weights if weight.path.endswith("kernel")}


@pytest.mark.parametrize("name", PRUNED)
def test_half_of_the_pruned_kernels_is_zero(name: str) -> None:
    shares = [np.mean(kernel == 0) for path, kernel in kernels(name).items() if "depthwise" not in path]
    assert shares == pytest.approx([0.5] * len(shares), abs=0.1)


@pytest.mark.parametrize("name", CLUSTERED)
def test_clustered_kernels_have_no_more_values_than_clusters(name: str) -> None:
    found = {path: kernel for path, kernel in kernels(name).items() if "depthwise" not in path}
    for path, kernel in found.items():
        per_channel = name == "clustered_per_channel" and "conv" in path
        parts = np.moveaxis(kernel, -1, 0) if per_channel else [kernel]
        assert max(len(np.unique(part)) for part in parts) <= 4, path


def test_the_mask_counts_where_the_weights_were_trained_on(tmp_path: Path) -> None:
    def unmask(file: h5py.File) -> None:
        weights = file["model_weights/prune_low_magnitude_dense"]
        weights["dense/kernel:0"][...] = np.where(weights["dense/kernel:0"][()] == 0, 9.0, weights["dense/kernel:0"])

    model = load_model(changed("pruned", tmp_path, unmask))
    x, (wanted,) = expected("pruned")
    np.testing.assert_allclose(model.predict([x])[0], wanted, atol=1e-6)


def without_layer(layers: list[dict[str, Any]]) -> None:
    del layers[1]["config"]["layer"]


def custom_inside(layers: list[dict[str, Any]]) -> None:
    layers[1]["config"]["layer"] |= {"class_name": "Mine", "module": None, "registered_name": "me>Mine"}


CENTROIDS = "cluster_dense/cluster_centroids_kernel:0"
HOSTILE: dict[str, tuple[str, Callable[[h5py.File], None], str]] = {
    "no layer": ("pruned", in_config(without_layer), "without the layer that it wraps"),
    "custom layer": ("pruned", in_config(custom_inside), "Mine"),
    "mask of another shape": (
        "pruned",
        replaced("prune_low_magnitude_dense", "prune_low_magnitude_dense/mask:0", np.ones((2, 2), np.float32)),
        "does not fit",
    ),
    "no centroids": ("clustered", replaced("cluster_dense", CENTROIDS, np.zeros(0, np.float32)), "does not fit"),
    "centroids without end": (
        "clustered",
        replaced("cluster_dense", CENTROIDS, np.zeros(100_000, np.float32)),
        "does not fit",
    ),
    "centroids of other channels": (
        "clustered_per_channel",
        replaced("cluster_conv", "cluster_conv/cluster_centroids_kernel:0", np.zeros((7, 4), np.float32)),
        "4 channels of weights",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_damaged_wrappers_are_refused_with_their_reason(case: str, tmp_path: Path) -> None:
    name, change, words = HOSTILE[case]
    with pytest.raises(ModelError, match=words) as caught:
        load_model(changed(name, tmp_path, change))
    assert caught.value.mend


def test_half_wrapped_models_load(tmp_path: Path) -> None:
    def unwrap_one(file: h5py.File) -> None:
        in_config(lambda layers: layers.__setitem__(3, layers[3]["config"]["layer"]))(file)
        weights = file["model_weights"]
        names = [name for name in weights.attrs["layer_names"] if "relu" not in str(name)]
        weights.attrs["layer_names"] = names

    model = load_model(changed("pruned", tmp_path, unwrap_one))
    x, (wanted,) = expected("pruned")
    np.testing.assert_allclose(model.predict([x])[0], wanted, atol=1e-6)


def test_neither_package_is_imported() -> None:
    code = f"import sys; from edgekit.model import load_model; load_model({str(GOLDENS / 'pruned.h5')!r})"
    code += "; print({'tf_keras', 'tensorflow_model_optimization'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_a_tf_keras_archive_with_wrappers_names_the_way_in(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "QuantizeLayer", "config": {}}]}}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", (GOLDENS / "pruned.h5").read_bytes())
    with pytest.raises(ModelError, match="QuantizeLayer of tensorflow-model-optimization") as caught:
        load_model(tmp_path / "m.keras")
    assert "name.h5" in caught.value.mend
