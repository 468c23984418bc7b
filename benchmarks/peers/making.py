"""What each tool of `bench_peers.py` does in a process of its own: it makes a file of a trained network, on the clock.

The tool's packages are imported before the clock starts. Opening the model and the arrays is in the time.
"""

from __future__ import annotations

import json
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from job import Making
from turns import peak_bytes

REFUSED = 2
_PLACE = re.compile(r"loc\(.*\): |<unknown>:0: ")


@dataclass(frozen=True)
class File:
    """A TFLite file; `judging_seconds` are those of the time that went into judging it."""

    content: bytes
    judging_seconds: float = 0.0


Maker = Callable[[Making], File]


def answer(makers: Mapping[tuple[str, str], Maker]) -> int:
    """Make the file that the job on the command line asks for; REFUSED and a line that says why if the tool raises."""
    job = Making.told()
    make = makers[job.tool, job.technique]
    began = time.perf_counter()
    try:
        file = make(job)
    except Exception as refusal:  # a tool raises anything for what it does not know
        traceback.print_exc()
        print(reason(refusal))
        return REFUSED
    seconds = time.perf_counter() - began
    Path(job.out).write_bytes(file.content)
    found = {"seconds": seconds, "judging_seconds": file.judging_seconds, "peak_bytes": peak_bytes()}
    print("result", json.dumps(found), flush=True)
    return 0


def reason(refusal: Exception) -> str:
    """The first line of what was raised, without the places in a graph that the converter names."""
    lines = [line.strip() for line in str(refusal).splitlines() if line.strip()] or ["it said nothing"]
    return f"{type(refusal).__name__}: {_PLACE.sub('', lines[0])[:200]}"


def run(makers: Mapping[tuple[str, str], Maker]) -> None:
    """End the process with the answer."""
    sys.exit(answer(makers))
