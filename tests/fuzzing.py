"""The child of test_fuzz.py: judge mutations of a file, as a user would who was sent a damaged or hostile one.

`python fuzzing.py FILE COUNT SEED` prints one JSON line: how many were answered and how many refused. Anything that is
not an EdgekitError ends it with a traceback, a mutation that takes more than ten seconds of CPU time by SIGPROF, one
that asks for too much memory by MemoryError.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from edgekit.errors import EdgekitError
from edgekit.forecast.edgetpu_mends import fixed_sizes
from edgekit.source_check import check_model
from edgekit.split.make import Wish, split_model
from edgekit.surgery.rewrite import rewrite
from edgekit.tflite.batch import batched_twin
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.memory_plan import plan_memory
from edgekit.tflite.memory_savings import savings
from edgekit.tflite.metadata import read_metadata
from edgekit.tflite.surgery import inline_buffers, with_io_type, with_static_batch
from edgekit.tflite.taps import with_inner_outputs

SECONDS, MEMORY = 10, 2 << 30
EXTREMES = (0, 1, -1, 0x7FFFFFFF, -0x80000000, 0x10000, 0xFFFF)


def mutations(data: bytes, count: int, chance: random.Random) -> Iterator[bytes]:
    """Copies with flipped bytes, extreme numbers, moved pieces or a lost end; mostly where the structure is."""
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            _mutate(copy, chance)
        if chance.random() < 0.05:
            del copy[chance.randrange(8, len(copy)) :]
        copy[4:8] = b"TFL3"
        yield bytes(copy)


def _mutate(copy: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(copy)) if chance.random() < 0.3 else _structured(len(copy), chance)
    kind = chance.randrange(4)
    if kind == 0:
        copy[place] ^= 1 << chance.randrange(8)
    elif kind == 1:
        copy[place] = chance.randrange(256)
    elif kind == 2 and place + 4 <= len(copy):
        struct.pack_into("<i", copy, place & ~3, chance.choice(EXTREMES))
    else:
        source = chance.randrange(len(copy))
        copy[place : place + 8] = copy[source : source + len(copy[place : place + 8])]


def _structured(size: int, chance: random.Random) -> int:
    """Within the first or last 16 KiB, where files have their tables."""
    near = chance.randrange(min(size, 16_384))
    return near if chance.random() < 0.5 else size - 1 - near


def judge(data: bytes) -> None:
    """All that is asked of a file that nobody has run."""
    plan_memory(data, "micro")
    edit(data)
    savings(read_contents(data), "litert")
    for target in _TARGETS:
        check_model(data, target)


def edit(data: bytes) -> None:
    """All that reads a file to write another one, without running either."""
    for one in _EDITS:
        with suppress(EdgekitError):
            one(data)


def main(file: str, count: str, seed: str) -> None:
    """Print how it went."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    data, answered, refused = Path(file).read_bytes(), 0, 0
    for copy in mutations(data, int(count), random.Random(int(seed))):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            judge(copy)
            answered += 1
        except EdgekitError:
            refused += 1
    signal.setitimer(signal.ITIMER_PROF, 0)
    sys.stdout.write(json.dumps({"answered": answered, "refused": refused}) + "\n")


_EDITS: tuple[Callable[[bytes], object], ...] = (
    *(read_metadata, batched_twin, inline_buffers, with_static_batch, with_inner_outputs, rewrite, fixed_sizes),
    *(lambda data: with_io_type(data, "float32"), lambda data: split_model(data, Wish(2))),
)
_TARGETS = ("coral-dev-board-micro", "cortex-m55", "raspberry-pi-4", "android-gpu")

if __name__ == "__main__":
    main(*sys.argv[1:])
