"""Deltas: they make the new file from the old one alone, are small where weights moved little, and refuse damage."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.cli.diff import command as diff
from edgekit.cli.patch import command as patch
from edgekit.errors import InputError, MissingDependency, OutputError
from edgekit.package.delta import apply_delta, make_delta, read_head
from edgekit.tflite import flatbuffer
from edgekit.tflite.inspect import deflated_bytes
from edgekit.tflite.surgery import pack, unpack

bsdiff4 = pytest.importorskip("bsdiff4", reason="bsdiff4 is not installed")

Run = Callable[..., subprocess.CompletedProcess[str]]


def applied(old: bytes, delta: bytes) -> bytes:
    out = io.BytesIO()
    apply_delta(old, delta, out)
    return out.getvalue()


def crafted(old: bytes, steps: list[tuple[int, int, int]], added: bytes, fresh: bytes, claimed: int) -> bytes:
    """A delta for this old file that says what it likes."""
    control = b"".join(struct.pack("<QQQ", *step) for step in steps)
    blocks = [bz2.compress(block) for block in (control, added, fresh)]
    head = struct.pack("<8sQQQ", b"BSDIFF40", len(blocks[0]), len(blocks[1]), claimed)
    return b"".join([head, *blocks, b"EDGEKIT1", hashlib.sha256(old).digest(), bytes(32)])


def moved(model: bytes, share: float, seed: int = 0) -> bytes:
    """The file with a share of the bytes of its constants one up or down."""
    root, data, rng = flatbuffer.open_model(model), np.frombuffer(model, np.uint8).copy(), np.random.default_rng(seed)
    for index in range(root.BuffersLength()):
        if span := flatbuffer.buffer_span(root, index, len(model)):
            place = slice(span[0], sum(span))
            chosen = rng.random(span[1]) < share
            data[place][chosen] += rng.choice(np.array([1, 255], np.uint8), chosen.sum())
    return data.tobytes()


@pytest.fixture(scope="module")
def model() -> bytes:
    """A file whose weights are like those of an int8 network: 40,000 rounded normal numbers in four constants."""
    graph, rng = tiny_models.Graph(), np.random.default_rng(0)
    x = graph.tensor("x", (1, 2500))
    for index in range(4):
        weights = np.clip(rng.normal(0, 40, 10_000).round(), -127, 127).astype(np.int8)
        y = graph.tensor(f"y{index}", (1, 2500))
        graph.operator(tiny_models.ADD, [x, graph.constant(f"w{index}", weights.view(np.int32))], [y])
        x = y
    return graph.bytes([0], [x])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=100), st.binary(max_size=100), st.integers(0, 400))
def test_the_new_file_comes_back_and_every_bspatch_agrees(old: bytes, more: bytes, end: bytes, at: int) -> None:
    for new in (old[:at] + more + old[at:] + end, more, old[at:]):
        delta = make_delta(old, new)
        assert delta == make_delta(old, new)
        assert applied(old, delta) == new
        assert bsdiff4.patch(old, delta) == new
        assert read_head(delta).new_bytes == len(new)


def test_the_bspatch_of_the_system_applies_it(model: bytes, tmp_path: Path) -> None:
    if shutil.which("bspatch") is None:
        pytest.skip("bspatch is not installed")
    old, new, delta = (tmp_path / name for name in ("old", "new", "delta"))
    old.write_bytes(model)
    delta.write_bytes(make_delta(model, moved(model, 0.9)))
    subprocess.run(["bspatch", old, new, delta], check=True)
    assert new.read_bytes() == moved(model, 0.9)


@pytest.mark.parametrize(("share", "most"), [(0.01, 0.04), (0.05, 0.09), (0.2, 0.18), (0.6, 0.27), (1.0, 0.25)])
def test_a_quantum_up_or_down_costs_two_bits_at_most(model: bytes, share: float, most: float) -> None:
    """Above a half, bsdiff alone finds nothing to hold on to: its delta is as large as the deflated file."""
    new = moved(model, share)
    delta = make_delta(model, new)
    assert applied(model, delta) == new
    assert len(delta) < most * len(new)
    assert len(bsdiff4.diff(model, new)) > 0.6 * deflated_bytes(new) or share < 0.5


def test_weights_that_moved_are_found_behind_new_metadata(model: bytes) -> None:
    before, after = unpack(model), unpack(moved(model, 1.0))
    after.description = b"the second version, with words that were not there"
    old, new = pack(before), pack(after)
    assert len(old) != len(new)
    assert len(make_delta(old, new)) < 0.25 * len(new)


def test_metadata_alone_costs_less_than_a_kibibyte(model: bytes, tmp_path: Path, edgekit_cli: Run) -> None:
    (tmp_path / "m.tflite").write_bytes(model)
    for number, name in enumerate(("first", "second")):
        assert edgekit_cli("metadata", "set", "m.tflite", "-o", f"{number}.tflite", "--name", name).returncode == 0
    delta = make_delta((tmp_path / "0.tflite").read_bytes(), (tmp_path / "1.tflite").read_bytes())
    assert len(delta) < 1024


def test_a_fine_tuned_network_costs_less_than_half(
    digits: Path, float_file: bytes, int8_file: bytes, tmp_path: Path
) -> None:
    """Really trained on, exported again, and quantized with the ranges of the first."""
    from edgekit.model import load_model
    from edgekit.stages.calibrate import calibrate
    from edgekit.stages.convert import export
    from edgekit.stages.numerics import Quantize
    from edgekit.stages.quantize import Source, quantize

    loaded = load_model(digits / "digits.keras")
    with np.load(digits / "digits.npz") as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    loaded.keras.compile("sgd", "sparse_categorical_crossentropy")
    loaded.keras.optimizer.learning_rate = 0.003
    loaded.keras.fit(x[:320], y[:320], batch_size=32, verbose=0)
    lowered = export(loaded, 1, tmp_path / "export").lower()
    stage = Quantize("int8", "per-channel", "per-channel", "int8", "litert")
    new = quantize(Source(lowered, calibrate(float_file, [x[:100]])), stage)
    delta = make_delta(int8_file, new)
    assert new != int8_file
    assert applied(int8_file, delta) == new
    assert len(delta) < 0.5 * len(new)


def test_another_old_file_is_refused_by_its_hash(model: bytes) -> None:
    new = moved(model, 0.1)
    delta = make_delta(model, new)
    with pytest.raises(InputError, match=hashlib.sha256(model).hexdigest()):
        applied(model + b"\0", delta)
    with pytest.raises(InputError, match="already"):
        applied(new, delta)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_an_error_and_never_another_file(data: st.DataObject) -> None:
    old = bytes(range(256)) * 8
    new = old[:700] + b"in between" + old[900:]
    delta = bytearray(make_delta(old, new))
    if data.draw(st.booleans()):
        del delta[data.draw(st.integers(0, len(delta) - 1)) :]
    else:
        delta[data.draw(st.integers(0, len(delta) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(InputError):
        assert applied(old, bytes(delta)) == new


@pytest.mark.parametrize(
    ("steps", "claimed"),
    [
        ([(0, 2**30, 0)], 2**31 - 1),
        ([(0, 2**63, 0)], 2**31 - 1),
        ([(0, 10, 0)], 2**40),
        ([(2**30, 0, 0)], 2**30),
        ([(1, 0, 2**63 + 5), (1, 0, 0)], 2),
        ([(0, 0, 0)] * 100_000, 8),
    ],
)
def test_a_hostile_delta_costs_little_memory(steps: list[tuple[int, int, int]], claimed: int) -> None:
    old = bytes(1000)
    delta = crafted(old, steps, bytes(1000), bytes(1000), claimed)
    tracemalloc.start()
    with pytest.raises(InputError, match="damaged"):
        applied(old, delta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_bomb_goes_to_the_disk_in_pieces(tmp_path: Path) -> None:
    """256 MiB from 200 bytes, with a wrong hash: seen at the end, and never in memory."""
    old, size = b"old", 256 << 20
    delta = crafted(old, [(0, size, 0)], b"", bytes(size), size)
    assert len(delta) < 1000
    tracemalloc.start()
    with (tmp_path / "out").open("wb") as out, pytest.raises(InputError, match="another SHA-256"):
        apply_delta(old, delta, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_from_the_command_line_with_an_artifact_folder(model: bytes, tmp_path: Path, edgekit_cli: Run) -> None:
    new = moved(model, 0.05)
    artifact = tmp_path / "v2"
    artifact.mkdir()
    (artifact / "m.tflite").write_bytes(new)
    manifest = {"name": "m", "file": "m.tflite", "sha256": hashlib.sha256(new).hexdigest()}
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "v1.tflite").write_bytes(model)
    made = edgekit_cli("diff", "v1.tflite", "v2", "-o", "d", "--json")
    report = json.loads(made.stdout)
    assert report["delta_bytes"] == (tmp_path / "d").stat().st_size == report["deflated_bytes"] - report["saved_bytes"]
    assert (report["old_bytes"], report["new_sha256"]) == (len(model), manifest["sha256"])
    done = edgekit_cli("patch", "v1.tflite", "d", "-o", "v1.tflite", "--overwrite")
    assert (done.returncode, manifest["sha256"] in done.stdout) == (0, True)
    assert (tmp_path / "v1.tflite").read_bytes() == new
    again = edgekit_cli("patch", "v1.tflite", "d", "-o", "v3.tflite")
    assert (again.returncode, "v1.tflite is already" in again.stderr) == (3, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "v1.tflite", "v2"]


def test_where_nothing_is_won_it_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / name for name in ("old", "new", "d")]
    for path in paths[:2]:
        path.write_bytes(rng.bytes(5000))
    words = [*map(str, paths[:2]), "-o", str(paths[2])]
    found = CliRunner().invoke(diff, words)
    assert found.exit_code == 0
    assert "nothing is won" in found.output
    assert isinstance(CliRunner().invoke(diff, words).exception, OutputError)


def test_a_delta_of_another_tool_and_a_model_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of another tool"):
        read_head(bsdiff4.diff(b"a" * 100, b"b" * 100))
    with pytest.raises(InputError, match="no delta"):
        read_head(tiny_models.negative())


def test_a_full_disk_leaves_no_half_file(model: bytes, tmp_path: Path) -> None:
    """As a limit on the size of files, which ends a write as a full disk does."""
    (tmp_path / "old").write_bytes(model)
    (tmp_path / "delta").write_bytes(make_delta(model, moved(model, 0.1)))

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    words = [sys.executable, "-B", "-m", "edgekit", "patch", "old", "delta", "-o", "old", "--overwrite"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=limited)
    assert (done.returncode, "File too large" in done.stderr) == (3, True)
    assert (tmp_path / "old").read_bytes() == model
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delta", "old"]


def test_a_device_needs_no_bsdiff4_to_patch(model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delta = make_delta(model, moved(model, 0.1))
    monkeypatch.setitem(sys.modules, "bsdiff4", None)
    assert applied(model, delta) == moved(model, 0.1)
    with pytest.raises(MissingDependency, match="bsdiff4"):
        make_delta(model, model)
    (tmp_path / "old").write_bytes(model)
    (tmp_path / "d").write_bytes(delta)
    done = CliRunner().invoke(patch, [str(tmp_path / name) for name in ("old", "d")] + ["-o", str(tmp_path / "new")])
    assert done.exit_code == 0
