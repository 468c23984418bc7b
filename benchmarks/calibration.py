"""Accuracy of int8 files by who calibrated them, and how: `python benchmarks/calibration.py --work FOLDER`.

The float models are those of benchmarks/compression.py, trained or found in FOLDER; each is quantized by both engines
with the ranges of each method of edgekit, and with those of the calibrators of the two quantizers, on the same 200
samples. What is done is kept in FOLDER, and rows that were taken out of its files are made again; at the end
benchmarks/results/calibration.md is written, but for its section on throughput, which is of benchmarks/suite.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from compression import HERE, float_file, trained_case
from msgspec import Struct
from networks import NETWORKS
from tasks import TASKS

from edgekit.dataset import Dataset
from edgekit.model import load_model
from edgekit.stages.calibrate import Ranges, calibrate
from edgekit.stages.calibration_methods import METHODS
from edgekit.stages.numerics import Engine, Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.stages.trained_ranges import noted_ranges
from edgekit.tf import import_tensorflow, quiet
from edgekit.tflite.inspect import read_contents
from edgekit.verify import run_file

Array = np.ndarray[Any, Any]

ENGINES: tuple[Engine, ...] = ("converter", "litert")


class Result(Struct, frozen=True):
    """Share of right answers on the test part; `calibrated` is empty for the float model."""

    task: str
    network: str
    seed: int
    engine: str
    calibrated: str
    accuracy: float


def converter_ranges(file: bytes, samples: Array) -> Ranges:
    """What the calibrator of TensorFlow's converter writes into a float32 file."""
    import_tensorflow()
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    with quiet():
        return noted_ranges(Calibrator(file).calibrate(lambda: ([samples[i : i + 1]] for i in range(len(samples)))))


def litert_ranges(file: bytes, samples: Array) -> Ranges:
    """What litert-quantizer's calibrator finds."""
    from litert_quantizer import qtyping, quantizer

    signature = read_contents(file).signatures[0]
    name = next(iter(signature.inputs))
    worker = quantizer.Quantizer(bytearray(file))
    worker.add_static_config(".*", "*", 8, 8, qtyping.QuantGranularity.CHANNELWISE)
    with quiet():
        found = worker.calibrate({signature.key: [{name: samples[i : i + 1]} for i in range(len(samples))]})
    return {name: (float(pair["min"].min()), float(pair["max"].max())) for name, pair in found.items() if pair}


def _by_method(method: str) -> Callable[[bytes, Array], Ranges]:
    return lambda file, samples: calibrate(file, [samples], method)


WAYS: dict[str, Callable[[bytes, Array], Ranges]] = {
    **{method: _by_method(method) for method in (*METHODS, "percentile:99.9")},
    "TFLite converter": converter_ranges,
    "litert-quantizer": litert_ranges,
}


def results(task: str, network: str, seed: int, work: Path, ways: Collection[str]) -> Iterator[Result]:
    """Rows of one trained network: the float model's where the empty way is asked for, and those of each other way."""
    case = trained_case(task, network, seed, work)
    model, data = case.model, case.data
    if "" in ways:
        yield Result(task, network, seed, "", "", _accuracy(load_model(model).predict, data))
    file, (samples,) = float_file(model), data.part("calibration").array()
    for way in (one for one in WAYS if one in ways):
        ranges = WAYS[way](file, samples)
        for engine in ENGINES:
            stage = Quantize("int8", "per-channel", "per-channel", "float32", engine)
            made = quantize(Source(file, ranges), stage)
            right = _accuracy(lambda _, made=made: run_file(made, data.part("test")).arrays, data)  # type: ignore[misc]
            yield Result(task, network, seed, engine, way, right)


def _accuracy(run: Callable[[Any], Any], data: Dataset) -> float:
    part = data.part("test")
    assert part.labels is not None
    return float((run(part.array())[0].argmax(1) == part.labels[0]).mean())


def kept(task: str, network: str, seed: int, work: Path) -> list[Result]:
    """The rows of one trained network; those of ways that are not in FOLDER are made."""
    path = work / f"calibration-{task}-{network}-{seed}.json"
    found = msgspec.json.decode(path.read_bytes(), type=list[Result]) if path.exists() else []
    missing = {"", *WAYS} - {one.calibrated for one in found}
    if missing:
        found += results(task, network, seed, work, missing)
        path.write_bytes(msgspec.json.encode(found))
    return found


def table(found: list[Result]) -> str:
    """A row for each way to calibrate, a column for each network and engine, means over the seeds."""
    columns = list(dict.fromkeys((one.task, one.network, engine) for one in found for engine in ENGINES))
    rows = ["", *WAYS]
    lines = [["calibrated by", *(f"{task} {network}, {engine}" for task, network, engine in columns), "mean"]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        cells = [_mean(found, row, *column) for column in columns]
        lines.append([row or "(float)", *(f"{cell:.2f}" for cell in (*cells, float(np.mean(cells))))])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _mean(found: list[Result], row: str, task: str, network: str, engine: str) -> float:
    cell = (task, network, engine if row else "", row)
    return 100 * float(
        np.mean([one.accuracy for one in found if (one.task, one.network, one.engine, one.calibrated) == cell])
    )


def main() -> int:
    """Make what is not there yet, and write the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, required=True, help="folder for data, float models and results so far")
    options.add_argument("--seed", action="append", type=int, help="only this one; may be repeated [0, 1 and 2]")
    chosen = options.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    seeds = chosen.seed or [0, 1, 2]
    found = [one for of in NETWORKS for task in TASKS for seed in seeds for one in kept(task, of, seed, chosen.work)]
    head = f"""# Accuracy of int8 files by calibration

Per cent right on the test part, mean of the seeds {seeds}; all calibrated on the same 200 training samples.
`python benchmarks/calibration.py --work FOLDER`; networks and tasks are those of
[the method](../README.md#accuracy-after-compression).

"""
    path = HERE / "results" / "calibration.md"
    _, mark, throughput = path.read_text(encoding="utf-8").partition("## Throughput")
    path.write_text(f"{head}{table(found)}\n\n{mark}{throughput}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
