"""The examples image_classifier_android and segmentation_coral go as their pages show, and their device code works."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from android_api import api, compiled, needs_java, run, text
from PIL import Image
from shown import blocks, matches, sessions

from edgekit.bench.run import infer

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples"
Once = Callable[[str, Callable[[Path], None]], Path]
pytestmark = pytest.mark.example


def played(name: str, once: Once, *words: str) -> Path:
    """A copy of an example, away from the repository, in which its script has run; said.txt is what that printed."""

    def make(folder: Path) -> None:
        shutil.copytree(FOLDER / name, folder, ignore=shutil.ignore_patterns("out", "__pycache__"), dirs_exist_ok=True)
        for program, module in (("edgekit", "-m edgekit"), ("python", "")):
            (folder / "bin").mkdir(exist_ok=True)
            path = folder / "bin" / program
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        with (folder / "said.txt").open("w") as said:
            environment = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
            command = ["sh", str(folder / "run.sh"), *words]
            done = subprocess.run(command, env=environment, stdout=said, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, (folder / "said.txt").read_text()

    return once("_".join(("example", name, *(Path(word).stem for word in words))), make)


@pytest.fixture(scope="session")
def classifier(once: Once) -> Path:
    """The digits in an Android package."""
    return played("image_classifier_android", once)


@pytest.fixture(scope="session")
def segmentation(once: Once) -> Path:
    """The shapes in a file for an Edge TPU."""
    return played("segmentation_coral", once)


def scores(example: Path) -> dict[str, float]:
    """The metric of the float model and of each recipe."""
    found: dict[str, Any] = json.loads((example / "out/build/run.json").read_text())
    recipes = {one["recipe"]["name"]: one["verification"]["scores"][0]["value"] for one in found["artifacts"]}
    return {"float": found["reference"]["scores"][0]["value"], **recipes}


def goes_as_shown(example: Path, name: str, without: str = "") -> None:
    """The page has the script's commands in their order, each with what it printed; but not those with a word."""
    shown = "".join(sessions((FOLDER / name / "README.md").read_text()))
    said = (example / "said.txt").read_text()
    if without:
        shown, said = (whole.partition(f"$ {without}")[0] for whole in (shown, said))
    assert matches(said, shown), f"the page should have:\n{said}"


def test_the_classifier_goes_as_its_page_shows(classifier: Path) -> None:
    missing = [one for one in ("aapt2", "zipalign", "apksigner", "keytool") if shutil.which(one) is None]
    goes_as_shown(classifier, "image_classifier_android", "sh apk.sh" if missing else "")


def test_the_classifier_reads_and_its_files_too(classifier: Path) -> None:
    found = scores(classifier)
    assert found["float"] > 0.97
    assert all(value > 0.95 for value in found.values())


def test_the_golden_vectors_are_images_of_the_test_part(classifier: Path) -> None:
    known = {
        np.asarray(Image.open(path), np.float32).tobytes() for path in (classifier / "out/images/test").rglob("*.png")
    }
    for name in ("gpu", "cpu"):
        vectors = sorted((classifier / f"out/classifier/assets/edgekit/classifier/golden/classifier-{name}").iterdir())
        assert len(vectors) == 3
        for vector in vectors:
            prepared = np.fromfile(vector / "input0.bin", np.float32)
            assert np.round(prepared * 127.5 + 127.5).astype(np.float32).tobytes() in known


def test_the_java_of_the_page_is_that_of_the_file() -> None:
    (shown,) = blocks((FOLDER / "image_classifier_android/README.md").read_text(), "java")
    assert shown in (FOLDER / "image_classifier_android/Recognizer.java").read_text()


@needs_java
def test_the_app_reads_images_with_the_model_from_the_apk(classifier: Path, tmp_path: Path) -> None:
    if not (classifier / "out/classifier.apk").exists():
        pytest.skip("Android's tools are not installed (apt-get install aapt zipalign apksigner android-framework-res)")
    java = classifier / "out/classifier/java"
    sources = api() | {str(path.relative_to(java)): path.read_bytes() for path in java.rglob("*.java")}
    sources |= {
        "Recognizer.java": (classifier / "Recognizer.java").read_bytes(),
        "Recognize.java": text("Recognize.java"),
    }
    images = sorted((classifier / "out/images/test").rglob("*.png"))[::10]
    told = run(compiled(tmp_path, sources), "Recognize", classifier / "out/classifier.apk", *images).splitlines()
    assert told == names(
        classifier / "out/build/android-arm64/channels50-int8/classifier-channels50-int8.tflite", images
    )
    assert np.mean([name == image.parent.name for name, image in zip(told, images, strict=True)]) > 0.9


def names(model: Path, images: list[Path]) -> list[str]:
    """What a file says of images, without Java."""
    pixels = np.stack([np.asarray(Image.open(path), np.float32) for path in images])[..., None]
    classes = sorted({path.parent.name for path in images})
    return [classes[place] for place in infer(model, [(pixels - 127.5) / 127.5]).outputs[0].argmax(axis=1)]


def test_where_a_tool_is_missing_the_script_names_it_and_makes_no_apk(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", str(FOLDER / "image_classifier_android/apk.sh"), "package", str(tmp_path / "made.apk")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "aapt2" in done.stdout
    assert "apt-get install aapt" in done.stdout
    assert not (tmp_path / "made.apk").exists()


@pytest.mark.parametrize("name", ["image_classifier_android", "segmentation_coral"])
def test_the_page_knows_the_files_of_its_folder(name: str) -> None:
    page = (FOLDER / name / "README.md").read_text()
    (table,) = re.findall(r"^\| file \| what it is \|\n((?:\|.*\n)+)", page, re.MULTILINE)
    there = {path.name for path in (FOLDER / name).iterdir()} - {"README.md", "out", "__pycache__"}
    assert set(re.findall(r"`([\w.]+)`", table)) == there


@pytest.mark.slow
def test_the_classifier_takes_other_images(once: Once, shared_data: Path) -> None:
    example = played("image_classifier_android", once, str(shared_data.resolve() / "sets/fashion_mnist.npz"))
    labels = (example / "out/classifier/assets/edgekit/classifier/labels.txt").read_text().split()
    assert {"sneaker", "trousers"} <= set(labels)
    assert scores(example)["float"] > 0.8


def test_the_segmentation_goes_as_its_page_shows(segmentation: Path) -> None:
    goes_as_shown(segmentation, "segmentation_coral", "edgekit compile" if shutil.which("edgetpu_compiler") else "")


def test_the_shapes_are_found_and_the_integers_lose_little(segmentation: Path) -> None:
    found = scores(segmentation)
    assert found["float"] > 0.8
    assert found["coral"] > found["float"] - 0.02


def test_the_board_finds_what_was_drawn(segmentation: Path) -> None:
    colours = np.array(Image.open(segmentation / "out/mask.png")).reshape(-1, 3)
    with np.load(segmentation / "out/shapes.npz") as arrays:
        assert np.array_equal(arrays["x_test"][0], np.asarray(Image.open(segmentation / "out/scene.png")))
        truth = arrays["y_test"][0].ravel()
    program = (segmentation / "board.py").read_text()
    known = re.findall(r"\((\d+), (\d+), (\d+)\)", program)
    mask = np.array([known.index(tuple(map(str, colour))) for colour in colours])
    assert np.mean(mask == truth) > 0.95
    assert np.mean(mask[truth > 0] == truth[truth > 0]) > 0.8


def test_a_compiled_file_goes_to_the_edge_tpu(segmentation: Path, tmp_path: Path) -> None:
    """Where there is none the delegate is missed, and the CPU does not take its place."""
    compiled_name = tmp_path / "shapes_edgetpu.tflite"
    shutil.copy(segmentation / "out/build/coral-usb/coral/shapes-coral.tflite", compiled_name)
    words = [str(compiled_name), str(segmentation / "out/scene.png"), str(tmp_path / "mask.png")]
    done = subprocess.run(
        [sys.executable, str(segmentation / "board.py"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "libedgetpu.so.1" in done.stderr
