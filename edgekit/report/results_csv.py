"""Measurements as CSV: one row each, every statistic in base units, the unit in the column's name."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import asdict

from edgekit.bench.disturbances import cautions, disturbances
from edgekit.bench.result import Measurement, NativeMeasurement, Results
from edgekit.bench.statistics import Interval, summarize

Cell = str | int | float | bool | None


def results_csv(results: Results) -> str:
    """The text of the file: a header, then a row for each measurement; empty cells where something is not known."""
    rows = list(_rows(results))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _rows(results: Results) -> Iterator[dict[str, Cell]]:
    for one in results.measurements:
        yield _setting(one) | _place(one) | _statistics(summarize(one)) | _noise(one)
    for native in results.native:
        yield _setting(native) | _phone(native) | _printed(native)


def _setting(one: Measurement | NativeMeasurement) -> dict[str, Cell]:
    return {
        "model": one.model.name,
        "sha256": one.model.sha256,
        "size_bytes": one.model.file_bytes,
        "device": one.device,
        "started": one.started,
        "threads": one.plan.threads,
        "cpus": " ".join(map(str, one.plan.cpus)),
        "xnnpack": one.plan.xnnpack,
        "delegate": one.plan.delegate.library if one.plan.delegate else None,
        "with_io": one.plan.with_io,
        "seed": one.plan.seed,
    }


def _place(one: Measurement) -> dict[str, Cell]:
    machine, before, after = one.machine, one.before, one.after
    return {
        "board": machine.board,
        "processor": machine.processor,
        "architecture": machine.architecture,
        "cores": machine.usable_cores,
        "tool": f"{one.runtime.name} {one.runtime.version}",
        "delegate_partitions": one.delegate_partitions,
        "inputs": one.fed.source if one.fed else None,
        "governor": before.governor,
        "frequency_before_hz": before.frequency_hz,
        "frequency_after_hz": after.frequency_hz,
        "temperature_before_celsius": before.temperature_celsius,
        "temperature_after_celsius": after.temperature_celsius,
        "load_average": before.load_average,
    }


def _statistics(summary: Struct) -> dict[str, Cell]:
    """The fields of a summary; an interval is three columns, its ends before the unit."""
    row: dict[str, Cell] = {}
    for name, value in asdict(summary).items():
        if isinstance(value, Interval):
            stem, _, unit = name.rpartition("_")
            row |= {name: value.value, f"{stem}_low_{unit}": value.low, f"{stem}_high_{unit}": value.high}
        else:
            row[name] = value
    return row


def _noise(one: Measurement) -> dict[str, Cell]:
    return {
        "attempts": one.attempts,
        "disturbances": "; ".join(disturbances(one)),
        "cautions": "; ".join(cautions(one)),
    }


def _phone(one: NativeMeasurement) -> dict[str, Cell]:
    return {
        "board": one.phone.model,
        "processor": one.phone.soc,
        "architecture": one.phone.architecture,
        "cores": one.phone.cores,
        "tool": "benchmark_model",
        "delegate_partitions": one.printed.delegate_partitions,
    }


def _printed(one: NativeMeasurement) -> dict[str, Cell]:
    said, steady = one.printed, one.printed.steady
    return {
        "load_seconds": said.init_seconds,
        "first_seconds": said.first_seconds,
        "runs": steady.runs,
        "mean_seconds": steady.mean_seconds,
        "min_seconds": steady.min_seconds,
        "max_seconds": steady.max_seconds,
        "p50_seconds": steady.median_seconds,
        "p95_seconds": steady.p95_seconds,
        "deviation_seconds": steady.deviation_seconds,
        "approximate_overall_bytes": said.approximate_overall_bytes,
    }
