"""The process in which `recorded_arena` runs a file: TFLite Micro ends its process where a check of its own fails.

Each try is a fork, so that whatever happens there is only its status and its last words. `python -m
edgekit.tflite.arena_child JOB` reads a JSON job and writes a JSON answer on standard output.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

ALIGNMENT = 16
_LAST_BYTES = 20_000
_ROOMIER = 16


def main() -> None:
    """Do the job that the file in the first argument describes."""
    job = json.loads(Path(sys.argv[1]).read_text())
    resource.setrlimit(resource.RLIMIT_AS, (job["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (job["seconds"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    load()
    data = Path(job["model"]).read_bytes()
    size = job["arena_bytes"]
    answer = recorded(data, job["guess_bytes"]) if size is None else attempt(data, size)
    sys.stdout.write(json.dumps(answer))


def load() -> None:
    """Import the interpreter once, and not in each fork."""
    import tflite_micro.python.tflite_micro.runtime  # noqa: F401


def recorded(data: bytes, guess: int) -> dict[str, Any]:
    """What an arena with room to spare records, and the smallest one that works; or the last words of a failure."""
    for size in (guess, guess * _ROOMIER):
        answer = attempt(data, size)
        if answer["worked"]:
            return {**answer, "smallest_bytes": smallest(data, total_of(answer["words"]), size)}
    return answer


def total_of(words: str) -> int:
    """Bytes after `Arena allocation total` in what the interpreter prints."""
    return int(words.partition("Arena allocation total ")[2].split()[0])


def smallest(data: bytes, total: int, roomy: int) -> int:
    """Bytes of the smallest arena that works, a multiple of 16: looked for from the recorded total, by bisection."""
    low, high = bracket(data, total // ALIGNMENT, roomy // ALIGNMENT)
    while high - low > 1:
        middle = (low + high) // 2
        if attempt(data, middle * ALIGNMENT)["worked"]:
            high = middle
        else:
            low = middle
    return high * ALIGNMENT


def bracket(data: bytes, near: int, roomy: int) -> tuple[int, int]:
    """(too small, works) in units of 16 bytes, in doubling steps away from a likely size."""
    step = 1
    if attempt(data, near * ALIGNMENT)["worked"]:
        while near - step > 0 and attempt(data, (near - step) * ALIGNMENT)["worked"]:
            near, step = near - step, step * 2
        return max(near - step, 0), near
    while near + step < roomy and not attempt(data, (near + step) * ALIGNMENT)["worked"]:
        near, step = near + step, step * 2
    return near, min(near + step, roomy)


def attempt(data: bytes, arena_bytes: int) -> dict[str, Any]:
    """Whether the file runs in such an arena, with the words of the interpreter, in a fork."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _run_and_leave(data, arena_bytes, writing)
    os.close(writing)
    words = b""
    while chunk := os.read(reading, 65536):
        words = (words + chunk)[-_LAST_BYTES:]
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"worked": status == 0, "status": status, "words": words.decode("utf-8", "replace")}


def _run_and_leave(data: bytes, arena_bytes: int, writing: int) -> None:
    """One inference on zeros; what is printed goes to the pipe. Does not return."""
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    try:
        run(data, arena_bytes)
    except BaseException as fault:  # any end of a fork is an answer
        os.write(2, f"{type(fault).__name__}: {fault}\n".encode())
        os._exit(1)
    os._exit(0)


def run(data: bytes, arena_bytes: int) -> None:
    """One inference on zeros in the interpreter, which then prints what it recorded."""
    import numpy as np
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(data, [], arena_bytes)
    for index in range(_inputs(data)):
        details = interpreter.get_input_details(index)
        interpreter.set_input(np.zeros(details["shape"], details["dtype"]), index)
    interpreter.invoke()
    interpreter.print_allocations()


def _inputs(data: bytes) -> int:
    from tflite.Model import Model

    return int(Model.GetRootAs(data, 0).Subgraphs(0).InputsLength())


if __name__ == "__main__":
    main()
