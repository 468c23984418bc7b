"""A device that runs something else than it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fake_device import FakeDevice

from edgekit.device.protocol import Completed
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.surgery import pack, unpack

AGENT = Path(__file__).parent.parent / "benchmarks" / "agent" / "agent.py"


def crooked(change: Callable[[bytes], bytes | None]) -> FakeDevice:
    """A device that really runs what it is given, with something changed in the file; it crashes where that is None."""

    def script(request: dict[str, Any]) -> Completed | bytes:
        model = Path(request["model"])
        if (file := change(model.read_bytes())) is None:
            return Completed(-11, "", "")
        changed = model.with_name("changed.tflite")
        changed.write_bytes(file)
        place = Path(request["response"])
        asked = place.with_name("asked.json")
        asked.write_text(json.dumps({**request, "model": str(changed)}))
        subprocess.run([sys.executable, str(AGENT), str(asked)], check=True, env={**os.environ})
        return place.read_bytes()

    return FakeDevice(script, "crooked")


def with_another_kernel(model: bytes, number: int = 2) -> bytes:
    """The same file with a kernel that is read backwards: that of an operator by its place."""
    tree, operator = unpack(model), read_contents(model).operators[number]
    buffer = tree.buffers[tree.subgraphs[0].tensors[operator.inputs[1]].buffer]
    buffer.data = np.asarray(buffer.data)[::-1].copy()
    return pack(tree)


def kernels(model: bytes) -> list[int]:
    return [op.index for op in read_contents(model).operators if op.weight_bytes and op.macs]
