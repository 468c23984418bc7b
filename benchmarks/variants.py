"""One `optimize` call, timed by the kinds of its stages: `variants.py MODEL DATA RECIPE...` prints JSON.

The clock starts when TensorFlow and litert-quantizer are imported, so that importing them does not hide the work.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import edgekit
from edgekit.tf import import_keras

MAKING, JUDGING = {"load", "convert", "calibrate", "quantize"}, {"run", "verify"}


def main(model: str, data: str, *recipes: str) -> None:
    """Print the seconds of all, and of making the files without judging them."""
    import_keras()
    __import__("litert_quantizer.quantizer")
    with tempfile.TemporaryDirectory() as folder:
        log = [(time.perf_counter(), "load")]
        edgekit.optimize(
            model,
            data=data,
            out=Path(folder, "out"),
            recipes=recipes,
            benchmark=False,
            say=lambda title: log.append((time.perf_counter(), title.split()[0])),
        )
        log.append((time.perf_counter(), "end"))
    spent = [(kind, after - before) for (before, kind), (after, _) in pairwise(log)]
    unknown = {kind for kind, _ in spent} - MAKING - JUDGING
    if unknown:
        sys.exit(f"stages that are neither making nor judging: {unknown}")
    making = sum(seconds for kind, seconds in spent if kind in MAKING)
    print(json.dumps({"making": making, "all": log[-1][0] - log[0][0]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
