"""The Java of an Android package on a JVM: byte for byte what numpy does, golden vectors told right from wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from android_api import AS_IT_IS, bundle_of, compiled, needs_java, plain_java_of, run, text

from edgekit.data.spec import Preprocessing
from edgekit.package import java_text
from edgekit.package.android import AndroidOptions, android_files
from edgekit.package.bundle import Bundle
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.numbers import to_real, to_stored

KINDS = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}
MEAN, SCALE = (123.675, 116.28, 103.53), (0.01712475, 0.017507, 0.01742919)

LABELS = ("Äpfel", "pears and more", "", "日本")


@dataclass(frozen=True)
class Case:
    """One input, the same as output: what it is, and how raw samples become it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero: int = 0
    prepared: Preprocessing = AS_IT_IS

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """A last axis of one is what a data set may be without."""
        if self.prepared.layout == "channels_first" and len(self.shape) > 2:
            return (self.shape[0], self.shape[-1], *self.shape[1:-1])
        return self.shape[:-1] if self.shape[-1] == 1 else self.shape

    def raw(self) -> np.ndarray:
        """Pixels, halves of quanta on both sides of zero, and numbers beyond every type."""
        size = int(np.prod(self.shape))
        if self.dtype in ("int32", "int64", "bool"):
            return (np.arange(size) % 2 if self.dtype == "bool" else np.arange(size) * 70_001 - 3).astype(self.dtype)
        random = np.random.RandomState(len(self.name))
        step = np.float32(self.scale or 0.37)
        values = np.concatenate(
            [random.randint(0, 256, size), (random.randint(-600, 600, size) + 0.5) * step, random.normal(0, 1e3, size)]
        )
        values = random.permutation(np.append(values, [0.0, -0.0, np.inf, -np.inf, 1e30, -1e30]))
        return values[:size].astype(np.float32).reshape(self.raw_shape)


def first(*values: float) -> Preprocessing:
    return Preprocessing(mean=values, scale=(1 / 127.5,), layout="channels_first")


def drawn(seed: int) -> Case:
    """A quantized input of drawn scale, zero point, mean and layout."""
    random = np.random.RandomState(seed)
    dtype = ("int8", "uint8", "int16")[seed % 3]
    zero = 0 if dtype == "int16" else int(random.randint(-128, 128)) + 128 * (dtype == "uint8")
    mean, scale = (tuple(random.normal(0, spread, 3).tolist()) for spread in (90, 0.02))
    prepared = Preprocessing(mean, scale, ("channels_last", "channels_first")[seed // 3 % 2])
    return Case(f"drawn{seed}", dtype, (1, 17, 11, 3), float(np.float32(random.lognormal(-4, 2))), zero, prepared)


CASES = (
    Case("as_it_is", "float32", (1, 40)),
    Case("pixels", "float32", (1, 9, 7, 3), prepared=Preprocessing(MEAN, SCALE)),
    Case("one_mean", "float32", (1, 9, 7, 3), prepared=Preprocessing(mean=(127.5,))),
    Case("int8_pixels", "int8", (1, 9, 7, 3), 0.018658448, -14, Preprocessing(MEAN, SCALE)),
    Case("uint8_halves", "uint8", (1, 300), 0.1, 128),
    Case("int8_halves", "int8", (1, 300), 0.5, 1),
    Case("int16_audio", "int16", (1, 400), 1 / 32768, 0, Preprocessing(scale=(1 / 32768,))),
    Case("planes", "float32", (1, 5, 4, 3), prepared=first(1.5, 2.25, -3.1)),
    Case("int8_planes", "int8", (2, 5, 4, 3), 0.0123, 7, first(1.5, 2.25, -3.1)),
    Case("series", "int8", (1, 12, 6), 0.03, 0, first(*range(6))),
    Case("columns", "float32", (1, 6), prepared=first(*range(6))),
    Case("columns_and_axis", "float32", (1, 6, 1), prepared=Preprocessing(mean=tuple(range(6)))),
    Case("places", "int32", (1, 5)),
    Case("long_places", "int64", (1, 5)),
    Case("switches", "bool", (1, 5)),
    *map(drawn, range(6)),
)


def echo(case: Case) -> bytes:
    """A file that gives what it takes; it is never run."""
    graph = tiny_models.Graph()
    tensors = [graph.tensor(name, case.shape, KINDS[case.dtype], case.scale, case.zero) for name in ("x", "y")]
    graph.operator(tiny_models.NEG, tensors[:1], tensors[1:])
    return graph.bytes(tensors[:1], tensors[1:])


LINES = """
        {p}.Tensor {name} = {p}.VARIANTS.get(0).outputs.get(0);
        write(folder, "{name}.stored", {p}.input({name}, {read}(read(folder, "{name}.raw"))));
        write(folder, "{name}.real", bytes({p}.{give}({name}, read(folder, "{name}.stored"))));
"""


def lines_of(case: Case) -> str:
    """How `Store.java` is made to write what Java makes of a case."""
    words = ("longs", "integers") if case.raw().dtype.kind in "bi" else ("floats", "output")
    processing = f"org.edgekit.{case.name}.{java_text.class_name(case.name)}Processing"
    return LINES.format(name=case.name, p=processing, read=words[0], give=words[1])


@pytest.fixture(scope="module")
def pets() -> Bundle:
    return bundle_of(tiny_models.negative(), labels=LABELS, count=3)


@pytest.fixture(scope="module")
def java(pets: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classes of all tests, compiled once."""
    sources = {**plain_java_of(pets), "Top.java": text("Top.java"), "SelfTest.java": text("SelfTest.java")}
    for case in CASES:
        sources |= plain_java_of(bundle_of(echo(case), name=case.name, prepared=case.prepared))
    body = "".join(lines_of(case) for case in CASES).encode()
    sources["Store.java"] = text("Store.java").replace(b"BODY", body)
    return compiled(tmp_path_factory.mktemp("java"), sources)


@pytest.fixture(scope="module")
def stored(java: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where Java wrote what it makes of every case."""
    place = tmp_path_factory.mktemp("stored")
    for case in CASES:
        raw = case.raw()
        (place / f"{case.name}.raw").write_bytes(raw.astype("<i8" if raw.dtype.kind in "bi" else "<f4").tobytes())
    run(java, "Store", place)
    return place


@needs_java
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_java_stores_and_reads_the_numbers_that_numpy_does(case: Case, stored: Path) -> None:
    tensor = read_contents(echo(case)).inputs[0]
    raw = case.raw()
    ready = raw if raw.dtype.kind in "bi" else case.prepared.apply(raw)
    expected = to_stored(ready.reshape(case.shape), tensor)
    assert (stored / f"{case.name}.stored").read_bytes() == expected.tobytes()
    real = to_real(expected, tensor).astype("<f4" if ready.dtype.kind == "f" else "<i8")
    assert (stored / f"{case.name}.real").read_bytes() == real.tobytes()


@needs_java
def test_the_best_labels_come_first_and_a_wrong_file_of_them_is_refused(
    java: Path, pets: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_bytes(android_files(pets, AndroidOptions()).files["assets/edgekit/pets/labels.txt"])
    (tmp_path / "short.txt").write_text("one\ntwo\n")
    told = run(java, "Top", tmp_path / "labels.txt", tmp_path / "short.txt").splitlines()
    assert told[0] == "[pears and more 0.5, 日本 0.5, Äpfel 0.25]"
    assert told[1].count(",") == 3
    assert "has 2 lines, the model 4 classes" in told[2]


@needs_java
def test_the_self_test_tells_right_from_wrong(java: Path, pets: Bundle, tmp_path: Path) -> None:
    for name, data in android_files(pets, AndroidOptions()).files.items():
        if name.startswith("assets/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    golden = pets.variants[0].golden
    assert golden is not None
    tolerance = golden.head.outputs[0].tolerance
    offs = (0, 0.9 * tolerance, 1.2 * tolerance, -3 * tolerance, "NaN")
    lines = run(java, "SelfTest", tmp_path / "assets/edgekit/pets", *offs).splitlines()
    assert [line.split()[:2] for line in lines] == [[word, "3"] for word in ("true", "true", "false", "false", "false")]
    assert "3 golden vectors, off by [0.0] tolerances: passed" in lines[0]
