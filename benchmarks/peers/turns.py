"""Training steps of two processes that take turns: one trains a block of steps while the other waits.

Counted is the time of the processor, not of the clock: both train on one thread, and other work disturbs it less.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

STEPS = 20


class Clock:
    """Called before each step of a training; holds it after each block until the other side has had its turn."""

    def __init__(self) -> None:
        self.steps = 0
        self.began = 0.0

    def __call__(self) -> None:
        """Count a step; at the end of a block tell its seconds, and wait for the word to go on."""
        if self.steps % STEPS == 0:
            print("block", time.process_time() - self.began, flush=True)
            if sys.stdin.readline() != "go\n":
                sys.exit(0)
            self.began = time.process_time()
        self.steps += 1


def alternate(commands: Sequence[Sequence[str | Path]], rounds: int, warm_up: int) -> list[list[float]]:
    """Seconds of each block `[commands][rounds]`, the order of the turns reversed each round.

    Blocks before the first `warm_up` rounds are over (they have the tracing in them) are not counted.
    """
    sides = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for words in commands]
    found: list[list[float]] = [[] for _ in sides]
    try:
        for side in sides:
            _block(side)
        for number in range(warm_up + rounds):
            for index in range(len(sides))[:: 1 if number % 2 else -1]:
                seconds = _turn(sides[index])
                if number >= warm_up:
                    found[index].append(seconds)
    finally:
        for side in sides:
            side.kill()
            side.wait()
    return found


def _turn(side: subprocess.Popen[str]) -> float:
    assert side.stdin is not None
    side.stdin.write("go\n")
    side.stdin.flush()
    return _block(side)


def _block(side: subprocess.Popen[str]) -> float:
    """Seconds of the block that has just ended; other lines are talk of the libraries."""
    assert side.stdout is not None
    for line in side.stdout:
        if line.startswith("block "):
            return float(line.split()[1])
    raise RuntimeError(f"{side.args!r} ended with {side.wait()}")
