"""The one judge of `bench_peers.py`: accuracy, bytes and latency of files, whoever made them; clocks and arenas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from overhead import one_round, printed
from peers_results import Arena, Clocks, Judged, Made, Row
from watched import Load

from edgekit.dataset import Dataset
from edgekit.device.local import LocalDevice
from edgekit.errors import EdgekitError
from edgekit.forecast.vela import compile_for_ethos_u
from edgekit.speed.race import race
from edgekit.tflite.inspect import deflated_bytes, read_contents
from edgekit.tflite.memory_plan import plan_memory
from edgekit.tflite.recorded_arena import record_arena
from edgekit.verify import run_file

ROUNDS, SECONDS = 5, 0.3


def judged(files: Mapping[Row, Path], data: Dataset) -> tuple[list[Row], float]:
    """The rows with what the judge says of their files, and the share of the cores that other work had meanwhile.

    A file that does not run is a failure of its tool.
    """
    load, contents = Load(), {row: path.read_bytes() for row, path in files.items()}
    rows = [_answered(row, content, data) for row, content in contents.items()]
    running = [(row, contents[one]) for one, row in zip(contents, rows, strict=True) if row.judged]
    times = race({str(place): content for place, (_, content) in enumerate(running)}) if running else None
    done = {
        row.key: replace(row, judged=replace(row.judged, latency=times.seconds[str(place)]))
        for place, (row, _) in enumerate(running)
        if times and row.judged
    }
    return [done.get(row.key, row) for row in rows], load.others()


def _answered(row: Row, content: bytes, data: Dataset) -> Row:
    part = data.part("test")
    assert part.labels is not None
    try:
        outputs = run_file(content, part).arrays[0]
    except EdgekitError as cause:
        return replace(row, made=Made(failure=f"its file does not run: {cause}", others=row.made.others))
    right = np.packbits(outputs.argmax(1) == part.labels[0]).tobytes()
    return replace(row, judged=Judged(right, len(part), len(content), deflated_bytes(content), ()))


def clocks(subject: str, path: Path) -> Clocks:
    """A file under three clocks, in processes that take turns; without LiteRT's tool where that fails."""
    load = Load()
    with LocalDevice() as device:
        bare_ns = printed(device, "bare_loop.py", path, SECONDS)["median_ns"]
        runs: int | None = max(10, round(SECONDS * 1e9 / bare_ns))
        try:
            printed(device, "litert_tool.py", path, 3, 1)
        except RuntimeError:
            runs = None
        rounds = [one_round(device, path, runs, SECONDS, number) for number in range(ROUNDS)]
    return Clocks(
        subject,
        tuple(one.bare["median_ns"] * 1e-9 for one in rounds),
        tuple(one.agent_ns * 1e-9 for one in rounds),
        tuple(one.tool["median_ns"] * 1e-9 for one in rounds if one.tool),
        load.others(),
    )


def arenas(row: Row, path: Path) -> Arena:
    """Memory and work of a file by edgekit's plan, by TensorFlow Lite Micro and by vela."""
    contents = read_contents(path)
    plan = plan_memory(contents, "micro")
    found = Arena(row.subject, row.technique, row.tool, plan.arena_bytes, contents.macs)
    try:
        recorded = record_arena(path)
        found = replace(found, head_bytes=recorded.head_bytes, smallest_bytes=recorded.smallest_bytes)
    except EdgekitError as cause:
        found = replace(found, micro_failure=str(cause))
    try:
        made, _ = compile_for_ethos_u(path)
    except EdgekitError as cause:
        return replace(found, vela_failure=str(cause))
    return replace(found, vela_sram_bytes=made.sram_bytes, vela_macs=made.macs, vela_cycles=made.estimated_cycles)
