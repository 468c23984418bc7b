"""Steps of quantization-aware training beside tensorflow-model-optimization: `python benchmarks/peers/quantize_aware.py
--peer P`.

P is a Python with tensorflow-model-optimization and tf_keras. Four processes take turns, each engine with the float
network and with the quantized one; those that train the quantized one also tell how much memory they took. The table is
results/qat_tfmot.md; what is measured is kept in results/qat_tfmot.json, so networks may be measured one by one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from job import QuantizeAware
from msgspec import Struct
from turns import Side, alternate

from edgekit.bench.statistics import Interval, median_interval
from edgekit.units import format_bytes

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
BATCH, SAMPLES = 32, 960
BOUNDS = {"ours / float": 1.6, "ours / theirs": 0.8, "memory": 1.0}


@dataclass(frozen=True)
class Plan:
    """How one network is measured."""

    shape: tuple[int, int, int]
    steps: int
    rounds: int
    warm_up: int


PLANS = {
    "MobileNetV2 0.35": Plan((96, 96, 3), 10, 15, 2),
    "DS-CNN": Plan((49, 10, 1), 50, 15, 1),
    "ResNet50": Plan((96, 96, 3), 2, 7, 1),
}


class Measured(Struct, frozen=True):
    """Processor seconds of a step in each round, and the peaks of memory in bytes, of one network."""

    ours: list[float]
    ours_float: list[float]
    theirs: list[float]
    theirs_float: list[float]
    ours_bytes: int
    theirs_bytes: int
    steps: int

    def ratio(self, one: str, other: str) -> Interval:
        """Median over the rounds, with its interval."""
        pairs = zip(getattr(self, one), getattr(self, other), strict=True)
        return median_interval([a / b for a, b in pairs])


def main() -> int:
    """Measure the networks that are asked for, and write the table of all that are known."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--peer", required=True, help="Python with tensorflow-model-optimization")
    options.add_argument("--network", action="append", choices=PLANS, help="only this one; may be repeated")
    chosen = options.parse_args()
    notes = RESULTS / "qat_tfmot.json"
    found = msgspec.json.decode(notes.read_bytes(), type=dict[str, Measured]) if notes.exists() else {}
    for of in chosen.network or PLANS:
        found[of] = _measured(of, PLANS[of], chosen.peer)
        notes.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
        (RESULTS / "qat_tfmot.md").write_text("\n".join(_markdown(found)), encoding="utf-8")
        print(_row(of, found[of]), flush=True)
    return 0


def _measured(of: str, plan: Plan, peer: str) -> Measured:
    engines = ([sys.executable, str(HERE / "quantize_aware_edgekit.py")], [peer, str(HERE / "quantize_aware_tfmot.py")])
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        data = Path(folder) / "data.npz"
        _save_data(data, plan.shape)
        epochs = 1 + (plan.rounds + plan.warm_up) * plan.steps // (SAMPLES // BATCH)
        jobs = [
            QuantizeAware(
                network=of,
                data=str(data),
                epochs=epochs + 1,  # a training that ends would not wait for its turn
                batch_size=BATCH,
                learning_rate=1e-5,
                turns=plan.steps,
                quantized=quantized,
            )
            for quantized in (True, False)
        ]
        sides = alternate([[*engine, job.word()] for engine in engines for job in jobs], plan.rounds, plan.warm_up)
    return _told(sides, plan)


def _told(sides: Sequence[Side], plan: Plan) -> Measured:
    ours, ours_float, theirs, theirs_float = ([each / plan.steps for each in side.seconds] for side in sides)
    trained = (plan.rounds + plan.warm_up) * plan.steps
    return Measured(ours, ours_float, theirs, theirs_float, sides[0].peak_bytes, sides[2].peak_bytes, trained)


def _save_data(path: Path, shape: tuple[int, int, int]) -> None:
    """Random samples; only those of the training part are many."""
    rng, arrays = np.random.default_rng(0), {}
    for part, count in (("train", SAMPLES), ("validation", BATCH), ("calibration", 2 * BATCH), ("test", BATCH)):
        arrays[f"x_{part}"] = rng.normal(0, 1, (count, *shape)).astype(np.float32)
        arrays[f"y_{part}"] = np.arange(count) % 10
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _markdown(found: dict[str, Measured]) -> Iterator[str]:
    yield from (
        "# Quantization-aware training beside tfmot",
        "",
        "Made by `python benchmarks/peers/quantize_aware.py --peer PYTHON`; [the method](../README.md#beside-tfmot).",
        "",
        f"Processor time of a training step (batch {BATCH}, one thread), medians; in brackets the 95 % interval of the "
        "ratio, round by round. QAT / float compares with the float network's step in the same engine. Memory is the "
        "peak of the process that does nothing but QAT, after as many steps.",
        "",
        "| network | edgekit QAT | edgekit float | tfmot QAT | tfmot float | edgekit: QAT / float | "
        "tfmot: QAT / float | QAT: edgekit / tfmot | memory: edgekit | tfmot | edgekit / tfmot |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(of, found[of]) for of in PLANS if of in found),
        f"| bound | | | | | {BOUNDS['ours / float']} | | {BOUNDS['ours / theirs']} | | | {BOUNDS['memory']:.1f} |",
        "",
    )


def _row(of: str, one: Measured) -> str:
    sides = (one.ours, one.ours_float, one.theirs, one.theirs_float)
    ratios = (
        _shown(one.ratio("ours", "ours_float"), BOUNDS["ours / float"]),
        _shown(one.ratio("theirs", "theirs_float")),
        _shown(one.ratio("ours", "theirs"), BOUNDS["ours / theirs"]),
    )
    memory = one.ours_bytes / one.theirs_bytes
    cells = (
        f"{of}, {'x'.join(map(str, PLANS[of].shape[:2]))}",
        *(f"{1e3 * np.median(side):.1f} ms" for side in sides),
        *ratios,
        format_bytes(one.ours_bytes),
        format_bytes(one.theirs_bytes),
        f"{memory:.2f}{_missed(memory, BOUNDS['memory'])} ({one.steps} steps)",
    )
    return f"| {' | '.join(cells)} |"


def _shown(ratio: Interval, bound: float | None = None) -> str:
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]{_missed(ratio.value, bound)}"


def _missed(value: float, bound: float | None) -> str:
    return "" if bound is None or value <= bound else ", MISSED"


if __name__ == "__main__":
    sys.exit(main())
