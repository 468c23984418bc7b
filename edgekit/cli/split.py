"""`edgekit split`: a model in segments that run as a pipeline."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import click

from edgekit.bench.plan import Plan as Run
from edgekit.cli import complete
from edgekit.cli.common import emit, json_option, progress, results_only, say
from edgekit.cli.device_option import names
from edgekit.cli.model_options import collect, data_options, model_argument, trust_option
from edgekit.cli.split_table import Report, doubts, render
from edgekit.device.find import find_device
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Device
from edgekit.environment import usable_cores
from edgekit.errors import GateError, InputError
from edgekit.source_check import is_source
from edgekit.split.costs import Costs, estimated, measured
from edgekit.split.flow import read_flow
from edgekit.split.make import Parts, Wish, count_segments, split_model
from edgekit.split.on_device import Agreement, Installed, Units, agreements
from edgekit.split.plan import Balance, Plan
from edgekit.split.samples import Array, as_samples, random_samples
from edgekit.split.write import refuse_place, write_split
from edgekit.target import Target, load_target
from edgekit.tflite.artifact_folder import tflite_path
from edgekit.tflite.flatbuffer import read_bytes

_SAMPLES, _MOST_SECONDS = 8, 600.0


class PartsType(click.ParamType[Parts]):
    """A number of segments, or `auto`."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> Parts:
        """The number itself; what it can be depends on the model."""
        text = str(value)
        if text != "auto" and not text.isdecimal():
            self.fail(f"{text!r} is no number of segments; write 3, or auto", param, context)
        return "auto" if text == "auto" else int(text)


@click.command("split")
@model_argument
@click.option(
    "-n",
    "--segments",
    "parts",
    type=PartsType(),
    default="auto",
    show_default=True,
    help="How many; auto: as few as fit the target's accelerator, else one a core, 4 with --branches.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@click.option(
    "--balance",
    type=click.Choice(["latency", "bytes"]),
    default="latency",
    show_default=True,
    help="What each segment gets an even share of.",
)
@click.option("--branches", is_flag=True, help="Let independent parts run side by side: a shorter way for one sample.")
@click.option(
    "--target",
    "-t",
    shell_complete=complete.targets,
    help="Target: parameters of a segment stay within its accelerator's memory.",
)
@click.option(
    "--device",
    shell_complete=names,
    help="Measure and verify there: local, ssh://user@host[:port], or a name of your devices file.",
)
@click.option(
    "--estimate", is_flag=True, help="Balance latency by figures or multiply-accumulates, not by measurement."
)
@click.option(
    "--units",
    default="",
    metavar="LIST",
    help="What each segment runs on when it is verified and measured: cpu or cpu:CORE, with commas.",
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 1024), help="Threads of each segment.")
@click.option(
    "--depth",
    type=click.IntRange(1, 1024),
    help="Samples that may wait between two segments. Default: as many as take 16 ms, 2 to 32.",
)
@data_options()
@click.option("--no-verify", is_flag=True, help="Do not run it beside the whole model.")
@click.option("--measure", is_flag=True, help="Measure throughput and latency beside the whole model.")
@click.option(
    "--seconds",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, 3600, min_open=True),
    help="Time of --measure.",
)
@click.option("--overwrite", is_flag=True, help="Replace the folder of an earlier split.")
@trust_option
@json_option
def command(
    model: str,
    parts: Parts,
    out: Path,
    balance: Balance,
    branches: bool,
    target: str | None,
    device: str | None,
    estimate: bool,
    units: str,
    threads: int,
    depth: int | None,
    data: str | None,
    metric: str | None,
    task: str | None,
    pairs: tuple[str, ...],
    no_verify: bool,
    measure: bool,
    seconds: float,
    overwrite: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Cut MODEL, a .tflite or a Keras model, into segments that run as a pipeline.

    \b
    edgekit split model_int8.tflite -n 3 -o segments --measure
    edgekit split model_int8.tflite -t coral-usb --balance bytes -o segments
    python3 segments/run.py run input.npy --save outputs.npz

    The folder has the segments, plan.json and a runner that needs Python, numpy and a TFLite runtime. It is run beside
    the whole model on random samples, or on those of --data; exit code 1 if integers differ. A Keras model is converted
    to its float32 file first, which is put into the folder; for int8 give the file that `edgekit optimize` makes.
    """
    refuse_place(out, overwrite)
    run = Units(tuple(word for word in units.split(",") if word), threads, depth)
    _refuse_words(run)
    goal, options = None if target is None else load_target(target), collect(metric, task, pairs)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        source = is_source(model)
        whole = _converted(model, Path(folder), trust) if source else tflite_path(Path(model))
        file = bytes(read_bytes(whole))
        with find_device(device or "local", say=progress, native=False) as place:
            wish = Wish(parts, balance, _cache(goal), branches, _cores(goal, place))
            count_segments(read_flow(whole), wish, Path(model).name)  # before anything is measured
            costs = _costs(whole, goal, place if device or goal is None else None, estimate, threads, wish)
            split = split_model(file, wish, costs, Path(model).name)
            run.refuse_count(len(split.plan.segments))
            fed = [] if no_verify and not measure else _samples(whole, split.plan, data, options, trust)
            write_split(split, out, overwrite, file if source else None)
            report = Report(out, split.plan, notes=() if costs is None else costs.notes)
            if fed:
                report = _seen(report, whole, place, fed, data, run, not no_verify, seconds if measure else None)
    progress("")
    emit(report, as_json, render)
    if not as_json:
        for words in (*report.notes, *doubts(report, _cache(goal))):
            say(f"warning: {words}")
    _accept(report)


def _refuse_words(units: Units) -> None:
    """Raise InputError for what is no unit, and for an Edge TPU: nobody has compiled segments before the split."""
    if any(name.startswith("edgetpu") for name in units.names):
        raise InputError(
            "--units: an Edge TPU runs compiled segments, which there are only after the split",
            "split without --units, then `edgekit compile OUT/segment0.tflite --for edgetpu -o OUT` for each segment, "
            "and on the board `python3 OUT/run.py run input.npy --units edgetpu:0,edgetpu:1`",
        )
    if wrong := [name for name in units.names if not re.fullmatch(r"cpu(:\d+)?", name)]:
        raise InputError(f"--units: {wrong[0]!r} is no unit", "write cpu or cpu:CORE for each segment, with commas")


def _converted(model: str, folder: Path, trust: bool) -> Path:
    """The float32 file of a Keras model, with a batch of 1."""
    from edgekit.model.load import load_model
    from edgekit.stages.convert import export

    progress(f"converting {model}")
    path = folder / "whole.tflite"
    with results_only():
        path.write_bytes(export(load_model(model, trust=trust), 1, folder / "export").lower())
    return path


def _cache(target: Target | None) -> int | None:
    return None if target is None else target.memory.accelerator_cache_bytes


def _cores(target: Target | None, device: Device) -> int | None:
    if target is not None:
        return target.processor.cores
    return usable_cores() if isinstance(device, LocalDevice) else None


def _costs(
    whole: Path, target: Target | None, device: Device | None, estimate: bool, threads: int, wish: Wish
) -> Costs | None:
    """By measurement on a device, unless it is that of no target; bytes alone need none."""
    if wish.balance == "bytes" and not wish.branches:
        return None
    if estimate or device is None:
        return estimated(read_flow(whole), target)
    progress(f"timing the operators of {whole.name}")
    return measured(whole, Run(threads=threads), device)


def _samples(whole: Path, plan: Plan, data: str | None, options: dict[str, object], trust: bool) -> list[Array]:
    if data is None:
        return random_samples(plan.inputs, _SAMPLES)
    from edgekit.real_inputs import real_inputs

    with results_only():
        return as_samples(real_inputs(whole, data, options, trust=trust).arrays, plan.inputs)


def _seen(
    report: Report,
    whole: Path,
    device: Device,
    fed: list[Array],
    data: str | None,
    units: Units,
    verify: bool,
    seconds: float | None,
) -> Report:
    progress("running the segments beside the whole")
    installed, speeds = Installed(report.folder, report.plan, device), None
    found: tuple[Agreement, ...] = ()
    if verify:
        outputs = installed.run(fed, units, _MOST_SECONDS)
        found = agreements(whole, fed, outputs, report.plan, device)
    if seconds is not None:
        progress("measuring")
        speeds = installed.measure(whole, fed, units, seconds)
    named = "random samples" if data is None else f"samples of {data}"
    return Report(report.folder, report.plan, len(fed[0]), named, found, speeds, report.notes)


def _accept(report: Report) -> None:
    off = [one for one in report.agreements if not one.identical and not one.dtype.startswith("float")]
    if off:
        problem = f"output {off[0].name!r} differs from that of the whole model by up to {off[0].most:.3g}"
        raise GateError(problem, "cut elsewhere (another --segments), or say so in a bug report")
