"""The recorded arena: it works, a little less does not, and the plan of the head is what was recorded."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

from edgekit.errors import MissingDependency, ModelError, RunError
from edgekit.tflite import recorded_arena
from edgekit.tflite.memory_plan import plan_memory
from edgekit.tflite.recorded_arena import Allocation, RecordedArena, record_arena, runs_in

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="the package tflite-micro is not installed"
)

REAL = ["tflm/hello_world_int8", "tflm/micro_speech_quantized", "microwakeword/okay_nabu", "mlperf_tiny_ad/ad01_int8"]
ON_ARM = {
    "tflm/hello_world_int8": (716, 1104),
    "tflm/micro_speech_quantized": (6812, 6816),
    "mlperf_tiny_ad/ad01_int8": (2380, 2816),
    "mlperf_tiny_ic/pretrainedResnet_quant": (54364, 54368),
    "microwakeword/alexa": (16268, 16272),
    "microwakeword/hey_jarvis": (15644, 15648),
    "microwakeword/hey_mycroft": (17564, 17568),
    "microwakeword/okay_nabu": (20588, 21648),
}
"""Bytes used, and smallest arena that works, of a 32-bit Arm build (reference kernels of commit 90b983c, emulated)."""

SLOW = ["microwakeword/alexa", "microwakeword/hey_jarvis", "microwakeword/hey_mycroft"]
SLOW += ["mlperf_tiny_ic/pretrainedResnet_quant", "mlperf_tiny_ic/pretrainedResnet", "mlperf_tiny_ad/ad01_fp32"]


def laws_hold(model: bytes) -> RecordedArena:
    found = record_arena(model)
    assert found.smallest_bytes % 16 == 0
    assert runs_in(model, found.smallest_bytes) == ""
    assert runs_in(model, found.smallest_bytes * 98 // 100)
    assert found.smallest_bytes >= found.total_bytes == found.head_bytes + found.tail_bytes
    assert sum(one.used_bytes for one in found.allocations) < found.tail_bytes
    assert plan_memory(model, "micro").arena_bytes == pytest.approx(found.head_bytes, rel=0.01)
    least, most = found.device_bytes
    assert found.head_bytes < least < most < found.smallest_bytes
    return found


@needs_package
@pytest.mark.parametrize("name", [*REAL, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_what_is_reported_works_and_less_does_not(name: str, shared_data: Path) -> None:
    found = laws_hold((shared_data / "models" / f"{name}.tflite").read_bytes())
    least, most = found.device_bytes
    used, smallest = ON_ARM.get(name, (least, most))
    assert least <= used <= smallest <= most


@needs_package
def test_a_file_of_our_own(int8_file: bytes) -> None:
    laws_hold(int8_file)


@needs_package
def test_a_refused_file_is_told_in_the_words_of_the_interpreter() -> None:
    with pytest.raises(RunError, match="Failed to get registration from op code CUSTOM"):
        record_arena(tiny_models.custom())


@needs_package
def test_a_killed_interpreter_is_an_answer() -> None:
    """An arena without room even for the allocator itself is a null pointer there."""
    assert "SIGSEGV" in runs_in(tiny_models.negative(), 64)


@needs_package
def test_an_arena_beyond_the_limit_of_memory_is_refused() -> None:
    with pytest.raises(RunError, match="does not run this file"):
        record_arena(tiny_models.negative((1 << 20, 1 << 12)))


@needs_package
def test_a_long_run_ends_with_its_time() -> None:
    begin = time.monotonic()
    with pytest.raises(RunError, match=r"longer than 0\.05 s"):
        record_arena(tiny_models.negative(), seconds=0.05)
    assert time.monotonic() - begin < 5


def test_constants_that_would_lie_in_the_arena_are_refused() -> None:
    with pytest.raises(RunError, match="behind the flatbuffer"):
        record_arena(tiny_models.appended())


def test_what_is_no_model_is_refused_before_anything_runs() -> None:
    with pytest.raises(ModelError, match="not a TFLite file"):
        record_arena(b"12345678" * 4)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_arena.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"edgekit\[firmware\]"):
        record_arena(tiny_models.negative())


def test_the_band_halves_pointers_and_keeps_states() -> None:
    kinds = (
        Allocation("TfLiteEvalTensor data", 240, 240, 10),
        Allocation("TfLiteTensor variable buffer data", 112, 100, 1),
        Allocation("Persistent buffer data", 64, 60, 3),
    )
    arena = RecordedArena(2000, 1000, 1000, 2016, kinds, "")
    own = 1000 - 240 - 112 - 64
    assert arena.device_bytes == (1000 + 120 + 100 + 30 + (own - 256) // 2, 2016 - 120)


@needs_package
def test_the_command_shows_plan_and_recording(
    edgekit_cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative((1, 64), operators=3))
    shown = edgekit_cli("memory", "m.tflite", "--record")
    assert "tensors and scratch (head)        512       512" in shown.stdout, shown.stderr
    assert "a 32-bit device" in shown.stdout
    report = json.loads(edgekit_cli("memory", "m.tflite", "--record", "--json").stdout)
    here = report["recorded"]["here"]
    assert here["head_bytes"] == report["plans"][1]["plan"]["arena_bytes"] == 512
    assert report["recorded"]["device_least_bytes"] < here["smallest_bytes"]
    assert json.loads(edgekit_cli("memory", "m.tflite", "--json").stdout)["recorded"] is None
