"""The table of what `benchmark_model` said on phones."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.bench.delegation import native_in_words
from edgekit.bench.result import NativeMeasurement
from edgekit.cli.common import file_names
from edgekit.report.table import Write, render_table
from edgekit.units import format_bytes, format_seconds

_HEADER = ("device", "model", "size", "init", "first", "mean", "std", "median", "p95", "runs", "~overall")


def render_native(measurements: Sequence[NativeMeasurement], write: Write = render_table) -> str:
    """One row a measurement, and what the columns are."""
    names = file_names(one.model.name for one in measurements)
    places = dict.fromkeys(map(_place, measurements))
    note = (
        "measured by benchmark_model on the phone, which prints a summary of its runs, not the runs; ~overall is the "
        "growth of its process, APPROXIMATE in its own words"
    )
    return "\n".join([write(_HEADER, [_cells(one, names[one.model.name]) for one in measurements]), "", *places, note])


def _cells(one: NativeMeasurement, name: str) -> tuple[str, ...]:
    said, steady = one.printed, one.printed.steady
    return (
        one.device,
        name,
        format_bytes(one.model.file_bytes),
        format_seconds(said.init_seconds),
        format_seconds(said.first_seconds),
        format_seconds(steady.mean_seconds),
        format_seconds(steady.deviation_seconds),
        format_seconds(steady.median_seconds),
        format_seconds(steady.p95_seconds),
        str(steady.runs),
        format_bytes(said.approximate_overall_bytes),
    )


def _place(one: NativeMeasurement) -> str:
    phone = one.phone
    system = f"Android {phone.android}" if phone.android else f"kernel {phone.kernel or 'unknown'}"
    delegate = f"; {native_in_words(one)}" if one.printed.delegate else ""
    return f"{one.device}: {phone.model or phone.architecture or 'unknown phone'}, {system}{delegate}"
