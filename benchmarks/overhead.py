"""What measuring with the agent costs: `python benchmarks/overhead.py`, with EDGEKIT_SHARED_DATA naming the models.

The agent's median against that of a bare loop, and against that of LiteRT's own benchmark tool, each in processes that
take turns; the two loops on one interpreter; and memory. Writes results/overhead.md. Exit code 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from edgekit.bench.plan import plan_for
from edgekit.bench.result import Measurement
from edgekit.bench.run import measure
from edgekit.bench.statistics import Interval, median_interval
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Device
from edgekit.report.table import render_table
from edgekit.units import format_seconds
from edgekit.versions import versions

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
MODELS = {
    "ResNet-8 int8": "mlperf_tiny_ic/pretrainedResnet_quant.tflite",
    "ResNet-8 float32": "mlperf_tiny_ic/pretrainedResnet.tflite",
    "emotions, 8-bit weights": "fer/emotion_model_quantized.tflite",
    "MobileNet 0.5 160 uint8": "coral_pairs/mobilenet_v1_0.5_160_quant.tflite",
    "basic-pitch float32": "basic_pitch/nmp.tflite",
}
MOST_RATIO, MOST_BYTES = 1.02, 2 * 2**20


class Row(Struct, frozen=True):
    """One model: seconds of the bare loop, ratios of the agent to its peers, and bytes above the bare process."""

    model: str
    bare_seconds: float
    loop: Interval
    bare: Interval
    tool: Interval | None
    imported_bytes: Interval
    first_bytes: Interval

    @property
    def holds(self) -> bool:
        """Whether the medians keep the bounds."""
        ratios = [one.value for one in (self.loop, self.bare, self.tool) if one is not None]
        added = (self.imported_bytes.value, self.first_bytes.value)
        return max(ratios) <= MOST_RATIO and max(added) <= MOST_BYTES


def printed(device: Device, script: str, *words: object) -> dict[str, float]:
    """The JSON that a script of peers/ prints last, run as the device runs the agent.

    Raises RuntimeError with its last words if it fails.
    """
    done = device.run([device.python, str(PEERS / script), *map(str, words)])
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "rror" in line] or ["it said nothing"]
        raise RuntimeError(said[-1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


class Round(Struct, frozen=True):
    """One process of each side."""

    agent: Measurement
    bare: dict[str, float]
    tool: dict[str, float] | None

    @property
    def agent_ns(self) -> float:
        """The agent's median."""
        return float(np.median(self.agent.steady_ns))


def one_round(device: Device, path: Path, runs: int | None, seconds: float, number: int) -> Round:
    """A process of each side, in an order that is turned round each time; `runs` None leaves the tool out."""
    found: dict[str, dict[str, float]] = {}
    for side in ("bare", "agent", "tool")[:: 1 if number % 2 else -1]:
        if side == "agent":
            agent = measure(path, plan_for(seconds=seconds), device)
        elif side == "bare":
            found["bare"] = printed(device, "bare_loop.py", path, seconds)
        elif runs is not None:
            found["tool"] = printed(device, "litert_tool.py", path, runs, max(5, runs // 4))
    return Round(agent, found["bare"], found.get("tool"))


def row(device: Device, name: str, path: Path, rounds: int, seconds: float) -> Row:
    """Everything about one model."""
    bare_ns = printed(device, "bare_loop.py", path, seconds / 4)["median_ns"]
    runs: int | None = max(10, round(seconds * 1e9 / bare_ns))
    try:
        printed(device, "litert_tool.py", path, 3, 1)
    except RuntimeError as cause:
        print(f"{name}: the tool fails: {cause}", file=sys.stderr)
        runs = None
    taken = [one_round(device, path, runs, seconds, number) for number in range(rounds)]
    turns = printed(device, "loop_turns.py", path, 30, max(0.05, 4e-9 * bare_ns))["ratios"]
    points = [one.agent.memory for one in taken]
    pairs = list(zip(points, taken, strict=True))
    return Row(
        name,
        float(np.median([one.bare["median_ns"] for one in taken])) * 1e-9,
        median_interval(turns),  # type: ignore[arg-type]
        median_interval([one.agent_ns / one.bare["median_ns"] for one in taken]),
        median_interval([one.agent_ns / one.tool["median_ns"] for one in taken if one.tool]) if runs else None,
        median_interval([(at.imported.resident_bytes or 0) - one.bare["imported_bytes"] for at, one in pairs]),
        median_interval([(at.first.resident_bytes or 0) - one.bare["first_bytes"] for at, one in pairs]),
    )


def report(rows: Sequence[Row], rounds: int) -> str:
    """The page."""
    header = ("model", "bare", "loops in turns", "agent / bare", "agent / tool", "+MiB imported", "+MiB first", "holds")
    cells = [
        (
            one.model,
            format_seconds(one.bare_seconds),
            _ratio(one.loop),
            _ratio(one.bare),
            "the tool fails" if one.tool is None else _ratio(one.tool),
            f"{one.imported_bytes.value / 2**20:.2f}",
            f"{one.first_bytes.value / 2**20:.2f}",
            "yes" if one.holds else "NO",
        )
        for one in rows
    ]
    runtime = versions()["ai-edge-litert"]
    return "\n".join(
        [
            "# What the agent costs",
            "",
            f"x86-64, 2 cores, ai-edge-litert {runtime}, one thread. Medians of {rounds} rounds, in brackets their",
            "distribution-free 95 % interval; `loops in turns` has 30 pairs of turns in one process. Bounds: a ratio",
            f"of {MOST_RATIO}, {MOST_BYTES / 2**20:.0f} MiB. benchmarks/README.md says what is compared.",
            "Made by `python benchmarks/overhead.py`.",
            "",
            "```",
            render_table(header, cells),
            "```",
            "",
        ]
    )


def _ratio(found: Interval) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def main() -> None:
    """Measure all models and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "overhead.md")
    parser.add_argument("--python", default=sys.executable, help="what starts all sides, for example with a priority")
    given = parser.parse_args()
    models = Path(os.environ.get("EDGEKIT_SHARED_DATA", HERE.parent.parent / "shared" / "data")) / "models"
    with LocalDevice(given.python) as device:
        rows = [row(device, name, models / file, given.rounds, given.seconds) for name, file in MODELS.items()]
    text = report(rows, given.rounds)
    given.output.write_text(text, encoding="utf-8")
    print(text)
    sys.exit(not all(one.holds for one in rows))


if __name__ == "__main__":
    main()
