"""edgekit's side of `bench_peers.py`: one `optimize` call, which also judges what it makes."""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from job import Making
from making import File, run

import edgekit
from edgekit.talk import Line
from edgekit.tf import import_keras

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from variants import JUDGING

TECHNIQUES = ("float32", "dynamic-int8", "int8", "qat", "zeros", "values", "student")

import_keras()
__import__("litert_quantizer.quantizer")


def by_optimize(job: Making) -> File:
    """The file of a recipe for this host, and how long its judging took."""
    log = [(time.perf_counter(), "load")]

    def say(title: str) -> None:
        if not isinstance(title, Line):
            log.append((time.perf_counter(), title.split()[0]))

    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        out = Path(folder, "out")
        edgekit.optimize(job.model, data=job.data, out=out, recipes=[job.recipe], benchmark=False, say=say)
        (file,) = out.glob("host/*/*.tflite")
        content = file.read_bytes()
    log.append((time.perf_counter(), "end"))
    return File(content, sum(after - before for (before, kind), (after, _) in pairwise(log) if kind in JUDGING))


if __name__ == "__main__":
    run({("edgekit", technique): by_optimize for technique in TECHNIQUES})
