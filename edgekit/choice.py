"""Which number format of a network a CPU runs fastest, by measurement: int8 is not always faster than float32.

Full int8 loses where operators that the runtime has in float32 only cut the graph into pieces, or where casts around
them cost more than the integers save. Then weights of int8 under float data (dynamic-int8), or float32, are faster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from edgekit.bench.result import Measurement
from edgekit.bench.statistics import Interval, summarize
from edgekit.forecast.xnnpack import forecast_xnnpack
from edgekit.tflite.graph import read_graph
from edgekit.units import format_seconds

TOLERANCE = 0.02


class Choice(Struct, frozen=True):
    """The variant to ship, the median latency of each in seconds, and why it is not the wished one (or empty)."""

    name: str
    seconds: dict[str, Interval]
    reason: str = ""


def choose(measured: Mapping[str, Measurement], wished: str, file: bytes) -> Choice:
    """The wished variant, unless another one is faster by more than the tolerance and beyond the noise.

    `file` is that of the wished variant: its operators that XNNPACK leaves are named as the reason. Raises KeyError for
    a wish that was not measured.
    """
    seconds = {name: summarize(found).p50_seconds for name, found in measured.items()}
    own = seconds[wished]
    faster = {name: one for name, one in seconds.items() if _faster(one, own)}
    if not faster:
        return Choice(wished, seconds)
    name = min(faster, key=lambda one: faster[one].value)
    times = f"{wished} takes {format_seconds(own.value)}, {name} {format_seconds(seconds[name].value)}"
    return Choice(name, seconds, f"{times}; {_left(file)}")


def _faster(one: Interval, other: Interval) -> bool:
    return one.value < other.value * (1 - TOLERANCE) and one.high < other.low


def _left(file: bytes) -> str:
    """What of the file XNNPACK leaves, in a few words."""
    found = forecast_xnnpack(read_graph(file))
    names = Counter(placement.name for placement in found.left)
    if not names:
        return "XNNPACK takes all of it, and its kernels of this type are slower here"
    words = ", ".join(f"{count} {name}" for name, count in names.most_common(3))
    return f"XNNPACK leaves {words}, and makes {found.partitions} pieces of the rest"
