"""Damaged and hostile files: mutations of real ones are answered or refused, in bounded time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("EDGEKIT_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")) / "models"
CHILD = Path(__file__).with_name("fuzzing.py")
FILES = (
    "tflm/micro_speech_quantized.tflite",
    "microwakeword/okay_nabu.tflite",
    "mlperf_tiny_ic/pretrainedResnet_quant.tflite",
    "coral_pairs/posenet_mobilenet_v1_075_353_481_quant_decoder.tflite",
    "fer/emotion_model_quantized.tflite",
)

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared models at {SHARED}")


def _judged(file: str, count: int, seed: int) -> dict[str, int]:
    words = [sys.executable, str(CHILD), str(SHARED / file), str(count), str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr[-3000:]}"
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("file", FILES[:2], ids=lambda file: Path(file).stem)
def test_mutated_files_are_answered_or_refused(file: str) -> None:
    found = _judged(file, 20, seed=3)
    assert found["answered"] > 0
    assert found["refused"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: Path(file).stem)
def test_two_thousand_mutations_of_each_file(file: str) -> None:
    assert sum(_judged(file, 2_000, seed=4).values()) == 2_000
