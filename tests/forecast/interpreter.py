"""Ask TFLite Micro about many files: one process that imports it, one fork for each file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_CODE = """
import json, sys
from pathlib import Path
from edgekit.tflite.arena_child import attempt, load
load()
answers = [attempt(path.read_bytes(), 1 << 24) for path in sorted(Path(sys.argv[1]).iterdir())]
print(json.dumps([answer["words"] or "died" if not answer["worked"] else "" for answer in answers]))
"""


def refusals(files: Sequence[bytes], folder: Path) -> list[str]:
    """Empty for each file that the interpreter allocates and runs on zeros, else what it said."""
    for index, data in enumerate(files):
        (folder / f"{index:05d}.tflite").write_bytes(data)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, folder], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[str] = json.loads(done.stdout)
    return answers
