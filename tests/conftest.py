"""What the tests share: real data, one small trained model and its float32 file, made once for all workers."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import built
import click
import coverage_table
import printed
import pytest

from edgekit.cli import common

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--coverage-table", type=Path, help="file for the table of architectures and techniques")


def pytest_runtest_setup(item: pytest.Item) -> None:
    coverage_table.noted(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    path = config.getoption("--coverage-table")
    if not path:
        return
    stats = terminalreporter.stats
    reports = [one for kind in ("passed", "failed", "skipped") for one in stats.get(kind, []) if one.when == "call"]
    found = coverage_table.cells(reports)
    terminalreporter.section("architectures and techniques")
    terminalreporter.write_line(coverage_table.table(found))
    coverage_table.write(found, path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real models and data sets that the project does not ship."""
    folder = Path(os.environ.get("EDGEKIT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no folder of shared data: set EDGEKIT_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """`once(name, make)`: a folder that `make(folder)` has filled, by whichever worker came first."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder = base / name
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / ".done").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / ".done").touch()
        return folder

    return made


@pytest.fixture(scope="session")
def digits(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Folder with digits.npz and digits.keras, a small network trained on it: the demo's own."""

    def make(folder: Path) -> None:
        pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'edgekit[convert]'")
        import keras

        keras.utils.clear_session()  # names of layers are counted from 1, as in a process of its own
        sys.path.insert(0, str(ROOT / "examples"))
        try:
            import demo
        finally:
            sys.path.pop(0)
        demo.trained(demo.digits(folder), folder)

    return once("digits", make)


@pytest.fixture(scope="session")
def tiny_cnn(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Folder with tiny.keras, a small untrained network, tiny.tflite, its float32 file, and tiny.npz, data for it."""

    def make(folder: Path) -> None:
        import numpy as np

        from edgekit.model import load_model
        from edgekit.stages.convert import export
        from edgekit.tf import import_keras

        keras = import_keras()
        keras.utils.set_random_seed(0)
        layers = keras.layers
        x = inputs = keras.Input((16, 16, 3), name="image")
        for channels, stride in ((24, 2), (32, 1)):
            x = layers.Conv2D(channels, 3, stride, "same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.GlobalAveragePooling2D()(x)
        outputs = layers.Dense(4, activation="softmax", name="class")(x)
        keras.Model(inputs, outputs).save(folder / "tiny.keras")
        exported = export(load_model(folder / "tiny.keras"), 1, folder / "export")
        (folder / "tiny.tflite").write_bytes(exported.lower())
        random = np.random.default_rng(0)
        x, y = random.random((80, 16, 16, 3), np.float32), np.arange(80) % 4
        np.savez(folder / "tiny.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])

    return once("tiny_cnn", make)


@pytest.fixture(scope="session")
def float_file(digits: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> bytes:
    """The digits network as a float32 TFLite file."""

    def make(folder: Path) -> None:
        from edgekit.model import load_model
        from edgekit.stages.convert import export

        exported = export(load_model(digits / "digits.keras"), 1, folder / "export")
        (folder / "digits.tflite").write_bytes(exported.lower())

    return (once("float_file", make) / "digits.tflite").read_bytes()


@pytest.fixture(scope="session")
def int8_file(float_file: bytes, digits: Path) -> bytes:
    """The digits network in full int8, int8 in and out."""
    import numpy as np

    from edgekit.stages.calibrate import calibrate
    from edgekit.stages.numerics import Quantize
    from edgekit.stages.quantize import Source, quantize

    with np.load(digits / "digits.npz") as arrays:
        ranges = calibrate(float_file, [arrays["x_train"][:100]])
    stage = Quantize("int8", "per-channel", "per-channel", "int8", "litert")
    return quantize(Source(float_file, ranges), stage)


@pytest.fixture
def edgekit_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `edgekit` as a user would, in an empty folder."""

    def run(*words: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgekit", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
        if "--json" in words and done.stdout:
            assert not (fault := printed.wrong([str(word) for word in words], done.stdout)), fault
        return done

    return run


@pytest.fixture(autouse=True)
def printed_json_is_of_its_type(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command prints inside of this process has the type that is frozen for it."""
    faults: list[str] = []
    as_json = common._as_json

    def held(value: object) -> str:
        text = as_json(value)
        asked = click.get_current_context()
        command = asked.command.callback.__module__.rpartition(".")[2]
        faults.append(printed.wrong([command, asked.info_name], text))
        return text

    monkeypatch.setattr(common, "_as_json", held)
    yield
    assert not any(faults), "\n".join(faults)


@pytest.fixture(scope="session")
def dist(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Folder with the wheel and the source archive of this repository."""
    return once("dist", built.build) / "dist"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The delegate of tests/bench, compiled: it takes NEG operators."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    path = tmp_path_factory.mktemp("delegate") / "negating.so"
    source = Path(__file__).parent / "bench" / "negating_delegate.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, source], check=True)
    return str(path)
