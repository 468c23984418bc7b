"""The Swift package: whole, parsed without an error whatever names come in, and prepared values as edgekit's own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from artifacts import artifact

from edgekit.data.spec import Preprocessing
from edgekit.errors import InputError, ModelError
from edgekit.package import swift_text
from edgekit.package.build import package_model
from edgekit.package.golden_file import load_vectors
from edgekit.package.verify_package import verify_package
from edgekit.package.verify_run import run_package

Cli = Callable[..., subprocess.CompletedProcess[str]]

HOSTILE = ('a"b', "b\\(exit())", "*/ }", "zéro\u202e{{ 1 }}")
KNOWN = Preprocessing(mean=(8.0, 1.0, 2.0, 3.0), scale=(0.5,))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants of one model, with preprocessing and labels that would like to be code."""
    place = tmp_path_factory.mktemp("ios")
    source = artifact(place / "a", tiny_models.negative((1, 4)), HOSTILE, KNOWN)
    package_model([f"gpu={source}", source], place / "out", kind="ios", name="my-net", licence="MIT")
    return place / "out"


def swift_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.swift"))


def tree(source: bytes) -> Any:
    swift = pytest.importorskip("tree_sitter_swift", reason="no tree-sitter-swift here: pip install 'edgekit[dev]'")
    from tree_sitter import Language, Parser

    return Parser(Language(swift.language())).parse(source).root_node


def int8_image(shape: tuple[int, ...], name: str = "x", kind: int = tiny_models.INT8) -> bytes:
    graph = tiny_models.Graph()
    x = graph.tensor(name, shape, kind, 0.5, 3)
    y = graph.tensor("y", shape)
    graph.operator(tiny_models.DEQUANTIZE, [x], [y])
    return graph.bytes([x], [y])


def test_the_package_is_whole(built: Path) -> None:
    names = {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()}
    inside = "Sources/MyNet/Resources"
    assert names == {
        *("Package.swift", "README.md", "manifest.json", "sbom.cdx.json", "Tests/MyNetTests/GoldenTests.swift"),
        *(f"Sources/MyNet/{name}.swift" for name in ("MyNet", "Tensor", "SelfTest")),
        *(f"{inside}/my-net-{unit}.tflite" for unit in ("cpu", "gpu")),
        *(f"Tests/MyNetTests/Resources/my-net-{unit}-golden.json" for unit in ("cpu", "gpu")),
        *(f"{inside}/contract.json", f"{inside}/labels.txt", "Adapters/MyNetTensorFlowLiteRunner.swift"),
    }
    copied = re.findall(r'\.copy\("([^"]+)"\)', (built / "Package.swift").read_text())
    assert sorted(copied) == sorted(f"Resources/{Path(name).name}" for name in names if "/Resources/" in name)


def test_every_source_is_parsed_without_an_error(built: Path) -> None:
    for path in swift_files(built):
        assert not tree(path.read_bytes()).has_error, path.name


def test_the_parser_sees_what_is_wrong(built: Path) -> None:
    """The test above can fail: without a brace no source is whole."""
    for path in swift_files(built):
        source = path.read_bytes()
        assert tree(source[: source.rindex(b"}")] if b"}" in source else source.rstrip()[:-1]).has_error, path.name


def literals(source: bytes, after: str) -> list[str]:
    """The string literals of an array, read back as Swift reads them."""
    text = source.decode().split(after, 1)[1].split("\n  ]", 1)[0]
    found = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    words = {"n": "\n", "r": "\r", "t": "\t"}
    return [
        re.sub(r"\\(?:u\{([0-9A-F]+)\}|(.))", lambda m: chr(int(m[1], 16)) if m[1] else words.get(m[2], m[2]), one)
        for one in found
    ]


def test_labels_are_text_and_never_code(built: Path) -> None:
    source = (built / "Sources/MyNet/MyNet.swift").read_bytes()
    assert literals(source, "labels: [String] = [") == list(HOSTILE)
    assert source.isascii()
    kinds = [tree(source)]
    while kinds:
        node = kinds.pop()
        kinds.extend(node.children)
        if node.type == "interpolated_expression":
            assert node.text in (b"resource", b"ending")


def test_resources_are_those_of_the_contract(built: Path) -> None:
    inside = built / "Sources/MyNet/Resources"
    contract = json.loads((inside / "contract.json").read_bytes())
    source = (built / "Sources/MyNet/MyNet.swift").read_text()
    assert [one["unit"] for one in contract["variants"]] == ["gpu", "cpu"]
    assert (inside / "labels.txt").read_text().splitlines() == list(HOSTILE)
    for one in contract["variants"]:
        model = (inside / one["file"]).read_bytes()
        assert hashlib.sha256(model).hexdigest() == one["sha256"]
        assert f'sha256: "{one["sha256"]}"' in source
        assert f'resource: "{one["file"].removesuffix(".tflite")}"' in source
        golden = load_vectors(built / "Tests/MyNetTests/Resources" / f"{Path(one['file']).stem}-golden.json")
        assert golden.head.model_sha256 == one["sha256"]
    assert source.index("unit: .gpu") < source.index("unit: .cpu")


def test_metal_is_asked_for_where_there_is_a_file_for_it(built: Path, tmp_path: Path) -> None:
    (tmp_path / "zoo.tflite").write_bytes(tiny_models.negative((1, 4)))
    plain = package_model([tmp_path / "zoo.tflite"], tmp_path / "out", kind="ios").folder
    for folder, asked in ((built, True), (plain, False)):
        (adapter,) = (folder / "Adapters").iterdir()
        assert not tree(adapter.read_bytes()).has_error
        assert ("metal" in adapter.read_text().casefold()) == asked
        assert ("metal" in (folder / "README.md").read_text().casefold()) == asked


def test_it_verifies_and_its_golden_vectors_run(built: Path) -> None:
    check = verify_package(built)
    assert check.passed
    assert check.manifest is not None
    done = run_package(built, check.manifest)
    assert [(one.unit, one.check is not None and one.check.passed) for one in done] == [("gpu", True), ("cpu", True)]


def as_swift_does(raw: list[float], shape: list[int], known: Preprocessing, scale: float, zero: int) -> bytes:
    """`preprocessed`, `stored` and `bytes` of the templates, line for line, in float32."""
    mean = [np.float32(value) for value in known.mean or (0.0,)]
    factor = [np.float32(value) for value in known.scale or (1.0,)]

    def stored(value: float, channel: int) -> int:
        real = (np.float32(value) - mean[channel % len(mean)]) * factor[channel % len(factor)]
        return int(np.clip(np.rint(real / np.float32(scale)) + np.float32(zero), -128, 127))

    if known.layout == "channels_last" or len(shape) <= 2:
        return np.int8([stored(value, place) for place, value in enumerate(raw)]).tobytes()
    channels, size = shape[-1], len(raw) // shape[0]
    places, done = size // channels, []
    for index in range(len(raw)):
        (sample, rest) = divmod(index, size)
        (place, channel) = divmod(rest, channels)
        done.append(stored(raw[sample * size + channel * places + place], channel))
    return np.int8(done).tobytes()


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("shape", [(1, 4, 5, 3), (2, 4, 5, 3), (1, 3)])
def test_the_test_in_swift_expects_the_bytes_that_edgekit_makes(
    shape: tuple[int, ...], layout: Any, tmp_path: Path
) -> None:
    known = Preprocessing(mean=(120.0, 100.5, 90.0), scale=(0.013, 0.02, 0.4), layout=layout)
    source = artifact(tmp_path / "a", int8_image(shape), (), known)
    made = package_model([source], tmp_path / "out", kind="ios")
    raw = [float(place * 37 % 256) for place in range(int(np.prod(shape)))]
    expected = hashlib.sha256(as_swift_does(raw, list(shape), known, 0.5, 3)).hexdigest()
    assert f'["{expected}"]' in (made.folder / f"Tests/{made.name}Tests/GoldenTests.swift").read_text()
    for path in swift_files(made.folder):
        assert not tree(path.read_bytes()).has_error, path.name


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("digits", "Digits"),
        ("mobilenet-v2 int8", "MobilenetV2Int8"),
        ("2nd", "Model2nd"),
        ("self", "SelfModel"),
        ("any", "AnyModel"),
        ("Foundation", "FoundationModel"),
        ("class", "Class"),
        ("../../etc", "Etc"),
        ('a"; exit(1) //', "AExit1"),
        ("数字", "Model"),
        ("__", "Model"),
    ],
)
def test_every_name_becomes_one_of_a_module(asked: str, name: str) -> None:
    assert swift_text.module_name(asked) == name
    assert swift_text.module_name(name) == name
    assert not tree(f"import {name}\npublic final class {name}Model {{}}\n".encode()).has_error


def test_a_changed_name_is_told_and_another_case_is_not(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative((1, 4)))
    told = package_model([tmp_path / "m.tflite"], tmp_path / "a", kind="ios", name="2nd try")
    assert told.notices == ("'2nd try' is no name of a Swift module: it became Model2ndTry",)
    assert package_model([tmp_path / "m.tflite"], tmp_path / "b", kind="ios", name="digits").notices == ()


def test_the_command_makes_it_once(tmp_path: Path, edgekit_cli: Cli) -> None:
    (tmp_path / "zoo.tflite").write_bytes(tiny_models.negative((1, 4)))
    assert "Zoo for ios: 12 files written" in edgekit_cli("package", "zoo.tflite", "--for", "ios", "-o", "a").stdout
    assert "nothing to do" in edgekit_cli("package", "zoo.tflite", "--for", "ios", "-o", "a").stdout


def test_names_of_tensors_are_text_in_code_and_in_the_readme(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(int8_image((1, 2, 2, 1), 'x"|`\\(y)\n'))
    made = package_model([tmp_path / "m.tflite"], tmp_path / "out", kind="ios")
    assert literals((made.folder / "Sources/M/M.swift").read_bytes(), "inputs: [\n")[0] == 'x"|`\\(y)\n'
    assert "| input `x\"/'\\(y)?` |" in (made.folder / "README.md").read_text()
    for path in swift_files(made.folder):
        assert not tree(path.read_bytes()).has_error, path.name


def test_classes_are_offered_only_where_the_output_is_one_number_for_each(tmp_path: Path) -> None:
    source = artifact(tmp_path / "a", tiny_models.negative((1, 2, 2, 4)), HOSTILE)
    made = package_model([source], tmp_path / "out", kind="ios", name="masks").folder
    for path in (*swift_files(made), made / "README.md"):
        assert "classify(" not in path.read_text()
    assert not tree((made / "Sources/Masks/Masks.swift").read_bytes()).has_error


def test_a_label_of_two_lines_is_refused(tmp_path: Path) -> None:
    source = artifact(tmp_path / "a", tiny_models.negative((1, 2)), ("one\ntwo", "three"))
    with pytest.raises(InputError, match="line break"):
        package_model([source], tmp_path / "out", kind="ios")


def test_what_swift_has_no_type_for_is_refused(tmp_path: Path) -> None:
    graph = tiny_models.Graph()
    x, y = graph.tensor("words", (1, 4), tiny_models.STRING), graph.tensor("y", (1, 4))
    graph.operator(tiny_models.NEG, [x], [y])
    path = tmp_path / "m.tflite"
    path.write_bytes(graph.bytes([x], [y]))
    with pytest.raises(ModelError, match="'words' is of type string"):
        package_model([path], tmp_path / "out", kind="ios")
    path.write_bytes(tiny_models.negative((1, -1)))
    with pytest.raises(ModelError, match="open size"):
        package_model([path], tmp_path / "out", kind="ios")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_the_compiler_takes_it(built: Path, tmp_path: Path) -> None:
    """Where there is one: the sources but for CryptoKit and the pod, which other systems lack."""
    if shutil.which("swiftc") is None:
        pytest.skip("no Swift compiler here")
    shutil.copytree(built, tmp_path / "p")
    subprocess.run(["swift", "build", "--package-path", tmp_path / "p"], check=True)
