"""Training steps of processes that take turns: one trains a block of steps while the others wait.

Counted is the time of the processor, not of the clock: all train on one thread, and other work disturbs it less.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Clock:
    """Called before each step of a training; holds it after each block until the other sides have had their turns."""

    def __init__(self, steps: int) -> None:
        self.block = steps
        self.steps = 0
        self.began = 0.0

    def __call__(self) -> None:
        """Count a step; at the end of a block tell its seconds and the peak of memory, and wait."""
        if self.steps % self.block == 0:
            print("block", time.process_time() - self.began, peak_bytes(), flush=True)
            if sys.stdin.readline() != "go\n":
                sys.exit(0)
            self.began = time.process_time()
        self.steps += 1


def one_thread(tensorflow: Any) -> None:
    """Let TensorFlow compute on one thread."""
    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)


@dataclass(frozen=True)
class Side:
    """What a process has told: processor seconds of each counted block, and its greatest resident memory in bytes."""

    seconds: list[float]
    peak_bytes: int


def alternate(commands: Sequence[Sequence[str | Path]], rounds: int, warm_up: int) -> list[Side]:
    """Run the commands in turns of a block, the order reversed each round, and give what each has told.

    Blocks before the first `warm_up` rounds are over (they have the tracing in them) are not counted.
    """
    sides = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for words in commands]
    found: list[list[tuple[float, int]]] = [[] for _ in sides]
    try:
        for side in sides:
            _block(side)
        for number in range(warm_up + rounds):
            for index in range(len(sides))[:: 1 if number % 2 else -1]:
                found[index].append(_turn(sides[index]))
    finally:
        for side in sides:
            side.kill()
            side.wait()
    return [Side([seconds for seconds, _ in blocks[warm_up:]], blocks[-1][1]) for blocks in found]


def _turn(side: subprocess.Popen[str]) -> tuple[float, int]:
    assert side.stdin is not None
    side.stdin.write("go\n")
    side.stdin.flush()
    return _block(side)


def _block(side: subprocess.Popen[str]) -> tuple[float, int]:
    """Seconds of the block that has just ended, and the peak until then; other lines are talk of the libraries."""
    assert side.stdout is not None
    for line in side.stdout:
        if line.startswith("block "):
            _, seconds, peak = line.split()
            return float(seconds), int(peak)
    raise RuntimeError(f"{side.args!r} ended with {side.wait()}")


def peak_bytes() -> int:
    """VmHWM of this process (proc(5))."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
