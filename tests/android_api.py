"""Java for the tests: bundles without golden vectors, `javac` and `java`, and what an app's sources call.

`java/api` has the few classes of Android and LiteRT that a package calls, with the signatures of their documentation.
Assets are entries of a real APK there, which have to be stored in it; the interpreter is LiteRT in a Python process;
the GPU is what the system property `gpu` says: absent, "works" (the same interpreter) or "refuses".
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from msgspec import structs

from edgekit.artifact import contract
from edgekit.data.spec import Preprocessing
from edgekit.package.android import AndroidOptions, android_files
from edgekit.package.bundle import Bundle, Contract, Variant
from edgekit.package.golden import golden_vectors
from edgekit.package.source import Source
from edgekit.tflite.inspect import read_contents

JAVA = Path(__file__).parent / "java"
AS_IT_IS = Preprocessing()
needs_java = pytest.mark.skipif(
    not (shutil.which("javac") and shutil.which("java")),
    reason="no JDK is installed (apt-get install openjdk-17-jdk-headless)",
)


def api() -> dict[str, bytes]:
    """The classes of Android and LiteRT, by their place."""
    return {str(path.relative_to(JAVA / "api")): path.read_bytes() for path in (JAVA / "api").rglob("*.java")}


def text(name: str) -> bytes:
    """A Java source of the tests."""
    return (JAVA / name).read_bytes()


def compiled(place: Path, sources: Mapping[str, bytes], *flags: str) -> Path:
    """The folder of the classes of Java 8 sources, by name: any warning is an error."""
    root, classes = place / "sources", place / "classes"
    for name, text in sources.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    fast = ["-J-XX:TieredStopAtLevel=1", "-J-Xshare:auto", "-proc:none", "-encoding", "UTF-8", "--release", "8"]
    lint = flags or ("-Xlint:all,-options", "-Werror")
    command = ["javac", *fast, *lint, "-d", classes, *(str(root / name) for name in sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return classes


def run(classes: Path, main: str, *arguments: object, gpu: str | None = None) -> str:
    """What a main class prints; raises CalledProcessError if it throws."""
    told = {"python": sys.executable, "child": JAVA / "interpreter.py", **({"gpu": gpu} if gpu else {})}
    options = ["-Xshare:auto", "-XX:TieredStopAtLevel=1", *(f"-D{key}={value}" for key, value in told.items())]
    command = ["java", *options, "-cp", classes, main, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def bundle_of(
    *models: bytes,
    name: str = "pets",
    prepared: Preprocessing = AS_IT_IS,
    labels: Sequence[str] = (),
    count: int = 0,
) -> Bundle:
    """A bundle of one file for the CPU, or of one for the GPU before it; without golden vectors it takes no time."""
    variants = []
    for unit, model in zip(("gpu", "cpu")[-len(models) :], models, strict=True):
        contents = read_contents(model)
        known = Contract(*contract(contents))
        known = structs.replace(known, preprocessing=prepared, labels=tuple(labels))
        file = f"{name}.tflite" if len(models) == 1 else f"{name}-{unit}.tflite"
        golden = golden_vectors(model, count) if count else None
        variants.append(Variant(unit, file, model, contents, known, golden, Source(model, name, ())))
    return Bundle(name, tuple(variants), "1.0.0", None)


def java_of(bundle: Bundle, *roots: str, **options: object) -> dict[str, bytes]:
    """The sources of a package, by their place in `java/` and the other roots."""
    files = android_files(bundle, AndroidOptions(**options)).files  # type: ignore[arg-type]
    return {name.partition("/")[2]: data for name, data in files.items() if name.startswith(("java/", *roots))}


def plain_java_of(bundle: Bundle) -> dict[str, bytes]:
    """The sources that call nothing of Android."""
    return {name: data for name, data in java_of(bundle).items() if not name.endswith("Model.java")}
