"""Does a split pay: `python benchmarks/split.py FOLDER`, where FOLDER keeps the files that are made.

MobileNetV2, ResNet50, InceptionV3 and a network of two branches, int8, 96x96, random weights, without the last softmax
(its probabilities of a thousand classes are all zero in int8, so equal outputs would prove nothing): each in 2, 3 and 4
segments, beside the whole on one thread and on as many as there are cores, in turns in one process, by the clock on the
wall. Writes results/split.md. Exit code 1 if outputs differ, if a pipeline has less than 1.5 times the throughput of
the whole on one core, or if bytes are uneven without a reason.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from applications import SAMPLES, SIZE, build
from int8_files import by_edgekit
from msgspec import Struct

from edgekit.bench.plan import Plan as Run
from edgekit.device.local import LocalDevice
from edgekit.model.live import from_keras
from edgekit.report.table import render_table
from edgekit.split.costs import Costs, measured
from edgekit.split.make import Wish, split_model
from edgekit.split.on_device import Agreement, Installed, Speeds, Units, agreements
from edgekit.split.plan import UNEVEN, Plan
from edgekit.split.samples import as_samples
from edgekit.split.write import write_split
from edgekit.stages.convert import export
from edgekit.tf import import_keras
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.numbers import Array, to_stored
from edgekit.units import format_bytes, format_seconds
from edgekit.versions import versions

HERE = Path(__file__).resolve().parent
NAMES = ("MobileNetV2", "ResNet50", "InceptionV3", "TwoBranches")
PARTS, BOUND = (2, 3, 4), 1.5
SIDE_BY_SIDE = {"InceptionV3": 7, "TwoBranches": 4}


class Case(Struct, frozen=True):
    """A split of a network, whether its outputs are those of the whole, and how fast it is (None: not measured)."""

    name: str
    plan: Plan
    agreements: tuple[Agreement, ...]
    speeds: Speeds | None = None
    branches: bool = False

    @property
    def identical(self) -> bool:
        """Bit for bit, and of outputs that tell the samples apart."""
        return all(one.identical and one.varies for one in self.agreements)

    @property
    def gain(self) -> float:
        """How many times the throughput of the whole on one thread."""
        assert self.speeds is not None
        assert self.speeds.rows[-1].ratio is not None
        return self.speeds.rows[-1].ratio.value

    @property
    def holds(self) -> bool:
        """Whether the split is what is claimed of it."""
        even = self.plan.balance != "bytes" or self.plan.uneven <= UNEVEN or bool(self.plan.reason)
        slow = self.speeds is not None and not self.branches and self.gain < BOUND
        return self.identical and even and not slow


def prepare(name: str, folder: Path) -> tuple[Path, Array]:
    """The int8 file of a network without its softmax, and samples for it; what the folder has is not remade."""
    folder.mkdir(parents=True, exist_ok=True)
    path, samples = folder / f"{name}.logits.int8.tflite", folder / f"{name}.logits.npy"
    if not path.exists():
        keras = import_keras()
        network, images = two_branches(keras) if name == "TwoBranches" else build(name, keras)
        network.layers[-1].activation = keras.activations.linear
        np.save(samples, images)
        exported = export(from_keras(network, name, name, None), 1, folder / f"{name}.exported")
        path.write_bytes(by_edgekit(exported.lower(), images))
    return path, np.load(samples)


def two_branches(keras: Any) -> tuple[Any, Array]:
    """A stem, two towers of five convolutions that share nothing, a join and a head; and samples for it."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 3))
    stem = layers.Conv2D(32, 3, 4, "same", activation="relu")(image)
    ends = []
    for size in (3, 5):
        x = stem
        for width in (48, 64, 64, 96, 96):
            x = layers.Conv2D(width if size == 3 else width // 2, size, 1, "same", activation="relu")(x)
        ends.append(layers.GlobalAveragePooling2D()(x))
    network = keras.Model(image, layers.Dense(10)(layers.Concatenate()(ends)))
    return network, np.random.default_rng(0).uniform(-1, 1, (SAMPLES, SIZE, SIZE, 3)).astype(np.float32)


def cases(name: str, folder: Path, seconds: float) -> list[Case]:
    """All splits of a network."""
    path, images = prepare(name, folder)
    costs = measured(path, Run())
    wishes = [Wish(parts, balance) for balance in ("latency", "bytes") for parts in PARTS]
    if name in SIDE_BY_SIDE:
        wishes.append(Wish(SIDE_BY_SIDE[name], branches=True))
    return [_case(name, path, images, wish, costs, folder / "split", seconds) for wish in wishes]


def _case(name: str, path: Path, images: Array, wish: Wish, costs: Costs, out: Path, seconds: float) -> Case:
    file = path.read_bytes()
    split = split_model(file, wish, costs, name)
    write_split(split, out, overwrite=True)
    fed = as_samples([to_stored(images, read_contents(file).inputs[0])], split.plan.inputs)
    with LocalDevice() as here:
        installed = Installed(out, split.plan, here)
        agreed = agreements(path, fed, installed.run(fed, Units()), split.plan, here)
        speeds = installed.measure(path, fed, Units(), seconds) if wish.balance == "latency" else None
    print(f"{name} {wish}: {[one.ratio for one in speeds.rows] if speeds else agreed}", file=sys.stderr, flush=True)
    return Case(name, split.plan, agreed, speeds, wish.branches)


def report(found: Sequence[Case]) -> str:
    """The page of results."""
    chains = [one for one in found if one.plan.balance == "latency" and not one.branches]
    sections = {
        "Balanced by latency": _speed_table(chains),
        "Branches side by side": _speed_table([one for one in found if one.branches]),
        "Balanced by bytes of parameters": _bytes_table([one for one in found if one.plan.balance == "bytes"]),
    }
    parts = ["# Segments against the whole", "", _setting(found), ""]
    for title, table in sections.items():
        parts += [f"## {title}", "", "```", table, "```", ""]
    return "\n".join(parts)


def _speed_table(found: Sequence[Case]) -> str:
    head = [
        "network",
        "segments",
        "slowest over share",
        "outputs",
        "whole/s",
        "threads",
        "pipeline",
        "one alone: whole",
    ]
    return render_table([*head, "threads", "pipeline", "processor"], [_speed_row(one) for one in found])


def _speed_row(case: Case) -> list[str]:
    assert case.speeds is not None
    first, *others = case.speeds.rows
    times = [f"{one.ratio.value:.2f} ({one.ratio.low:.2f}-{one.ratio.high:.2f})" for one in others if one.ratio]
    return [
        case.name,
        str(len(case.plan.segments)),
        f"{case.plan.uneven:.1%}",
        "identical" if case.identical else "DIFFER",
        f"{first.samples_per_second:.0f}",
        *(times if len(times) == 2 else ["-", *times]),
        format_seconds(first.latency_seconds),
        format_seconds(others[0].latency_seconds) if len(others) > 1 else "-",
        format_seconds(others[-1].latency_seconds),
        f"{others[-1].processor_seconds / first.processor_seconds:.2f}",
    ]


def _bytes_table(found: Sequence[Case]) -> str:
    rows = [
        [
            one.name,
            str(len(one.plan.segments)),
            ", ".join(format_bytes(segment.parameter_bytes) for segment in one.plan.segments),
            f"{one.plan.uneven:.1%}",
            "identical" if one.identical else "DIFFER",
            one.plan.reason,
        ]
        for one in found
    ]
    return render_table(["network", "segments", "parameters", "off an even share", "outputs", "because"], rows)


def _setting(found: Sequence[Case]) -> str:
    speeds = next(one.speeds for one in found if one.speeds is not None)
    return (
        f"`python benchmarks/split.py FOLDER` on the build host (x86-64, {speeds.cores} cores), ai-edge-litert "
        f"{versions()['ai-edge-litert']}. int8 files of random weights, {SIZE}x{SIZE}, batch 1, without the last "
        f"softmax; {SAMPLES} samples. `whole/s`: samples a second of the whole on one thread; `threads`: of the whole "
        f"on {speeds.cores} threads, and `pipeline`: of the segments, a thread each, as multiples of that, medians "
        "over turns in one process with their 95 % intervals. `one alone`: the time of one sample by itself. "
        "`processor`: what all threads of the pipeline work on a sample, over what the whole works on one thread."
    )


def main(words: Sequence[str] | None = None) -> int:
    """Make what is missing, measure, write the page; 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files are kept")
    parser.add_argument("--only", nargs="*", default=NAMES, choices=NAMES, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "split.md")
    options = parser.parse_args(words)
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: the claim is about two")
    found = []
    for name in options.only:
        found += cases(name, options.folder, options.seconds)
        options.output.write_text(report(found))
    return int(not all(one.holds for one in found))


if __name__ == "__main__":
    sys.exit(main())
