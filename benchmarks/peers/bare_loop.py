"""The least program that measures a model: `python bare_loop.py MODEL SECONDS`; prints its median and its memory.

Interpreter, one thread, XNNPACK as it comes, random inputs, a warm-up of a quarter of the time, a loop in a function.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def resident_bytes():
    """VmRSS of this process (proc(5))."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def random_input(detail):
    """Random bytes, for floats as numbers in [-1, 1); `numpy.random` would take 6.6 MiB."""
    dtype = np.dtype(detail["dtype"])
    values = np.frombuffer(os.urandom(int(np.prod(detail["shape"]))), np.uint8).reshape(detail["shape"])
    return values.view(dtype) if dtype.kind in "iu" else (values / 128 - 1).astype(dtype)


def loop(invoke, seconds):
    """Times of single runs in ns."""
    clock, times = time.perf_counter_ns, []
    end = clock() + seconds * 1e9
    while True:
        start = clock()
        invoke()
        stop = clock()
        times.append(stop - start)
        if stop >= end:
            return times


def opened(path):
    """An interpreter with its inputs filled."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], random_input(detail))
    return interpreter


def main():
    """Measure, and print one line of JSON."""
    path, seconds = sys.argv[1], float(sys.argv[2])
    __import__("ai_edge_litert.interpreter")
    imported = resident_bytes()
    interpreter = opened(path)
    interpreter.invoke()
    first = resident_bytes()
    loop(interpreter.invoke, seconds / 4)
    times = loop(interpreter.invoke, seconds)
    print(json.dumps({"median_ns": float(np.median(times)), "imported_bytes": imported, "first_bytes": first}))


if __name__ == "__main__":
    main()
