"""The performance figures, as ratios of things that took turns in this run: `python benchmarks/suite.py`.

What each compares and why is in benchmarks/README.md. Exit code 1 if a claim does not hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import subjects
from msgspec import Struct

from edgekit.bench.ask import ask
from edgekit.bench.plan import Plan
from edgekit.bench.result import Conditions, Machine, Runtime
from edgekit.bench.statistics import Interval, median_interval
from edgekit.compare import speed
from edgekit.data.parts import Part
from edgekit.device.local import LocalDevice
from edgekit.report.table import render_table
from edgekit.stages import prune_channels
from edgekit.stages.calibrate import calibrate
from edgekit.stages.prune_weights import PruneWeights, prune_weights
from edgekit.target import load_target
from edgekit.tf import import_keras, import_tensorflow, quiet
from edgekit.tflite.batch import batched_twin
from edgekit.verify import run_file
from edgekit.versions import versions

HERE = Path(__file__).resolve().parent
SCHEMES = ("float32", "float16", "dynamic-int8", "int8", "int16x8")
SAMPLES, BATCH = 10_000, 64
PARSE = """
import sys
from tflite.Model import Model
model = Model.GetRootAs(open(sys.argv[1], "rb").read(), 0)
for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
    for tensor in map(graph.Tensors, range(graph.TensorsLength())):
        tensor.Name(), tensor.Type(), tensor.ShapeAsNumpy(), tensor.Buffer(), tensor.Quantization()
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        operator.OpcodeIndex(), operator.InputsAsNumpy(), operator.OutputsAsNumpy()
"""

Work = Callable[[], object]


class Claim(Struct, frozen=True):
    """A ratio of medians over pairs, and the bound it is held to; `holds` is None where nothing is claimed."""

    name: str
    what: str
    ratio: Interval
    pairs: int
    bound: str
    holds: bool | None


class Described(Struct, frozen=True):
    """The machine, as the agent describes it."""

    machine: Machine
    runtimes: tuple[Runtime, ...]
    conditions: Conditions


class Results(Struct, frozen=True):
    """What the suite writes."""

    described: Described
    versions: dict[str, str]
    claims: tuple[Claim, ...]
    format_version: int = 1


def command_line_help(folder: Path) -> Iterator[Claim]:
    """`edgekit --help` against importing click, which it cannot do without."""
    ours = _run(Path(sys.executable).with_name("edgekit"), "--help")
    times = _turns([ours, _run(sys.executable, "-c", "import click")], 21)
    yield _claim("help", "edgekit --help / python -c 'import click'", times[0] / times[1], at_most=3)


def inspect(folder: Path) -> Iterator[Claim]:
    """`edgekit inspect` against walking the same file with the package `tflite`."""
    file = folder / "inspected.tflite"
    file.write_bytes(subjects.float_file(subjects.mobilenet(0.75), folder / "inspected"))
    ours = _run(Path(sys.executable).with_name("edgekit"), "inspect", file)
    times = _turns([ours, _run(sys.executable, "-c", PARSE, file)], 21)
    megabytes = file.stat().st_size / 1e6
    what = f"edgekit inspect / parsing it alone, {megabytes:.1f} MB float32"
    yield _claim("inspect", what, times[0] / times[1], at_most=2)


def variants(folder: Path) -> Iterator[Claim]:
    """Five variants in one `optimize` call against int8 alone, each call in a process of its own."""
    model, data = folder / "mobilenet.keras", folder / "images.npz"
    subjects.mobilenet(0.35).save(model)
    _save_data(data, (96, 96, 3), calibration=200, test=200)
    litert = [scheme if scheme == "float32" else f"{scheme}:engine=litert" for scheme in SCHEMES]
    calls = [[sys.executable, HERE / "variants.py", model, data, *recipes] for recipes in (["int8"], SCHEMES, litert)]
    rounds = [[json.loads(_output(call)) for call in calls] for _ in range(3)]
    making, whole = (np.array([[row[key] for row in one] for one in rounds]) for key in ("making", "all"))
    for column, engine in ((1, "default engine"), (2, "engine=litert")):
        name = ("variants", "variants-litert")[column - 1]
        what = f"5 variants / int8 alone, made, {engine}"
        yield _claim(name, what, making[:, column] / making[:, 0], at_most=1.5)
        what = f"5 variants / int8 alone, made and verified, {engine}"
        yield _claim(f"{name}-verified", what, whole[:, column] / whole[:, 0])


def verification(folder: Path) -> Iterator[Claim]:
    """Judging 10,000 samples in batches against one at a time."""
    networks = {
        "digits": subjects.digits(folder),
        "ds-cnn": subjects.ds_cnn(),
        "resnet-8": subjects.resnet8(),
        "autoencoder": subjects.autoencoder(),
    }
    for name, network in networks.items():
        samples = subjects.images(SAMPLES, network.input_shape[1:])
        file = subjects.int8_file(subjects.float_file(network, folder / name), samples[:100])
        yield from _verification(name, file, samples)


def _verification(name: str, file: bytes, samples: np.ndarray[Any, Any]) -> Iterator[Claim]:
    part = Part("test", (samples,))
    works = [
        _looped(file, samples, 1),
        _looped(batched_twin(file), samples, BATCH),
        lambda: run_file(file, part, batch=1),
        lambda: run_file(file, part, batch=BATCH),
    ]
    bare_one, bare_batch, one, batch = _turns(works, 7)
    bound = 5 if name == "digits" else None
    yield _claim(f"verify-{name}", f"verifying 10,000: batch 1 / batch {BATCH}", one / batch, at_least=bound)
    yield _claim(f"verify-{name}-loop", f"bare loop, batch 1 / verifying, batch {BATCH}", bare_one / batch)
    yield _claim(f"verify-{name}-limit", f"bare loop, batch 1 / bare loop, batch {BATCH}", bare_one / bare_batch)


def calibration(folder: Path) -> Iterator[Claim]:
    """One batched pass against the calibrators of the two quantizers."""
    networks = {"mobilenet": (subjects.mobilenet(0.35), 1000), "resnet-8": (subjects.resnet8(), 4000)}
    for name, (network, count) in networks.items():
        file = subjects.float_file(network, folder / f"calibrated-{name}")
        yield from _calibration(name, file, subjects.images(count, network.input_shape[1:]))


def _calibration(name: str, file: bytes, samples: np.ndarray[Any, Any]) -> Iterator[Claim]:
    works = [
        lambda: calibrate(file, [samples]),
        lambda: calibrate(file, [samples], "mse"),
        lambda: _converter_calibrates(file, samples),
        lambda: _litert_calibrates(file, samples),
    ]
    minmax, mse, converter, litert = _turns(works, 5)
    ours = "samples/s: edgekit / "
    yield _claim(f"calibrate-{name}-converter", f"{ours}TFLite converter", converter / minmax, at_least=4)
    yield _claim(f"calibrate-{name}-litert", f"{ours}litert-quantizer", litert / minmax, at_least=8)
    yield _claim(f"calibrate-{name}-mse-converter", f"{ours}TFLite converter, with histograms", converter / mse)
    yield _claim(f"calibrate-{name}-mse-litert", f"{ours}litert-quantizer, with histograms", litert / mse)


def compression(folder: Path) -> Iterator[Claim]:
    """Latency of int8 files before and after pruning, and how long it takes to prune the channels of ResNet50."""
    networks = {"ds-cnn": subjects.ds_cnn(), "resnet-8": subjects.resnet8(), "mobilenet": subjects.mobilenet(0.35)}
    networks["mobilenet-1.0"] = subjects.mobilenet(1.0)
    likes = load_target("host").numerics.channel_multiple
    for name, network in networks.items():
        plan = prune_channels.plan(network, prune_channels.PruneChannels(macs=0.5), multiple=likes)
        told = prune_channels.report(plan)
        zeros = PruneWeights(0.8, one_shot=True)
        made = {"whole": network, "cut": prune_channels.apply(plan), "sparse": prune_weights(network, zeros).model}
        whole, cut, sparse = (_int8_path(model, folder, f"{name}-{kind}") for kind, model in made.items())
        share = told.macs_after / told.macs_before
        what = f"int8 latency: whole / channels cut to {share:.2f} of the MACs"
        yield _claim(f"channels-{name}", what, speed(cut, whole, Plan()).process_ratios, at_least=1.6)
        ratios = speed(sparse, whole, Plan()).process_ratios
        yield _claim(f"sparse-{name}", "int8 latency: dense / 80 % sparse", ratios)
    shares = [_resnet50() / 60 for _ in range(3)]
    yield _claim("channels-resnet50", "ResNet50, 224x224: plan and rewrite / 60 s", shares, at_most=1)


def _int8_path(model: Any, folder: Path, name: str) -> Path:
    path = folder / f"{name}.tflite"
    samples = subjects.images(50, model.input_shape[1:])
    path.write_bytes(subjects.int8_file(subjects.float_file(model, folder / name), samples))
    return path


def _resnet50() -> float:
    """Seconds from a network to one with half of its MACs, without training."""
    model = import_keras().applications.ResNet50(weights=None)
    start = time.perf_counter()
    prune_channels.apply(prune_channels.plan(model, prune_channels.PruneChannels(macs=0.5)))
    return time.perf_counter() - start


def _converter_calibrates(file: bytes, samples: np.ndarray[Any, Any]) -> None:
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    with quiet():
        Calibrator(file).calibrate(lambda: ([samples[i : i + 1]] for i in range(len(samples))))


def _litert_calibrates(file: bytes, samples: np.ndarray[Any, Any]) -> None:
    from litert_quantizer import qtyping, quantizer

    from edgekit.tflite.inspect import read_contents

    signature = read_contents(file).signatures[0]
    name = next(iter(signature.inputs))
    worker = quantizer.Quantizer(bytearray(file))
    worker.add_static_config(".*", "*", 8, 8, qtyping.QuantGranularity.CHANNELWISE)
    with quiet():
        worker.calibrate({signature.key: [{name: samples[i : i + 1]} for i in range(len(samples))]})


def _looped(file: bytes, samples: np.ndarray[Any, Any], batch: int) -> Work:
    """The least that Python needs to run all samples: set, invoke, get."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file, num_threads=1)
    source, sink = (side()[0]["index"] for side in (interpreter.get_input_details, interpreter.get_output_details))
    interpreter.resize_tensor_input(source, [batch, *samples.shape[1:]])
    interpreter.allocate_tensors()

    def work() -> list[Any]:
        outputs = []
        for first in range(0, len(samples) - batch + 1, batch):
            interpreter.set_tensor(source, samples[first : first + batch])
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(sink))
        return outputs

    return work


def _turns(works: Sequence[Work], rounds: int) -> np.ndarray[Any, Any]:
    """Seconds `[works, rounds]` of works in turns, the order turned round each time, after a round to warm up."""
    seconds = np.zeros((len(works), rounds + 1))
    for number in range(rounds + 1):
        for index in range(len(works))[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            works[index]()
            seconds[index, number] = time.perf_counter() - start
    return seconds[:, 1:]


def _claim(
    name: str, what: str, ratios: Sequence[float], *, at_most: float | None = None, at_least: float | None = None
) -> Claim:
    ratio, bound, holds = median_interval(list(map(float, ratios))), "", None
    if at_most is not None:
        bound, holds = f"at most {at_most:g}", ratio.value <= at_most
    if at_least is not None:
        bound, holds = f"at least {at_least:g}", ratio.value >= at_least
    print(f"{name}: {_shown(ratio)}", file=sys.stderr, flush=True)
    return Claim(name, what, ratio, len(ratios), bound, holds)


def _run(*words: str | Path) -> Work:
    return lambda: _output(words)


def _output(words: Sequence[str | Path]) -> bytes:
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stderr.decode()}")
    return done.stdout


def _save_data(path: Path, shape: tuple[int, ...], **parts: int) -> None:
    arrays = {}
    for name, count in {"train": 20, **parts}.items():
        seeded = np.random.default_rng([count, len(name)])
        arrays[f"x_{name}"] = seeded.random((count, *shape), dtype=np.float32)
        arrays[f"y_{name}"] = np.arange(count) % 10
    np.savez(path, **arrays)


def describe() -> Described:
    """The machine that the ratios were taken on."""
    with LocalDevice() as device:
        return ask(device, {"command": "describe"}, Described, "describe", 60)


def table(claims: Sequence[Claim]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, for the terminal and the Markdown file."""
    verdict = {True: "yes", False: "NO", None: ""}
    header = ["name", "what", "ratio [95 %]", "pairs", "bound", "holds"]
    return header, [[c.name, c.what, _shown(c.ratio), str(c.pairs), c.bound, verdict[c.holds]] for c in claims]


def _shown(ratio: Interval) -> str:
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _markdown(results: Results) -> str:
    machine, load = results.described.machine, results.described.conditions.load_average
    header, rows = table(results.claims)
    software = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    return "\n".join(
        [
            "# Figures of one run of `make bench`",
            "",
            "What is compared, and what the rows mean, is in [the method](../README.md#the-suite).",
            "",
            f"{machine.processor or machine.architecture}, {machine.usable_cores} cores, {machine.system}, "
            f"Python {machine.python}, {software}; load {load or 0:.1f} at the start.",
            "",
            *("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)),
            "",
        ]
    )


SUITE = {"help": command_line_help, "inspect": inspect, "variants": variants}
SUITE |= {"verification": verification, "calibration": calibration, "compression": compression}


def main() -> int:
    """Run the claims, print and write them; 1 if one does not hold."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", choices=SUITE, help="one group of claims; written only if --output is given")
    options.add_argument("--output", type=Path, help="folder of suite.json and suite.md [benchmarks/results]")
    chosen = options.parse_args()
    import_tensorflow()
    described = describe()
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        groups = [SUITE[chosen.only]] if chosen.only else SUITE.values()
        claims = tuple(claim for group in groups for claim in group(Path(folder)))
    results = Results(described, versions(), claims)
    print(render_table(*table(claims)))
    output = chosen.output or (None if chosen.only else HERE / "results")
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / "suite.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
        (output / "suite.md").write_text(_markdown(results), encoding="utf-8")
    return int(any(claim.holds is False for claim in claims))


if __name__ == "__main__":
    sys.exit(main())
