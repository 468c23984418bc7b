"""An Android package in a real APK: Android's own tools take it, and its model runs from where they put it."""

from __future__ import annotations

import mmap
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import tiny_models
from android_api import api, bundle_of, compiled, java_of, needs_java, run, text

from edgekit.errors import InputError
from edgekit.package.android import AndroidOptions, android_files
from edgekit.package.build import package_model
from edgekit.package.bundle import Bundle
from edgekit.package.golden import check_vectors

FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
LABELS = ("cat", "dog", "bird", "fish")
DEBS = {"aapt2": "aapt", "zipalign": "zipalign", "apksigner": "apksigner", "keytool": "openjdk-17-jdk-headless"}


def tool(*words: object) -> str:
    """What one of Android's tools prints; skips where it is missing, and the message names the package."""
    name = str(words[0])
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (apt-get install {DEBS[name]})")
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pets() -> Bundle:
    """A file of floats for the GPU, and another one for the CPU."""
    return bundle_of(tiny_models.negative(operators=3), tiny_models.negative(), labels=LABELS, count=2)


@pytest.fixture(scope="module")
def folder(pets: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("package")
    for name, data in android_files(pets, AndroidOptions()).files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def linked(folder: Path, out: Path, *flags: str) -> Path:
    """An APK of nothing but what the AAR has."""
    if not FRAMEWORK.is_file():
        pytest.skip(f"{FRAMEWORK} is not installed (apt-get install android-framework-res)")
    with zipfile.ZipFile(folder / "pets.aar") as aar:
        aar.extractall(out.parent / "aar")
    aar = out.parent / "aar"
    common = ["--manifest", aar / "AndroidManifest.xml", "-I", FRAMEWORK, "-A", aar / "assets"]
    tool("aapt2", "link", "-o", out, *common, *flags, "--target-sdk-version", "29")
    return out


@pytest.fixture(scope="module")
def apk(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Linked, aligned and signed with a key of its own."""
    place = tmp_path_factory.mktemp("apk")
    linked(folder, place / "linked.apk", "-0", ".tflite")
    tool("zipalign", "-p", "4", place / "linked.apk", place / "pets.apk")
    store = ["-keystore", place / "debug.jks", "-storepass", "password", "-keypass", "password"]
    tool("keytool", "-genkeypair", *store, "-alias", "debug", "-keyalg", "EC", "-dname", "CN=debug", "-validity", "2")
    key = ["--ks", place / "debug.jks", "--ks-pass", "pass:password", "--min-sdk-version", "21"]
    tool("apksigner", "sign", *key, place / "pets.apk")
    return place / "pets.apk"


def offset(apk: Path, name: str) -> tuple[int, int]:
    """Where in an APK the bytes of a stored entry are, and how many."""
    with zipfile.ZipFile(apk) as archive:
        info = archive.getinfo(name)
        assert info.compress_type == zipfile.ZIP_STORED
    head = apk.read_bytes()[info.header_offset :][:30]
    skipped = sum(int.from_bytes(head[place : place + 2], "little") for place in (26, 28))
    return info.header_offset + 30 + skipped, info.file_size


def test_the_manifest_says_package_and_api_level(folder: Path, tmp_path: Path) -> None:
    badging = tool("aapt2", "dump", "badging", linked(folder, tmp_path / "app.apk"))
    assert "package: name='org.edgekit.pets'" in badging
    assert "sdkVersion:'21'" in badging


def test_the_assets_are_all_there_signed_and_aligned(apk: Path, folder: Path) -> None:
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in tool(
        "apksigner", "verify", "--verbose", "--min-sdk-version", "21", apk
    )
    tool("zipalign", "-c", "-p", "4", apk)
    with zipfile.ZipFile(apk) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if name.startswith("assets/")}
    root = folder / "assets"
    assert found == {str(path.relative_to(folder)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", [0, 1])
def test_the_model_runs_from_its_place_in_the_apk(place: int, apk: Path, pets: Bundle) -> None:
    variant = pets.variants[place]
    start, size = offset(apk, f"assets/edgekit/pets/{variant.file}")
    assert start % 4 == 0
    with apk.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        model = mapped[start : start + size]
    assert model == variant.model
    assert variant.golden is not None
    assert check_vectors(model, variant.golden).passed


README = """
package NAME;
import java.io.*;
import java.util.List;
import com.google.android.play.core.PACKS.*;
abstract class Readme {
    abstract void start();
BODY
}
"""


def in_readme(bundle: Bundle, name: str, options: dict[str, str]) -> bytes:
    """A class with the Java of a README, each piece in a method."""
    readme = android_files(bundle, AndroidOptions(**options)).files["README.md"].decode()
    pieces = re.findall(r"```java\n(.*?)```", readme, re.DOTALL)
    assert len(pieces) == (3 if options["runtime"] == "play" else 2)
    head = "void piece{}(android.content.Context context, float[] sample) throws Exception {{\n{}\n}}"
    body = "\n".join(head.format(place, piece) for place, piece in enumerate(pieces))
    return README.replace("NAME", name).replace("PACKS", f"{options['pack']}packs").replace("BODY", body).encode()


@pytest.fixture(scope="module")
def app(pets: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classes of the app; and of every kind of package and the Java of its README, without a warning."""
    one, sources = bundle_of(tiny_models.negative()), {**api(), **java_of(pets), "App.java": text("App.java")}
    for runtime in ("app", "play"):
        for bundle in (one, pets):
            name = f"org.example.{runtime}{len(bundle.variants)}"
            options = {"runtime": runtime, "java_package": name, "pack": "ai" if runtime == "app" else "asset"}
            sources |= java_of(bundle, "androidTest/", **options)
            sources |= {f"{name}/Readme.java": in_readme(bundle, name, options)}
    return compiled(tmp_path_factory.mktemp("app"), sources)


@needs_java
def test_the_sources_of_every_kind_of_package_compile_without_a_warning(app: Path) -> None:
    assert {path.parent.name for path in app.rglob("PetsModelTest.class")} == {"app1", "app2", "play1", "play2"}


@needs_java
@pytest.mark.parametrize(
    ("gpu", "chosen"),
    [(None, "pets-cpu.tflite on cpu"), ("works", "pets-gpu.tflite on gpu"), ("refuses", "pets-cpu.tflite on cpu")],
)
def test_an_app_opens_the_file_for_what_the_phone_has(gpu: str | None, chosen: str, app: Path, apk: Path) -> None:
    told = run(app, "App", apk, gpu=gpu).splitlines()
    right = [chosen, "true", "[-1.0, -2.0, -3.0, -4.0]", "[cat -1.0, dog -2.0]"]
    assert told == [*right, "0 inputs for a model of 1"]


@needs_java
def test_an_app_opens_the_folder_of_a_pack(app: Path, folder: Path) -> None:
    place = folder / "pack/pets_pack/src/main/assets/edgekit/pets"
    told = run(app, "App", place).splitlines()
    assert told[:2] == ["pets-cpu.tflite on cpu", "true"]
    assert told[-1] == "0 inputs for a model of 1"


@needs_java
def test_an_app_says_that_a_compressed_model_cannot_be_mapped(app: Path, folder: Path, tmp_path: Path) -> None:
    assert "probably compressed" in run(app, "App", linked(folder, tmp_path / "app.apk"))


REAL = """
        try ({name}Model model = {name}Model.open(new {name}Files.Folder(new File(root, "{place}")))) {{
            System.out.println(model.selfTest().passed() + " " + model.selfTest());
        }}
""".replace("{name}M", "{package}.{name}M").replace("{name}F", "{package}.{name}F")


@pytest.mark.slow
@needs_java
def test_real_models_pass_their_self_test_in_java(shared_data: Path, tmp_path: Path) -> None:
    """Ten and more files of others: stateful ones, 8-bit of 2018, one that XNNPACK refuses, several outputs."""
    sources, body, refused = api(), "", []
    for path in sorted((shared_data / "models").rglob("*.tflite")):
        try:
            made = package_model([path], tmp_path / path.stem, kind="android", name=path.stem)
        except InputError as refusal:
            refused.append(refusal.problem)
            continue
        told = made.manifest["android"]
        root = made.folder / "java"
        sources |= {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.java")}
        place = f"{path.stem}/assets/edgekit/{made.name}"
        body += REAL.format(name=told["classes"], package=told["java_package"], place=place)
    sources["Real.java"] = text("Real.java").replace(b"BODY", body.encode())
    lines = run(compiled(tmp_path, sources), "Real", tmp_path).splitlines()
    assert not [problem for problem in refused if not re.search("edgetpu|custom operator", problem)]
    assert len(lines) > 10
    assert not [line for line in lines if not line.startswith("true ")]
