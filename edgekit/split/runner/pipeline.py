"""Segments side by side: a thread each, bounded queues between them, samples in their order.

The runtime gives Python's lock back while it computes, so threads use as many cores as there are. A full queue makes
its writer wait, so memory stays bounded. What a thread raises closes all queues, and is raised where samples come out.

    with Pipeline(load(folder), open_runtime("cpu")) as pipeline:
        for outputs in pipeline.stream(samples): ...
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any

from .contract import Edge, Plan, Segment
from .problem import INPUT, REFUSED, Problem
from .runtime import Runtime
from .worker import Unit, Worker

Array = Any
Item = Any  # {tensor: values}, or _END
_END = object()
_CLOSED = object()
_WAIT_SECONDS, _LEAST, _MOST = 0.016, 2, 32


class Closed(Exception):  # noqa: N818 - the end of a thread, not an error
    """The pipeline was closed while a thread waited for a queue."""


class Channel:
    """A queue of at most `slots` items that can be closed from anywhere: then whoever waits is let go."""

    def __init__(self, slots: int) -> None:
        self._full: SimpleQueue[Item] = SimpleQueue()
        self._free: SimpleQueue[Item] = SimpleQueue()
        for _ in range(slots):
            self._free.put(None)

    def put(self, item: Item) -> None:
        """Add an item; waits while the queue is full. Raises Closed."""
        self._taken(self._free)
        self._full.put(item)

    def get(self) -> Item:
        """Take the next item; waits while there is none. Raises Closed."""
        item = self._taken(self._full)
        self._free.put(None)
        return item

    def close(self) -> None:
        """Let everybody go who waits, or will."""
        self._full.put(_CLOSED)
        self._free.put(_CLOSED)

    def _taken(self, queue: SimpleQueue[Item]) -> Item:
        item = queue.get()
        if item is _CLOSED:
            queue.put(_CLOSED)
            raise Closed
        return item


class Pipeline:
    """All segments of a plan, loaded, each in a thread that waits for samples.

    `depth` is how many samples may wait between two neighbours; more of them let a thread work for longer before
    another gets its core, and let a sample wait for longer. None: as many as the slowest segment does in 16 ms, from 2
    to 32. Raises Problem, in the name of the segment, for one that cannot be loaded; leaving the `with` block ends the
    threads.
    """

    def __init__(
        self, plan: Plan, runtime: Runtime, units: Sequence[Unit] = (), threads: int = 1, depth: int | None = None
    ) -> None:
        units = tuple(units) or (Unit(),) * len(plan.segments)
        if len(units) != len(plan.segments):
            mend = f"name {len(plan.segments)}, one for each segment"
            raise Problem(f"{len(units)} units for {len(plan.segments)} segments", mend, INPUT)
        self.plan, self._running = plan, threading.Lock()
        self._error: BaseException | None = None
        slots = (depth or _depth(plan)) + 1
        self._edges = [(edge, Channel(edge.hops * slots)) for edge in plan.edges]
        ready: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads = [
            threading.Thread(
                target=self._work,
                args=(segment, runtime, unit, threads, ready),
                name=segment.title,
                daemon=True,
            )
            for segment, unit in zip(plan.segments, units)
        ]
        for thread in self._threads:
            thread.start()
        failed = [error for error in [ready.get() for _ in self._threads] if error is not None]
        if failed:
            self.close()
            raise failed[0]

    def stream(self, samples: Iterable[Sequence[Array]]) -> Iterator[list[Array]]:
        """The outputs of each sample, in order, as stored. Samples are taken as fast as the pipeline takes them.

        A sample is one array an input, of the plan's shape and type; it must not be changed before its outputs are out.
        Raises Problem, in the name of the segment, where one fails, and whatever `samples` raises.
        """
        if not self._running.acquire(blocking=False):
            raise Problem("the pipeline already has a stream", "use up the one before, or make another", INPUT)
        feeder = threading.Thread(target=self._feed, args=(samples,), name="samples", daemon=True)
        feeder.start()
        ended = False
        try:
            while (outputs := self._collected()) is not None:
                yield outputs
            ended = True
        except Closed:
            raise self._error or Problem("the pipeline was closed", "make another", INPUT) from None
        finally:
            if ended:
                feeder.join()
            else:  # what is still inside would come out of the next stream
                self.close()
            self._running.release()

    def close(self) -> None:
        """End all threads; each finishes the sample that it computes."""
        for _, channel in self._edges:
            channel.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self, segment: Segment, runtime: Runtime, unit: Unit, threads: int, ready: Any) -> None:
        try:
            worker = Worker(runtime, segment, self.plan.file(segment), unit, threads)
        except BaseException as cause:
            ready.put(cause)
            return
        ready.put(None)
        read, written = self._into(segment.index), self._out_of(segment.index)
        try:
            while True:
                given = _merged([channel.get() for _, channel in read])
                _spread(_END if given is _END else worker.run(given), written)
        except Closed:
            return
        except BaseException as cause:
            self._fail(cause, segment.title)

    def _feed(self, samples: Iterable[Sequence[Array]]) -> None:
        written = self._out_of(None)
        try:
            for sample in samples:
                _spread({port.tensor: array for port, array in zip(self.plan.inputs, sample)}, written)
            _spread(_END, written)
        except Closed:
            return
        except BaseException as cause:
            self._fail(cause, "samples")

    def _collected(self) -> list[Array] | None:
        given = _merged([channel.get() for _, channel in self._into(None)])
        return None if given is _END else [given[port.tensor] for port in self.plan.outputs]

    def _fail(self, cause: BaseException, where: str) -> None:
        """The first failure is the one that is told; those that follow from it are not."""
        known = isinstance(cause, Problem) or where == "samples"
        error = cause if known else Problem(f"{where}: {type(cause).__name__}: {cause}", "see above", REFUSED)
        self._error = self._error or error
        for _, channel in self._edges:
            channel.close()

    def _into(self, target: int | None) -> list[tuple[Edge, Channel]]:
        return [one for one in self._edges if one[0].target == target]

    def _out_of(self, source: int | None) -> list[tuple[Edge, Channel]]:
        return [one for one in self._edges if one[0].source == source]


def _depth(plan: Plan) -> int:
    slowest = max(segment.seconds or 0.0 for segment in plan.segments)
    return max(_LEAST, int(min(_MOST, _WAIT_SECONDS / slowest))) if slowest > 0 else _LEAST


def _merged(items: Sequence[Item]) -> Item:
    if len(items) == 1 or items[0] is _END:
        return items[0]
    return {tensor: values for item in items for tensor, values in item.items()}


def _spread(item: Item, written: Sequence[tuple[Edge, Channel]]) -> None:
    for edge, channel in written:
        channel.put(item if item is _END else {tensor: item[tensor] for tensor in edge.tensors})
