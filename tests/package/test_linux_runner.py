"""What a packaged model does on a board: tests itself, runs raw data, and tells what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import old_python
import pytest
import tiny_models
from artifacts import artifact
from linux_device import Board, curve, packaged, unpacked
from toys import Toy

from edgekit.artifact import DataRecord, contract
from edgekit.bench.run import infer
from edgekit.data.spec import Images, Preprocessing
from edgekit.package import linux_runner
from edgekit.package.description import describe
from edgekit.package.linux_runner import runtime
from edgekit.package.linux_runner.contract import Package, Tensor, load
from edgekit.package.linux_runner.problem import Problem
from edgekit.package.linux_runner.runtime import enter_environment
from edgekit.package.linux_runner.samples import prepared, quantized, read, real
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.numbers import to_real, to_stored

LABELS = ("zéro", "one", "two")
RUNTIME = f"ai-edge-litert {version('ai-edge-litert')}"
STEPS = Preprocessing(mean=(100.0, 110.0, 120.0), scale=(0.01, 0.02, 0.03))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """The curve, with three classes at each of 4 x 6 places."""
    folder = tmp_path_factory.mktemp("linux")
    return unpacked(packaged(folder / "out", artifact(folder / "a", curve(), LABELS, STEPS), name="curve"), folder)


@pytest.fixture
def own(board: Board, tmp_path: Path) -> Board:
    """One to damage."""
    shutil.copytree(board.folder, tmp_path / "board")
    return Board(tmp_path / "board", board.module)


@pytest.fixture
def known(board: Board) -> Package:
    return load(board.program)


def images(count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.RandomState(seed).randint(0, 256, (count, 4, 6, 3)).astype(np.uint8)


def encrypted(data: bytes) -> bytes:
    """An archive whose first file needs a password."""
    place = data.index(b"PK\x01\x02") + 8
    return data[:place] + b"\1" + data[place + 1 :]


def test_the_selftest_passes_in_the_real_interpreter(board: Board) -> None:
    done = board.run("selftest")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"pass: 4 golden vectors of {RUNTIME}")
    found = board.said("selftest")
    assert found["passed"]
    assert found["outputs"][0]["off"] <= found["outputs"][0]["tolerance"]
    assert (found["unit"], found["why"]) == ("cpu", "runs everywhere")


def test_another_computation_fails_it(own: Board) -> None:
    """The file is whole and says so, but computes something else."""
    other = curve().replace(np.float32(0.05).tobytes(), np.float32(0.07).tobytes())
    (own.program / "curve.tflite").write_bytes(other)
    facts = json.loads((own.program / "contract.json").read_text())
    facts["variants"][0]["sha256"] = hashlib.sha256(other).hexdigest()
    (own.program / "contract.json").write_text(json.dumps(facts))
    done = own.run("selftest")
    assert (done.returncode, done.stdout.splitlines()[-1][:4]) == (1, "FAIL")


@pytest.mark.parametrize("command", [("selftest",), ("run", "x.npy"), ("info",)])
def test_a_changed_file_is_told_before_anything_runs(own: Board, command: tuple[str, ...]) -> None:
    path = own.program / "curve.tflite"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    done = own.run(*command)
    assert done.returncode == 1
    assert "curve.tflite was changed: SHA-256" in done.stderr
    assert "install the package again" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("contract.json", lambda data: data[:50]),
        ("contract.json", lambda data: b"[]"),
        ("contract.json", lambda data: None),
        ("curve.tflite", lambda data: None),
        ("golden.npz", lambda data: data[:50]),
        ("golden.npz", lambda data: None),
        ("golden.npz", lambda data: encrypted(data)),
    ],
)
def test_what_is_damaged_or_gone_is_named(own: Board, file: str, change: Callable[[bytes], bytes | None]) -> None:
    path = own.program / file
    data = change(path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    done = own.run("selftest")
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert "mend: install the package again" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_prepares_and_computes_as_edgekit_does(board: Board, tmp_path: Path) -> None:
    x = images(3)
    np.save(tmp_path / "x.npy", x)
    contents = read_contents(curve())
    wanted = infer(curve(), [to_stored(STEPS.apply(x), contents.inputs[0])]).outputs[0]
    board.said("run", tmp_path / "x.npy", "--save", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as found:
        np.testing.assert_allclose(found["y"], to_real(wanted, contents.outputs[0]), atol=1 / 256)


def test_one_sample_is_taken_without_its_axis(board: Board, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", images(1)[0])
    np.save(tmp_path / "two.npy", images(2))
    found = board.said("run", tmp_path / "one.npy", tmp_path / "two.npy")["results"]
    assert [(Path(one["input"]).name, one["sample"]) for one in found] == [
        ("one.npy", 0),
        ("two.npy", 0),
        ("two.npy", 1),
    ]
    assert found[0]["outputs"] == found[1]["outputs"]


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp"])
def test_an_image_is_read_as_edgekit_reads_it(name: str, known: Package, tmp_path: Path) -> None:
    from PIL import Image

    from edgekit.data.images import read_image

    Image.fromarray(np.random.RandomState(1).randint(0, 256, (30, 20, 3)).astype(np.uint8)).save(tmp_path / name)
    variant = known.variants[0]
    (found,) = read(tmp_path / name, variant, False, pytest.fail)
    pixels = read_image(tmp_path / name, Images(size=(4, 6)))[None]
    np.testing.assert_array_equal(found, to_stored(STEPS.apply(pixels), read_contents(curve()).inputs[0]))


def test_channels_that_come_first_are_moved(tmp_path: Path) -> None:
    steps = Preprocessing(mean=(1.0, 2.0, 3.0), scale=(0.5,), layout="channels_first")
    made = packaged(tmp_path / "out", artifact(tmp_path / "a", curve(), LABELS, steps), name="curve")
    variant = load(unpacked(made, tmp_path).program).variants[0]
    raw = np.moveaxis(images(2), -1, 1).astype(np.float32) / 64
    np.save(tmp_path / "x.npy", raw)
    (found,) = read(tmp_path / "x.npy", variant, False, pytest.fail)
    np.testing.assert_array_equal(found, to_stored(steps.apply(raw), read_contents(curve()).inputs[0]))


def test_data_without_a_last_axis_of_one_has_its_own_channels(tmp_path: Path) -> None:
    steps = Preprocessing(mean=tuple(map(float, range(6))), scale=(0.02, 0.01) * 3)
    made = packaged(tmp_path / "out", artifact(tmp_path / "a", curve((1, 6, 1)), (), steps), name="curve")
    variant = load(unpacked(made, tmp_path).program).variants[0]
    raw = np.arange(24.0).reshape(4, 6) * 9
    assert describe(tmp_path / "a").notes[0].startswith("mean and scale are left out")
    wanted = to_stored(steps.apply(raw), read_contents(curve((1, 6, 1))).inputs[0])
    for name, given in (("short", raw), ("whole", raw[..., None])):
        np.save(tmp_path / f"{name}.npy", given)
        (found,) = read(tmp_path / f"{name}.npy", variant, False, pytest.fail)
        np.testing.assert_array_equal(found, wanted[..., None])


def test_whole_numbers_that_stand_for_themselves_are_not_prepared(known: Package) -> None:
    token = replace(known.variants[0], inputs=(Tensor("token", (1, 2), "int32", None, None),))
    (found,) = prepared([np.array([[1, 7]])], token, pytest.fail)
    np.testing.assert_array_equal(found, [[1, 7]])


def test_stored_values_are_run_as_they_are(board: Board, tmp_path: Path) -> None:
    stored = np.arange(72, dtype=np.int8).reshape(1, 4, 6, 3)
    np.save(tmp_path / "x.npy", stored)
    board.said("run", "--raw", tmp_path / "x.npy", "--save", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as found:
        np.testing.assert_allclose(found["y"], 1 / (1 + np.exp(-(stored - 3.0) * 0.05)), atol=1 / 256)


def test_values_beyond_what_it_takes_are_warned_of(board: Board, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((4, 6, 3), 30000))
    done = board.run("run", tmp_path / "x.npy")
    assert done.returncode == 0
    assert "100% of the values are beyond the -6.55 to 6.2" in done.stderr


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros((4, 6, 4)), "give [4, 6, 3], or [n, 4, 6, 3]"),
        (np.zeros((0, 4, 6, 3)), "give [4, 6, 3], or [n, 4, 6, 3]"),
        (np.full((4, 6, 3), np.nan), "finite"),
        (np.full((4, 6, 3), "a"), "finite"),
        (None, "give .npy, .npz, or an image"),
    ],
)
def test_what_cannot_be_an_input_is_refused(board: Board, values: Any, word: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values) if values is not None else (tmp_path / "x.npy").write_text("no array")
    done = board.run("run", tmp_path / "x.npy")
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert word in done.stderr
    assert not done.stdout


def test_a_broken_image_is_refused(known: Package, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    with pytest.raises(Problem, match="not a readable image"):
        read(tmp_path / "x.png", known.variants[0], False, pytest.fail)


def test_several_inputs_of_open_size_come_by_name(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.sum_and_difference())
    board = unpacked(packaged(tmp_path / "out", tmp_path / "m.tflite", name="plus minus"), tmp_path)
    assert board.said("selftest")["passed"]
    x, y = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    np.savez(tmp_path / "xy.npz", y=y, x=x)
    outputs = [one["outputs"] for one in board.said("run", tmp_path / "xy.npz")["results"]]
    assert [one["plus"] for one in outputs] == (x + y).tolist()
    assert [one["minus"] for one in outputs] == (x - y).tolist()
    np.savez(tmp_path / "wrong.npz", x=x, z=y)
    done = board.run("run", tmp_path / "wrong.npz")
    assert (done.returncode, "['x', 'y']" in done.stderr) == (3, True)


def test_the_best_classes_come_first(tmp_path: Path) -> None:
    made = packaged(tmp_path / "out", artifact(tmp_path / "a", curve((1, 3)), LABELS), name="curve")
    board = unpacked(made, tmp_path)
    np.save(tmp_path / "x.npy", np.array([[-1.0, 4.0, 2.0]]))
    done = board.run("run", tmp_path / "x.npy", "--top", "2", env={"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert re.fullmatch(r".*x\.npy\[0\]: one 0\.98\d*, two 0\.8\d*\n", done.stdout)
    plain = board.run("run", tmp_path / "x.npy", env={"PYTHONIOENCODING": "ascii"}).stdout
    assert re.search(r", z\\xe9ro 0\.2\d*\n$", plain)


def test_a_class_at_each_place_is_told_in_numbers(tmp_path: Path) -> None:
    board = unpacked(packaged(tmp_path / "out", artifact(tmp_path / "a", curve((1, 4, 3))), name="curve"), tmp_path)
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 3)))
    (found,) = board.said("run", tmp_path / "x.npy")["results"]
    assert found["outputs"]
    assert "top" not in found


def test_info_tells_what_is_inside(board: Board) -> None:
    found = board.said("info")
    assert found["runtime"].startswith(f"{RUNTIME}, numpy ")
    assert found["variants"][0]["labels"] == list(LABELS)
    text = board.run("info").stdout
    assert "input 'x': int8 [1, 4, 6, 3], real = (stored - 3) * 0.05" in text
    assert "labels   3: zéro, one, two" in text


def test_a_reader_that_goes_away_is_no_crash(board: Board) -> None:
    command = [sys.executable, "-m", board.module, "info", "--json"]
    with subprocess.Popen(command, cwd=board.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = child.stderr.read().decode()
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_a_full_disk_leaves_no_half_file(board: Board, tmp_path: Path) -> None:
    """A limit of the size of files stands for it: both end a write in the middle."""
    np.save(tmp_path / "x.npy", images(100))

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = board.run("run", tmp_path / "x.npy", "--save", tmp_path / "y.npz", preexec_fn=limited)
    assert done.returncode == 3
    assert "y.npz: File too large\n  mend: free some space" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy"]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with numpy and no runtime."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    numpy = Path(np.__file__).parent
    for path in (numpy, numpy.with_name("numpy.libs")):
        (site / path.name).symlink_to(path)
    return folder / "bin/python3"


def test_a_missing_runtime_comes_with_the_command_that_mends_it(board: Board, bare_python: Path) -> None:
    done = board.run("selftest", python=bare_python)
    assert done.returncode == 4
    assert "no TFLite runtime is installed" in done.stderr
    assert "sudo python3 -m venv --system-site-packages /opt/curve" in done.stderr
    assert "sudo /opt/curve/bin/python3 -m pip install ai-edge-litert" in done.stderr


def test_a_runtime_that_breaks_on_this_numpy_is_named(board: Board, bare_python: Path, tmp_path: Path) -> None:
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime/__init__.py").touch()
    done = board.run("selftest", python=bare_python, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 4
    assert f"does not work with numpy {np.__version__}" in done.stderr


def test_a_python_without_numpy_is_told(board: Board, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", symlinks=True)
    done = board.run("info", python=tmp_path / "empty/bin/python3")
    assert (done.returncode, "sudo apt install python3-numpy" in done.stderr) == (4, True)


def test_what_runs_on_python_3_9_is_written_in_it() -> None:
    folder = Path(linux_runner.__file__).parent
    assert len([*folder.glob("*.py")]) > 5
    old_python.assert_written_in_it(folder)


@pytest.mark.parametrize("version", ["2.7", "3.8"])
def test_an_older_python_is_told_so(board: Board, version: str) -> None:
    source = (board.program / "__main__.py").read_text()
    code = source.replace("import sys\n", f"import sys\nsys.version_info = ({version.replace('.', ', ')})\n", 1)
    (board.folder / f"old{version[0]}.py").write_text(code.replace("from .cli", "from nothing"))
    done = subprocess.run(
        [sys.executable, board.folder / f"old{version[0]}.py"], capture_output=True, text=True, env={**os.environ}
    )
    assert (done.returncode, "needs Python 3.9 or newer" in done.stderr) == (1, True)


def test_numbers_are_stored_and_read_as_edgekit_does() -> None:
    contents = read_contents(curve((1, 9)))
    ((mine,), _) = contract(contents)
    tensor = Tensor(mine.name, mine.shape, mine.dtype, mine.scale, mine.zero_point)
    values = np.linspace(-9, 9, 9, dtype=np.float32).reshape(1, 9)
    stored = quantized(values, tensor, "x", lambda words: None)
    np.testing.assert_array_equal(stored, to_stored(values, contents.inputs[0]))
    np.testing.assert_array_equal(real(stored, tensor), to_real(stored, contents.inputs[0]))


def test_places_in_a_table_are_whole_numbers() -> None:
    place = Tensor("token", (1, 2), "int32", None, None)
    np.testing.assert_array_equal(quantized(np.array([[1.0, 7.0]]), place, "x", pytest.fail), [[1, 7]])
    with pytest.raises(Problem, match="takes whole numbers"):
        quantized(np.array([[1.5, 7.0]]), place, "x", pytest.fail)


def test_it_goes_on_in_the_environment_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one, whatever runtime the system's Python has: that may be broken. One of a venv was chosen."""
    calls: list[list[str]] = []
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(runtime, "environment", lambda: tmp_path)
    monkeypatch.setattr(os, "execv", lambda path, words: calls.append([path, *words]))
    (tmp_path / "bin").mkdir()
    enter_environment(["-m", "curve", "info"])
    assert calls == []
    python = tmp_path / "bin/python3"
    python.touch()
    enter_environment(["-m", "curve", "run", "x y.npy"])
    assert calls == [[python, str(python), "-m", "curve", "run", "x y.npy"]]
    for chosen in (tmp_path, tmp_path / "coral"):
        monkeypatch.setattr(sys, "prefix", str(chosen))
        enter_environment(["-m", "curve", "info"])
    assert len(calls) == 1


def test_an_image_for_a_model_that_takes_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    variant = load(unpacked(packaged(tmp_path / "out", tmp_path / "m.tflite", name="flat"), tmp_path).program).variants[
        0
    ]
    with pytest.raises(Problem, match=r"takes \[\(1, 4\)\], no image"):
        read(tmp_path / "x.png", variant, False, pytest.fail)


SERVICE = """
import sys
import numpy as np
from {module}.api import open_model
model = open_model()
(found,) = model(np.load(sys.argv[1]))
np.save(sys.argv[2], found)
print(model.labels, model.constants)
"""


def served(board: Board, samples: np.ndarray[Any, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """A program of the user's own, which has the package beside it."""
    np.save(folder / "x.npy", samples)
    (board.folder / "service.py").write_text(SERVICE.format(module=board.module))
    command = [sys.executable, "service.py", str(folder / "x.npy"), str(folder / "y.npy")]
    return subprocess.run(command, cwd=board.folder, capture_output=True, text=True, check=False)


def test_a_program_of_the_users_own_gets_what_run_gives(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "a", curve(), LABELS, STEPS)
    numbers = {"threshold": 0.25, "patience": 3}
    board = unpacked(packaged(tmp_path / "out", folder, name="curve", constants=numbers), tmp_path)
    done = served(board, images(3), tmp_path)
    assert done.stdout == f"{LABELS} {{'patience': 3.0, 'threshold': 0.25}}\n", done.stderr
    board.said("run", tmp_path / "x.npy", "--save", tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz") as found:
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), found["y"])
    assert board.said("info")["constants"] == numbers
    assert "constant threshold = 0.25" in board.run("info").stdout


def test_a_model_that_fails_its_selftest_is_not_opened(own: Board, tmp_path: Path) -> None:
    with np.load(own.program / "golden.npz") as arrays:
        golden = dict(arrays)
    np.savez(own.program / "golden.npz", **{**golden, "output0": golden["output0"] + 9})
    done = served(own, images(1), tmp_path)
    assert (done.returncode, "curve.tflite does not compute here what it should" in done.stderr) == (1, True)
    assert not (tmp_path / "y.npy").exists()


def remembering() -> bytes:
    """An RNN that adds its last output to its input."""
    toy = Toy()
    x, y = toy.tensor([1, 1, 4]), toy.tensor([1, 1, 4])
    weights = [toy.tensor([4, 4], data=np.eye(4)) for _ in range(2)]
    bias, state = toy.tensor([4], data=np.zeros(4)), toy.tensor([1, 4])
    toy.graph.tensors[state].isVariable = True
    toy.operator("UNIDIRECTIONAL_SEQUENCE_RNN", [x, *weights, bias, state], [y], "SequenceRNNOptions")
    return toy.bytes([x], [y])


def test_an_opened_model_has_no_state_of_its_selftest(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(remembering())
    board = unpacked(packaged(tmp_path / "out", tmp_path / "m.tflite", name="memory"), tmp_path)
    done = served(board, np.ones((2, 1, 4), np.float32), tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "y.npy").ravel().tolist() == [1.0] * 4 + [2.0] * 4


def test_a_program_is_told_what_the_model_takes(own: Board, tmp_path: Path) -> None:
    done = served(own, np.zeros((2, 5)), tmp_path)
    assert "Problem: samples: shape [2, 5]" in done.stderr
    assert "mend: give [4, 6, 3]" in done.stderr


def test_an_autoencoder_is_told_by_its_error(tmp_path: Path) -> None:
    """The curve plays one: its outputs have the shape of its inputs."""
    folder = artifact(tmp_path / "a", curve(), data=DataRecord("c" * 64, "autoencoder", {}, STEPS, ()))
    board = unpacked(packaged(tmp_path / "out", folder, name="curve"), tmp_path)
    np.save(tmp_path / "x.npy", x := images(3))
    told = board.said("run", tmp_path / "x.npy", "--save", tmp_path / "y.npz")["results"]
    contents = read_contents(curve())
    taken = to_real(to_stored(STEPS.apply(x), contents.inputs[0]), contents.inputs[0])
    with np.load(tmp_path / "y.npz") as found:
        wanted = np.mean((found["y"] - taken) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose([one["error"] for one in told], wanted, rtol=1e-5)
    lines = board.run("run", tmp_path / "x.npy").stdout.splitlines()
    assert lines == [f"{tmp_path / 'x.npy'}[{place}]: error {error:.4g}" for place, error in enumerate(wanted)]
