"""Accuracy of int8 files by who calibrated them, and how: `python benchmarks/calibration.py --work FOLDER`.

The float models are those of benchmarks/compression.py, trained or found in FOLDER; each is quantized by both engines
with the ranges of each method of edgekit, and with those of the calibrators of the two quantizers, on the same 200
samples. What is done is kept in FOLDER; at the end benchmarks/results/calibration.md is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
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


PEERS: dict[str, Callable[[bytes, Array], Ranges]] = {
    "TFLite converter": converter_ranges,
    "litert-quantizer": litert_ranges,
}


def results(task: str, network: str, seed: int, work: Path) -> Iterator[Result]:
    """All rows of one trained network."""
    case = trained_case(task, network, seed, work)
    model, data = case.model, case.data
    yield Result(task, network, seed, "", "", _accuracy(load_model(model).predict, data))
    file, (samples,) = float_file(model), data.part("calibration").array()
    ways: dict[str, Ranges] = {method: calibrate(file, [samples], method) for method in (*METHODS, "percentile:99.9")}
    ways |= {name: peer(file, samples) for name, peer in PEERS.items()}
    for name, ranges in ways.items():
        for engine in ENGINES:
            stage = Quantize("int8", "per-channel", "per-channel", "float32", engine)
            made = quantize(Source(file, ranges), stage)
            right = _accuracy(lambda _, made=made: run_file(made, data.part("test")).arrays, data)  # type: ignore[misc]
            yield Result(task, network, seed, engine, name, right)


def _accuracy(run: Callable[[Any], Any], data: Dataset) -> float:
    part = data.part("test")
    assert part.labels is not None
    return float((run(part.array())[0].argmax(1) == part.labels[0]).mean())


def kept(task: str, network: str, seed: int, work: Path) -> list[Result]:
    """The rows of one trained network, made or found in FOLDER."""
    path = work / f"calibration-{task}-{network}-{seed}.json"
    if not path.exists():
        path.write_bytes(msgspec.json.encode(list(results(task, network, seed, work))))
    return msgspec.json.decode(path.read_bytes(), type=list[Result])


def table(found: list[Result]) -> str:
    """A row for each way to calibrate, a column for each network and engine, means over the seeds."""
    columns = list(dict.fromkeys((one.task, one.network, engine) for one in found for engine in ENGINES))
    rows = ["", *dict.fromkeys(one.calibrated for one in found if one.calibrated)]
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
    (HERE / "results" / "calibration.md").write_text(head + table(found) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
