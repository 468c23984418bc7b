"""Android packages: what is in the folder and in the AAR, names, refusals, and the same bytes every time."""

from __future__ import annotations

import dataclasses
import doctest
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tiny_models
from android_api import api, bundle_of, compiled
from artifacts import artifact
from msgspec import structs

from edgekit.data.spec import Preprocessing
from edgekit.errors import InputError, MissingDependency, ModelError, RunError
from edgekit.package import java_text
from edgekit.package.android import AndroidOptions, android_files
from edgekit.package.android_aar import Jar
from edgekit.package.build import Packaged, package_model
from edgekit.package.bundle import Built

LABELS = ("cat", 'a "dog"', "bird", "fish")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files that compute -x, one of them for the GPU, and labels of its four places."""
    place = tmp_path_factory.mktemp("models")
    (place / "pets.tflite").write_bytes(tiny_models.negative())
    (place / "fast.tflite").write_bytes(tiny_models.negative(operators=3))
    (place / "labels.txt").write_text("\n".join(LABELS) + "\n")
    return place


def packaged(models: Path, out: Path, *words: str, **options: object) -> Packaged:
    return package_model(
        [f"{word}={models / file}" for word, file in (one.split("=") for one in words)],
        out,
        kind="android",
        name="pets",
        labels=models / "labels.txt",
        options=AndroidOptions(**options),
    )


def built(files: int = 1, name: str = "pets", **options: object) -> Built:
    """What becomes of one file for the CPU, or of that and one for the GPU before it; without golden vectors."""
    models = (tiny_models.negative(operators=3), tiny_models.negative())
    return android_files(bundle_of(*models[-files:], name=name), AndroidOptions(**options))


@pytest.fixture(scope="module")
def made(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    return packaged(models, tmp_path_factory.mktemp("android") / "pets", "gpu=fast.tflite", "cpu=pets.tflite")


def contents_of(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_the_aar_is_what_an_android_library_has_to_be(made: Packaged, models: Path) -> None:
    with zipfile.ZipFile(made.output) as aar:
        entries = {info.filename: info for info in aar.infolist()}
        assert {"AndroidManifest.xml", "classes.jar", "R.txt", "proguard.txt"} <= entries.keys()
        assert all(info.compress_type == zipfile.ZIP_STORED for info in entries.values())
        manifest = ElementTree.fromstring(aar.read("AndroidManifest.xml"))
        assert manifest.get("package") == "org.edgekit.pets"
        sdk = manifest.find("uses-sdk")
        assert sdk is not None
        assert sdk.get("{http://schemas.android.com/apk/res/android}minSdkVersion") == "21"
        assets = {name: aar.read(name) for name in entries if name.startswith("assets/")}
        with zipfile.ZipFile(io.BytesIO(aar.read("classes.jar"))) as classes:
            assert classes.namelist() == ["META-INF/MANIFEST.MF"]
    folder = "assets/edgekit/pets"
    assert {f"{folder}/pets-gpu.tflite", f"{folder}/pets-cpu.tflite", f"{folder}/contract.json"} <= assets.keys()
    assert f"{folder}/golden/pets-gpu/sample0/input0.bin" in assets
    assert assets[f"{folder}/labels.txt"].decode().splitlines() == list(LABELS)
    files = contents_of(made.folder)
    assert {name: files[name] for name in assets} == assets
    assert {name: files[f"pack/pets_pack/src/main/{name}"] for name in assets} == assets
    contract = json.loads(assets[f"{folder}/contract.json"])
    assert [one["unit"] for one in contract["variants"]] == ["gpu", "cpu"]


def test_the_same_order_gives_the_same_bytes_and_touches_nothing_twice(
    made: Packaged, models: Path, tmp_path: Path
) -> None:
    words = ("gpu=fast.tflite", "cpu=pets.tflite")
    again = packaged(models, tmp_path / "again", *words)
    assert contents_of(again.folder) == contents_of(made.folder)
    assert packaged(models, made.folder, *words).written == ()
    text = b"\n".join(contents_of(made.folder).values())
    assert str(models).encode() not in text
    assert str(Path.home()).encode() not in text


@pytest.mark.parametrize(("runtime", "libraries"), [("app", "ai.edge.litert:litert-gpu"), ("play", "tflite-gpu")])
def test_gradle_lines_name_the_runtime_the_gpu_and_the_aar(runtime: str, libraries: str) -> None:
    both, one = built(2, runtime=runtime).files, built(1, runtime=runtime).files
    for file in ("gradle/app.gradle", "gradle/app.gradle.kts"):
        text = both[file].decode()
        assert libraries in text
        assert "../pets/pets.aar" in text
        assert "../pets/java" in text
        assert re.search(r"noCompress\.add\(['\"]tflite", text)
        assert b"gpu" not in one[file]


@pytest.mark.parametrize(("pack", "plugin"), [("ai", "com.android.ai-pack"), ("asset", "com.android.asset-pack")])
def test_the_pack_is_a_gradle_module_of_its_own_kind(pack: str, plugin: str) -> None:
    text = built(pack=pack, delivery="fast-follow").files["pack/pets_pack/build.gradle"].decode()
    assert f"id '{plugin}'" in text
    assert f"{pack}Pack {{" in text
    assert "packName = 'pets_pack'" in text
    assert "deliveryType = 'fast-follow'" in text


@pytest.mark.parametrize(
    ("name", "asset", "classes"),
    [
        ("pets", "pets", "Pets"),
        ("android-arm64/int8", "android_arm64_int8", "AndroidArm64Int8"),
        ("2d", "model_2d", "Model2d"),
        ("class", "class_model", "ClassModel"),
        ("_x", "x", "X"),
        ("Größe", "Gr_e", "GrE"),
        ("when", "when_model", "WhenModel"),
        ("math", "math", "Math"),
        ("日本", "model", "Model"),
    ],
)
def test_a_name_becomes_one_that_java_and_aapt_take_and_says_so(name: str, asset: str, classes: str) -> None:
    out = built(name=name)
    assert out.name == asset
    assert not java_text.package_fault(f"org.edgekit.{asset.lower()}")
    assert f"java/org/edgekit/{asset.lower()}/{classes}Model.java" in out.files
    assert bool(out.notices) == (asset != name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pets", "one part"),
        ("org.class", "'class' is a word of Java"),
        ("java.pets", "kept for Java"),
        *((name, "not made of") for name in ("org.2d", "org..x", "org.x.", "org.größe", "org.x-y", "org._x", "a b.c")),
    ],
)
def test_a_java_package_that_is_none_is_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"no Java package for Android.*{reason}"):
        AndroidOptions(java_package=name)


def test_a_java_package_that_kotlin_quotes_is_one() -> None:
    files = built(java_package="in.example.pets").files
    assert b"package in.example.pets;" in files["java/in/example/pets/PetsModel.java"]


def test_options_that_no_phone_meets_are_refused() -> None:
    with pytest.raises(InputError, match="API level 20"):
        AndroidOptions(min_sdk=20)


def custom(name: str) -> bytes:
    graph = tiny_models.Graph()
    x, y = graph.tensor("x", (1, 4)), graph.tensor("y", (1, 4))
    graph.operator(tiny_models.CUSTOM, [x], [y], name)
    return graph.bytes([x], [y])


def shaped(kind: int, shape: tuple[int, ...]) -> bytes:
    graph = tiny_models.Graph()
    x, y = graph.tensor("x", shape, kind), graph.tensor("y", shape, kind)
    graph.operator(tiny_models.NEG, [x], [y])
    return graph.bytes([x], [y])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (custom("FlexErf"), "FlexErf.*operator of TensorFlow(.|\n)*select-tf-ops"),
        (custom("PosenetDecoderOp"), "PosenetDecoderOp.*custom operator"),
        (shaped(tiny_models.STRING, (1, 4)), "'x' is of type string"),
        (shaped(tiny_models.FLOAT32, (1, -1)), "open shape"),
    ],
)
def test_what_no_app_can_run_is_refused_with_what_to_do(model: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(model)
    with pytest.raises(ModelError, match=words):
        package_model([tmp_path / "model.tflite"], tmp_path / "out", kind="android")


def test_an_edge_tpu_is_in_no_phone(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes no model for the edgetpu"):
        package_model([f"edgetpu={models / 'pets.tflite'}"], tmp_path / "out", kind="android")


def test_labels_that_are_too_few_are_refused(models: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="2 labels, and the output has 4 places"):
        package_model([models / "pets.tflite"], tmp_path / "out", kind="android", labels=tmp_path / "labels.txt")


def test_what_an_artifact_records_is_repeated_in_the_sources(tmp_path: Path) -> None:
    prepared = Preprocessing((1.5,), (1 / 255,))
    made = artifact(tmp_path / "artifact", tiny_models.negative(), LABELS, prepared)
    out = package_model([made], tmp_path / "out", kind="android", name="pets").folder
    source = (out / "java/org/edgekit/pets/PetsProcessing.java").read_text()
    for line in ("MEAN = {1.5f};", "SCALE = {0.003921569f};", "CHANNELS_FIRST = false;", "LABELS = 4;"):
        assert line in source
    readme = (out / "README.md").read_text()
    assert "minus 1.5, then times 0.00392156863" in readme
    assert "model.classify(sample, 3)" in readme


def test_classes_are_offered_only_where_the_output_is_one_number_for_each() -> None:
    for shape, offered in (((1, 4), True), ((1, 2, 2, 4), False)):
        files = android_files(bundle_of(tiny_models.negative(shape), labels=LABELS), AndroidOptions()).files
        assert (b"classify(" in files["java/org/edgekit/pets/PetsModel.java"]) == offered
        assert (b"classify(" in files["README.md"]) == offered


def test_integers_that_stand_for_themselves_are_not_offered_to_methods_for_real_numbers() -> None:
    graph = tiny_models.Graph()
    x, y = graph.tensor("x", (1, 4), tiny_models.INT32), graph.tensor("y", (1, 4))
    graph.operator(tiny_models.CUSTOM, [x], [y], "Read")
    bundle = bundle_of(graph.bytes([x], [y]), labels=LABELS)
    files = android_files(bundle, AndroidOptions()).files
    readme = files["README.md"].decode()
    assert b"classify(" not in files["java/org/edgekit/pets/PetsModel.java"]
    assert "model.invoke(inputs)" in readme
    assert "PetsProcessing.top(scores, labels, 3)" in readme
    assert "byte[]" not in readme
    assert "byte[]" in android_files(bundle_of(tiny_models.negative()), AndroidOptions()).files["README.md"].decode()


def test_a_model_of_several_inputs_is_given_a_sample_for_each() -> None:
    files = android_files(bundle_of(tiny_models.sum_and_difference()), AndroidOptions()).files
    assert b"model.run(sample1, sample2)" in files["README.md"]


def test_only_a_gpu_file_is_noted() -> None:
    both = bundle_of(tiny_models.negative(operators=3), tiny_models.negative())
    alone = dataclasses.replace(both, variants=both.variants[:1])
    assert "no file for the CPU" in android_files(alone, AndroidOptions()).notices[0]
    assert not android_files(both, AndroidOptions()).notices


def test_a_file_that_xnnpack_refuses_runs_without_it() -> None:
    bundle = bundle_of(tiny_models.negative(), count=1)
    (variant,) = bundle.variants
    assert variant.golden is not None
    assert b", 1, true," in android_files(bundle, AndroidOptions()).files["java/org/edgekit/pets/PetsProcessing.java"]
    head = structs.replace(variant.golden.head, xnnpack_compared=False)
    plain = dataclasses.replace(variant, golden=dataclasses.replace(variant.golden, head=head))
    made = android_files(dataclasses.replace(bundle, variants=(plain,)), AndroidOptions())
    assert b", 1, false," in made.files["java/org/edgekit/pets/PetsProcessing.java"]
    assert "XNNPACK cannot run pets.tflite" in made.notices[0]


def test_every_literal_is_read_back_as_it_was() -> None:
    assert not doctest.testmod(java_text).failed
    assert java_text.string('a"\\\n😀') == '"a\\"\\\\\\u000a\\ud83d\\ude00"'
    assert java_text.comment("*/ \\u002a/") == "* / /u002a/"
    assert java_text.markdown("a|b`c") == "`a/b'c`"


@pytest.fixture(scope="module")
def api_jar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A jar of the classes that the sources call."""
    if not shutil.which("javac"):
        pytest.skip("no JDK is installed")
    place = tmp_path_factory.mktemp("api")
    classes = compiled(place, api(), "-Xlint:none")
    with zipfile.ZipFile(place / "api.jar", "w") as jar:
        for path in classes.rglob("*.class"):
            jar.write(path, path.relative_to(classes))
    return place / "api.jar"


def test_with_a_class_path_the_aar_has_the_classes_and_the_same_ones_every_time(api_jar: Path) -> None:
    jars = (Jar.read(api_jar),)
    first, second = built(classpath=jars), built(classpath=jars)
    assert first.files == second.files
    with zipfile.ZipFile(io.BytesIO(first.files["pets.aar"])) as aar:
        inner = zipfile.ZipFile(io.BytesIO(aar.read("classes.jar")))
    assert {"org/edgekit/pets/PetsModel.class", "org/edgekit/pets/PetsProcessing.class"} <= {*inner.namelist()}
    recorded = first.record["android"]
    assert recorded["classpath"] == {"api.jar": jars[0].sha256}
    assert recorded["javac"].startswith("javac ")
    assert b"pets/java" not in first.files["gradle/app.gradle"]


def test_a_class_path_that_is_none_is_refused(api_jar: Path, tmp_path: Path) -> None:
    (tmp_path / "no.jar").write_bytes(b"no archive")
    with pytest.raises(InputError, match="no archive of classes"):
        Jar.read(tmp_path / "no.jar")
    with zipfile.ZipFile(tmp_path / "empty.jar", "w"):
        pass
    with pytest.raises(RunError, match="javac:"):
        built(classpath=(Jar.read(tmp_path / "empty.jar"),))


def test_an_aar_of_the_runtime_is_a_class_path(api_jar: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "runtime.aar", "w") as aar:
        aar.write(api_jar, "classes.jar")
    assert Jar.read(tmp_path / "runtime.aar").data == api_jar.read_bytes()


def test_without_a_compiler_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "empty.jar", "w"):
        pass
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="apt-get install openjdk"):
        built(classpath=(Jar.read(tmp_path / "empty.jar"),))
