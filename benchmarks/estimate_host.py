"""How far the estimate's latency model can be trusted: `python benchmarks/estimate_host.py FILE...`.

Measures `.tflite` files of one number format on this host, fits the model of `edgekit estimate` to one half of them and
predicts the other, both ways round; at least six are needed. Writes results/estimate_host.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec import Struct

from edgekit.bench.plan import plan_for
from edgekit.bench.run import measure
from edgekit.bench.statistics import summarize
from edgekit.estimate import work_of
from edgekit.latency_model import LEVEL, Work, fit_latency
from edgekit.report.table import render_table
from edgekit.tflite.inspect import read_contents
from edgekit.units import format_count, format_seconds
from edgekit.versions import versions

RESULT = Path(__file__).resolve().parent / "results" / "estimate_host.md"


class Point(Struct, frozen=True):
    """One network on this host: its work, its median seconds, and what the other half of the networks predicts."""

    name: str
    work: Work
    seconds: float
    predicted: float = 0.0
    factor: float = 0.0

    @property
    def inside(self) -> bool:
        """True if the measured time is in the band of the prediction."""
        return self.predicted / self.factor <= self.seconds <= self.predicted * self.factor


def measured(path: Path) -> Point:
    """A file on this host, by the median of two seconds of runs."""
    seconds = float(summarize(measure(path, plan_for(seconds=2.0))).p50_seconds.value)
    return Point(path.stem, work_of(read_contents(path)), seconds)


def crossed(points: list[Point]) -> list[Point]:
    """Each point with the prediction of the half that it is not in; halves alternate in the order of their work."""
    ordered = sorted(points, key=lambda one: one.work.macs)
    halves = (ordered[::2], ordered[1::2])
    found = []
    for half, other in (halves, halves[::-1]):
        model = fit_latency([(one.work, one.seconds) for one in other], [one.name for one in other])
        found += [Point(one.name, one.work, one.seconds, model.seconds(one.work), model.factor) for one in half]
    return sorted(found, key=lambda one: one.work.macs)


def table(points: list[Point]) -> str:
    """One row a network."""
    rows = [
        (
            one.name,
            format_count(one.work.macs),
            format_seconds(one.seconds),
            format_seconds(one.predicted),
            f"{one.factor:.2f}",
            f"{one.predicted / one.seconds:.2f}",
            "yes" if one.inside else "no",
        )
        for one in points
    ]
    return render_table(("network", "MACs", "measured", "predicted", "band x", "ratio", "inside"), rows)


def main() -> None:
    """Measure, cross, write."""
    points = crossed([measured(Path(name)) for name in sys.argv[1:]])
    inside = sum(one.inside for one in points)
    RESULT.write_text(
        "# The latency model of `edgekit estimate`, tried on a host\n\n"
        f"x86-64, ai-edge-litert {versions()['ai-edge-litert']}, one thread, XNNPACK. Each is predicted\n"
        f"by the half that it is not in; the band is made to hold {LEVEL:.0%}, {inside} of {len(points)} are inside.\n"
        "`edgekit estimate` refuses files of under half or over twice the MACs that were fitted; here none is.\n"
        "Made by `python benchmarks/estimate_host.py FILE...`.\n\n"
        f"```\n{table(points)}\n```\n"
    )


if __name__ == "__main__":
    main()
