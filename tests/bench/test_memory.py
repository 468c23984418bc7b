"""What the agent itself adds to the memory of a process with the runtime: hardly anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

from edgekit.bench.plan import plan_for
from edgekit.bench.run import measure

BARE = """
import json, re
def resident():
    return 1024 * int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
import numpy
start = resident()
import ai_edge_litert.interpreter
print(json.dumps([start, resident()]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_the_agent_starts_in_little_more_memory_than_the_runtime_alone() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    start, imported = json.loads(done.stdout)
    points = measure(tiny_models.negative(), plan_for(runs=2)).memory
    assert points.start.resident_bytes is not None
    assert points.imported.resident_bytes is not None
    assert points.start.resident_bytes - start < 2 * 2**20
    assert points.imported.resident_bytes - imported < 2 * 2**20
