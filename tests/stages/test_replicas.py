"""Replicas: two processes with half of each batch train what one does with the whole; none is left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.stages.replicas import Replicas, replicas

CHILD = """
import json, os, sys
from pathlib import Path
import numpy as np
from edgekit.stages.replicas import replicas
who = replicas()
from edgekit.dataset import load_dataset, match
from edgekit.errors import EdgekitError
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Callback, Training
from edgekit.tf import import_keras

keras, job = import_keras(), json.loads(sys.argv[1])
x = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")
y = np.argmax(x[:, :3], axis=1)
folder = Path(job["folder"])
folder.mkdir(parents=True, exist_ok=True)
rest = {"x_validation": x[64:], "y_validation": y[64:], "x_test": x[64:], "y_test": y[64:]}
np.savez(folder / "d.npz", x_train=x[:64], y_train=y[:64], x_calibration=x[64:], **rest)

class Dies(Callback):
    def before_step(self, step):
        if job.get("dies") == who.index and step == 10:
            os.kill(os.getpid(), 9)

for name in ("plain", "norm"):
    keras.utils.set_random_seed(0)
    norm = [keras.layers.BatchNormalization(momentum=0.5)] if name == "norm" else []
    head = [keras.layers.ReLU(), keras.layers.Dense(3), keras.layers.Softmax()]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), *norm, *head])
    data = match(load_dataset(folder / "d.npz"), model.inputs, model.outputs)
    settings = Training(epochs=3, batch_size=16, learning_rate=0.01, patience=0)
    callbacks = [Dies()] if name == "norm" else []
    say = lambda text: print(text, file=sys.stderr)
    try:
        done = fine_tune(model, data, settings, callbacks=callbacks, checkpoint=folder / f"{name}.checkpoint", say=say)
    except EdgekitError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    np.savez(folder / f"{name}.npz", *[v.numpy() for v in done.model.variables if v.dtype == "float32"])
"""


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("localhost", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def _train(folder: Path, workers: int, **job: int) -> list[tuple[int, str]]:
    """How each of the workers ended, and what it said; its weights are in a folder of its number."""
    ports, started = _free_ports(workers), []
    for index in range(workers):
        cluster = {"cluster": {"worker": [f"localhost:{port}" for port in ports]}}
        config = json.dumps({**cluster, "task": {"type": "worker", "index": index}})
        words = [sys.executable, "-c", CHILD, json.dumps({"folder": str(folder / str(index)), **job})]
        environment = {**os.environ, "TF_CONFIG": config}
        started.append(
            subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
    try:
        said = [one.communicate(timeout=300)[1] for one in started]
    finally:
        for one in started:
            one.kill()
    return [(one.returncode, text) for one, text in zip(started, said, strict=True)]


def _weights(file: Path) -> list[Any]:
    with np.load(file) as found:
        return [found[name] for name in found.files]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two workers made."""
    folder = tmp_path_factory.mktemp("two")
    assert [code for code, _ in _train(folder, 2)] == [0, 0]
    return folder


def test_two_workers_train_what_one_does_with_the_whole_batch(tmp_path: Path, two: Path) -> None:
    assert _train(tmp_path, 1)[0][0] == 0
    found = zip(*(_weights(folder / "plain.npz") for folder in (tmp_path / "0", two / "0", two / "1")), strict=True)
    for alone, first, second in found:
        assert np.array_equal(first, second)
        np.testing.assert_allclose(first, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_after_a_kill_all_go_on_together(tmp_path: Path, two: Path) -> None:
    (left, said), (killed, _) = _train(tmp_path, 2, dies=1)
    assert (left, killed) == (1, -9)
    assert "RunError: training: another worker of TF_CONFIG has ended" in said
    (tmp_path / "1" / "norm.checkpoint").unlink()  # the second worker has lost its place: the first tells it
    again = _train(tmp_path, 2)
    assert [code for code, _ in again] == [0, 0]
    assert "goes on after epoch 2 of 3" in again[0][1]
    wanted = _weights(two / "0" / "norm.npz")  # statistics of normalization are among them
    for folder in (two / "1", tmp_path / "0", tmp_path / "1"):
        for one, other in zip(wanted, _weights(folder / "norm.npz"), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-7)


def test_unlike_trainings_are_refused() -> None:
    class Other(Replicas):
        def mean_of(self, arrays: Sequence[Any]) -> list[Any]:
            return [np.ones_like(array) for array in arrays]  # what others have is something else

    with pytest.raises(InputError, match="the workers of TF_CONFIG train unlike things"):
        Other(2).refuse("training", 16, "key")


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(InputError, match=r"a batch of 15 samples cannot be shared by 2 workers"):
        Replicas(2).refuse("training", 15, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"cluster": {"ps": ["a:1"], "worker": ["a:1", "a:2"]}}', "tasks of kind 'ps'"),
        ('{"cluster": {"worker": ["a:1", "a:2"]}, "task": {"type": "worker", "index": 2}}', "has no such one"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=problem):
        replicas.__wrapped__()


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {"worker": ["a:1"]}}'])
def test_alone(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    who = replicas.__wrapped__()
    rows = np.arange(3)
    assert (who.count, list(who.share(rows)), who.mean([rows])[0] is rows) == (1, [0, 1, 2], True)
