"""The service on the Pi: acceleration in g, float32, on standard input; a line when the machine changes its state.

It stands beside spectrum.py, and runs in the environment of the package, which needs no edgekit:

    read-accelerometer | /opt/bearing/bin/python3 watch.py
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from bearing.api import OpenModel, open_model
from bearing.problem import Problem
from spectrum import RATE, WINDOW, Array, bands


def windows(stream: BinaryIO) -> Iterator[Array]:
    """One after the other, `[1, 4096]`; what is left at the end is no window."""
    while len(read := stream.read(4 * WINDOW)) == 4 * WINDOW:
        yield np.frombuffer(read, "<f4")[None]


def error(model: OpenModel, window: Array) -> float:
    """How badly the network says it again: mean square over the bands."""
    x = bands(window)
    return float(np.mean((model(x)[0] - x) ** 2))


def main() -> None:
    """Alarm after `patience` windows in a row above the threshold, and the end of it after as many below."""
    model = open_model()
    limit, patience = model.constants["alarm"], int(model.constants["patience"])
    alarmed, against = False, 0
    for count, window in enumerate(windows(sys.stdin.buffer), 1):
        found = error(model, window)
        against = against + 1 if (found > limit) != alarmed else 0
        if against == patience:
            alarmed, against = not alarmed, 0
            state = "ALARM" if alarmed else "quiet"
            print(f"{count * WINDOW / RATE:.1f} s: {state}: error {found:.4f}, threshold {limit:.4f}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once; runtimes swallow what Python makes of it
    try:
        main()
    except Problem as problem:
        sys.exit(f"watch: {problem}")
