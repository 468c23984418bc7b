"""Models of tf_keras for the second engine, made by that package in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.tfmot import process

HERE = Path(__file__).parent
INSTALLED = all(importlib.util.find_spec(name) for name in ("tf_keras", "tensorflow_model_optimization"))


@pytest.fixture(scope="session")
def legacy(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Folder of what `legacy_models.py` writes, and data.npz with two classes that a small network tells apart."""
    if not INSTALLED:
        pytest.skip("tensorflow-model-optimization is not installed: pip install 'edgekit[tfmot]'")

    def make(folder: Path) -> None:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, 400)
        images = rng.normal(0, 0.3, (400, 8, 8, 2)) + (labels[:, None, None, None] - 1) * np.linspace(0, 1, 8)[:, None]
        np.savez(
            folder / "data.npz",
            x_train=images[:320].astype(np.float32),
            y_train=labels[:320],
            x_test=images[320:].astype(np.float32),
            y_test=labels[320:],
        )
        words = [sys.executable, str(HERE / "legacy_models.py"), str(folder)]
        environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr

    return once("legacy_models", make)


@pytest.fixture(scope="module")
def one_process() -> Iterator[None]:
    """One child process for all jobs of a module."""
    with process.shared():
        yield
