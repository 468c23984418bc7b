"""The whole model and the pipeline in turns, by the clock on the wall, on the same samples."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from .contract import Plan, Segment
from .pipeline import Pipeline
from .problem import Problem
from .runtime import Runtime
from .samples import each
from .worker import Unit, Worker

Array = Any
_TURN_SECONDS, _LEAST_TURNS = 0.25, 5
_UNSEEN, _FEWEST = 3, 10


def measure(
    plan: Plan,
    runtime: Runtime,
    whole: Path,
    arrays: Sequence[Array],
    units: Sequence[Unit],
    threads: int,
    depth: int | None,
    cores: int,
    seconds: float,
) -> dict[str, Any]:
    """Seconds a sample of each turn (of the clock, and of the processor in all threads), and of single samples.

    Subjects are the whole on one thread, the whole on as many as the segments have (or there are cores), and the
    pipeline. In a stream the next sample is there as soon as one is taken; a single one has the pipeline to itself.
    """
    everything = Segment(0, whole.name, "", plan.inputs, plan.outputs)
    total = max(1, min(len(plan.segments) * threads, cores))
    ctrl_c = CtrlC()
    wholes = {
        f"whole, {count} thread{'s' if count > 1 else ''}": Worker(runtime, everything, whole, Unit(), count)
        for count in sorted({1, total})
    }
    with Pipeline(plan, runtime, units, threads, depth) as pipeline, ctrl_c:
        subjects: dict[str, Callable[[int], None]] = {
            **{name: _in_turn(worker, plan, arrays, ctrl_c) for name, worker in wholes.items()},
            "pipeline": lambda count: _through(pipeline, arrays, count),
        }
        found = _turns(subjects, seconds)
    return {"runtime": str(runtime), "cores": cores, "rows": [dict(one, name=name) for name, one in found.items()]}


def _turns(subjects: dict[str, Callable[[int], None]], seconds: float) -> dict[str, dict[str, list[float]]]:
    """In each turn every subject runs a stream, then a few samples one by one."""
    turn = min(_TURN_SECONDS, seconds / _LEAST_TURNS / len(subjects))
    counts = {name: _count(work, turn) for name, work in subjects.items()}
    found: dict[str, dict[str, list[float]]] = {
        name: {"stream": [], "processor": [], "single": []} for name in subjects
    }
    began, turns = time.perf_counter(), 0
    while turns < _LEAST_TURNS or time.perf_counter() - began < seconds:
        for name, work in subjects.items():
            work(_UNSEEN)
            worked = time.process_time()
            found[name]["stream"].append(_timed(work, counts[name]) / counts[name])
            found[name]["processor"].append((time.process_time() - worked) / counts[name])
            found[name]["single"] += [_timed(work, 1) for _ in range(_UNSEEN)]
        turns += 1
    return found


def _count(work: Callable[[int], None], seconds: float) -> int:
    """How many samples fill a turn, by the second of two trials: the first loads what is loaded late."""
    trials = [_timed(work, _FEWEST) / _FEWEST for _ in range(2)]
    return max(_FEWEST, round(seconds / max(trials[-1], 1e-9)))


def _timed(work: Callable[[int], None], count: int) -> float:
    began = time.perf_counter()
    work(count)
    return time.perf_counter() - began


def _in_turn(worker: Worker, plan: Plan, arrays: Sequence[Array], ctrl_c: CtrlC) -> Callable[[int], None]:
    def work(count: int) -> None:
        for sample in islice(_endless(arrays), count):
            try:
                worker.run({port.tensor: array for port, array in zip(plan.inputs, sample)})
            except Problem:
                ctrl_c.check()
                raise
            ctrl_c.check()

    return work


class CtrlC:
    """Remembers a Ctrl-C of the main thread: runtimes swallow the exception, or make one of their own of it."""

    def __init__(self) -> None:
        self.came = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if it came."""
        if self.came:
            raise KeyboardInterrupt

    def __enter__(self) -> CtrlC:
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _hear(self, *_: object) -> None:
        self.came = True
        raise KeyboardInterrupt


def _through(pipeline: Pipeline, arrays: Sequence[Array], count: int) -> None:
    for _ in pipeline.stream(islice(_endless(arrays), count)):
        pass


def _endless(arrays: Sequence[Array]) -> Any:
    while True:
        yield from each(arrays)
