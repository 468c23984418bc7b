"""What every kind of package shares: variants and their order, labels, golden vectors, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from artifacts import artifact
from click.testing import CliRunner

from edgekit.cli.package import command
from edgekit.data.spec import Preprocessing
from edgekit.errors import EdgekitError, InputError, OutputError
from edgekit.package import build, contents
from edgekit.package.bundle import Built, Bundle
from edgekit.package.folder import SIGNATURE
from edgekit.package.golden import golden_vectors
from edgekit.target import load_target
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata
from edgekit.tflite.metadata_schema import ModelMetadata

MODEL = tiny_models.negative((1, 4))
LABELS = ("ant", "bee", "cow", "doe")


def _plain(bundle: Bundle, options: None) -> Built:
    return Built({one.file: one.model for one in bundle.variants}, "plain")


KIND = build.Kind(_plain, units=("edgetpu", "gpu", "cpu"))


def bundle_of(*models: str | Path, **told: Any) -> tuple[Bundle, tuple[str, ...]]:
    """The bundle of an order for a kind that takes every unit."""
    facts: dict[str, Any] = {
        "kind": "plain",
        "sources": build._sources(models),
        "name": "zoo",
        "version": "1.0.0",
        "licence": None,
        "target": None,
        "labels": None,
        "vectors": (),
        "constants": {},
        "force": False,
        "options": None,
    }
    return contents.bundle_of(build.Order(**{**facts, **told}), KIND)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    path.write_bytes(MODEL)
    return path


def _compiled(tmp_path: Path, shape: tuple[int, ...] = (1, 4)) -> Path:
    """A file as the Edge TPU's compiler makes it: one custom operator."""
    graph = tiny_models.Graph()
    x, y = graph.tensor("x", shape), graph.tensor("y", shape)
    graph.operator(tiny_models.CUSTOM, [x], [y], "edgetpu-custom-op")
    path = tmp_path / "compiled.tflite"
    path.write_bytes(graph.bytes([x], [y]))
    return path


def test_an_artifact_gives_labels_and_preprocessing_to_the_contract_and_to_the_file(tmp_path: Path) -> None:
    known = Preprocessing(mean=(8.0,), scale=(0.5,))
    bundle, notes = bundle_of(artifact(tmp_path / "built", MODEL, LABELS, known), licence="MIT")
    (variant,) = bundle.variants
    assert (variant.contract.labels, variant.contract.preprocessing, variant.contract.task) == (
        LABELS,
        known,
        "classification",
    )
    assert not notes
    said = read_metadata(variant.model)
    assert said.model is not None
    assert (said.model.license, said.model.name, said.files) == ("MIT", "zoo", {"labels.txt": b"ant\nbee\ncow\ndoe\n"})
    np.testing.assert_array_equal(variant.golden.outputs[0], -variant.golden.inputs[0])  # type: ignore[union-attr]
    assert variant.golden is not None
    assert variant.golden.head.model_sha256 == variant.sha256 != variant.source.sha256


def test_a_plain_file_stays_as_it_is_and_its_metadata_are_read(tmp_path: Path, model: Path) -> None:
    described, _ = bundle_of(artifact(tmp_path / "built", MODEL, LABELS, Preprocessing(mean=(8.0,), scale=(0.5,))))
    (tmp_path / "described.tflite").write_bytes(described.variants[0].model)
    again, _ = bundle_of(tmp_path / "described.tflite")
    assert again.variants[0].model == described.variants[0].model
    assert again.variants[0].contract.labels == LABELS
    assert again.variants[0].contract.preprocessing == Preprocessing(mean=(8.0,), scale=(0.5,))
    plain, _ = bundle_of(model)
    assert plain.variants[0].model == MODEL


def test_variants_stand_in_the_order_of_choice_and_share_golden_vectors_with_the_edge_tpu(
    tmp_path: Path, model: Path
) -> None:
    bundle, _ = bundle_of(model, f"gpu={model}", _compiled(tmp_path))
    assert [(one.unit, one.file) for one in bundle.variants] == [
        (unit, f"zoo-{unit}.tflite") for unit in ("edgetpu", "gpu", "cpu")
    ]
    assert bundle.variants[0].golden is bundle.variants[2].golden


def test_golden_vectors_of_the_user_are_taken(tmp_path: Path, model: Path) -> None:
    golden_vectors(MODEL, 2, seed=7).save(tmp_path / "v.npz")
    data = (tmp_path / "v.npz").read_bytes()
    bundle, _ = bundle_of(model, vectors=((tmp_path / "v.npz", data),))
    golden = bundle.variants[0].golden
    assert golden is not None
    assert (golden.head.seed, golden.head.samples) == (7, 2)
    model.write_bytes(tiny_models.negative((1, 4), 2))
    with pytest.raises(InputError, match="golden vectors of a file that is not packaged"):
        bundle_of(model, vectors=((tmp_path / "v.npz", data),))


def test_labels_that_do_not_match_are_refused(tmp_path: Path, model: Path) -> None:
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    with pytest.raises(InputError, match="2 labels, and the output has 4 places"):
        bundle_of(model, labels=(tmp_path / "labels.txt", b""))
    _, notes = bundle_of(artifact(tmp_path / "built", MODEL, ("no", "yes")))
    assert notes == ("the 2 class names are left out: the output has 4 places",)
    _, notes = bundle_of(artifact(tmp_path / "single", tiny_models.negative((1, 1)), ("no", "yes")))
    assert notes == ("the 2 class names are left out: the output has 1 place",)


def test_labels_for_several_outputs_are_left_out_and_said_to_have_no_place(tmp_path: Path) -> None:
    model = tiny_models.sum_and_difference()
    _, notes = bundle_of(artifact(tmp_path / "built", model, ("no", "yes", "so")))
    assert notes == ("the 3 class names are left out: they are of one output, where the model has 2",)
    (tmp_path / "labels.txt").write_text("no\nyes\nso\n")
    with pytest.raises(InputError, match="3 labels, and they are of one output, where") as caught:
        bundle_of(tmp_path / "built", labels=(tmp_path / "labels.txt", b""))
    assert caught.value.mend == "leave --labels out"


def test_a_file_in_the_folder_of_its_artifact_has_what_the_manifest_says(tmp_path: Path, model: Path) -> None:
    known = Preprocessing(mean=(8.0,))
    folder = artifact(tmp_path / "built", MODEL, LABELS, known)
    for place in (folder, folder / "zoo.tflite"):
        contract = bundle_of(place)[0].variants[0].contract
        assert (contract.labels, contract.preprocessing) == (LABELS, known)
    shutil.copy(folder / "zoo.tflite", folder / "copy.tflite")
    assert not bundle_of(folder / "copy.tflite")[0].variants[0].contract.labels
    (folder / "zoo.tflite").write_bytes(tiny_models.negative((1, 4), 2))
    assert not bundle_of(folder / "zoo.tflite")[0].variants[0].contract.labels


def test_name_and_version_that_a_file_has_stay_unless_others_are_given(tmp_path: Path, model: Path) -> None:
    model.write_bytes(write_metadata(MODEL, FileMetadata(ModelMetadata(name="Zoo of mine", version="2.3"))))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    labels = (tmp_path / "labels.txt", b"")
    for told, words in (
        ({"name": "m"}, ("Zoo of mine", "2.3")),
        ({"name": "zoo", "version": "3.0"}, ("zoo", "3.0")),
    ):
        said = read_metadata(bundle_of(model, labels=labels, **told)[0].variants[0].model).model
        assert said is not None
        assert (said.name, said.version) == words


def test_a_signature_that_goes_with_its_manifest_is_told_of(tmp_path: Path, model: Path) -> None:
    words = [str(model), "--for", "linux", "-o", str(tmp_path / "board"), "--name", "curve", "--licence"]

    def said(licence: str) -> str:
        done = CliRunner().invoke(command, [*words, licence], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    assert "former manifest" not in said("MIT")
    (tmp_path / "board" / SIGNATURE).touch()
    assert "former manifest" not in said("MIT"), "of the same manifest"
    assert "the signature was of the former manifest and is removed: sign again" in " ".join(said("BSD").split())
    assert not (tmp_path / "board" / SIGNATURE).exists()
    assert "former manifest" not in said("MIT")


def test_a_package_of_another_kind_is_not_replaced(tmp_path: Path, model: Path) -> None:
    build.package_model([model], tmp_path / "out", kind="android")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match="out holds a package for android") as caught:
        build.package_model([model], tmp_path / "out", kind="ios")
    assert caught.value.mend == "give another folder"
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def _two_of_a_unit(model: Path, tmp_path: Path) -> object:
    return bundle_of(model, model)


def _compiled_alone(model: Path, tmp_path: Path) -> object:
    return bundle_of(_compiled(tmp_path))


def _compiled_from_another(model: Path, tmp_path: Path) -> object:
    return bundle_of(model, _compiled(tmp_path, (1, 5)))


def _strangers(model: Path, tmp_path: Path) -> object:
    (tmp_path / "other.tflite").write_bytes(tiny_models.negative((1, 5)))
    return bundle_of(model, f"gpu={tmp_path / 'other.tflite'}")


def _nothing(model: Path, tmp_path: Path) -> object:
    return build.package_model([], tmp_path / "out", kind="firmware")


def _no_such_kind(model: Path, tmp_path: Path) -> object:
    return build.package_model([model], tmp_path / "out", kind="frimware")


def _no_version(model: Path, tmp_path: Path) -> object:
    return build.package_model([model], tmp_path / "out", kind="firmware", version="v1")


def _wrong_unit(model: Path, tmp_path: Path) -> object:
    return build.package_model([f"gpu={model}"], tmp_path / "out", kind="firmware")


def _no_labels(model: Path, tmp_path: Path) -> object:
    return build.package_model([model], tmp_path / "out", kind="firmware", labels=tmp_path / "none.txt")


def _no_model(model: Path, tmp_path: Path) -> object:
    (tmp_path / "page.tflite").write_text("<!doctype html>")
    return build.package_model([tmp_path / "page.tflite"], tmp_path / "out", kind="firmware")


def _the_folder_above(model: Path, tmp_path: Path) -> object:
    (tmp_path / "build/phone/int8").mkdir(parents=True)
    (tmp_path / "build/phone/int8/manifest.json").touch()
    return build.package_model([tmp_path / "build"], tmp_path / "out", kind="firmware")


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        (_no_model, "page.tflite: not a TFLite file"),
        (_the_folder_above, "no manifest.json in it\n  mend: give .*/build/phone/int8$"),
        (_two_of_a_unit, "m and m are both for the cpu"),
        (_compiled_alone, "none for the CPU"),
        (_compiled_from_another, "takes or gives other numbers"),
        (_strangers, "differ in shapes"),
        (_nothing, "no model to package"),
        (_no_such_kind, "no kind of package is called 'frimware'"),
        (_no_version, "'v1' is no version"),
        (_wrong_unit, "takes no model for the gpu"),
        (_no_labels, "No such file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_does_not_go_together_is_refused(order: Any, problem: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgekitError, match=problem):
        order(model, tmp_path)


@pytest.mark.parametrize("kind", build.KINDS)
def test_a_mean_that_fits_no_channel_is_refused(kind: str, tmp_path: Path) -> None:
    steps = Preprocessing(mean=(1.0, 2.0, 3.0))
    source = artifact(tmp_path / "a", tiny_models.negative((1, 3, 5, 7)), (), steps)
    with pytest.raises(InputError, match=r"mean has 3 numbers, and '.*' is \[1, 3, 5, 7\]"):
        build.package_model([source], tmp_path / "out", kind=kind)


def test_a_folder_with_the_name_of_a_unit_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact(tmp_path / "gpu", MODEL)
    monkeypatch.chdir(tmp_path)
    bundle, _ = bundle_of("gpu")
    assert [one.unit for one in bundle.variants] == ["cpu"]


def test_paths_may_be_texts(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    golden_vectors(MODEL, 1).save(tmp_path / "v.json")
    monkeypatch.chdir(tmp_path)
    made = build.package_model("m.tflite", "out", kind="firmware", labels="labels.txt", vectors="v.json")
    assert made.folder == Path("out")
    assert made.inputs == (Path("m.tflite"), Path("labels.txt"), Path("v.json"))
    again = build.package_model([model], tmp_path / "out", kind="firmware", labels="labels.txt", vectors=["v.json"])
    assert again.written == ()


def test_a_target_may_be_loaded_before(tmp_path: Path, model: Path) -> None:
    named = build.package_model(model, tmp_path / "out", kind="firmware", target="cortex-m7")
    loaded = build.package_model(model, tmp_path / "out", kind="firmware", target=load_target("cortex-m7"))
    assert (bool(named.written), loaded.written) == (True, ())


def test_every_option_belongs_to_the_key(tmp_path: Path, model: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    golden_vectors(MODEL, 1).save(tmp_path / "v.json")
    changes: list[dict[str, Any]] = [
        {},
        {"name": "other"},
        {"version": "2.0"},
        {"licence": "MIT"},
        {"target": "cortex-m7"},
        {"labels": tmp_path / "labels.txt"},
        {"vectors": (tmp_path / "v.json",)},
        {"force": True},
    ]
    keys = set()
    for told in changes:
        made = build.package_model([model], tmp_path / "out", kind="firmware", **told)
        keys.add(json.loads((tmp_path / "out" / "manifest.json").read_text())["key"])
        assert made.written
        assert build.package_model([model], tmp_path / "out", kind="firmware", **told).written == ()
    assert len(keys) == len(changes)
