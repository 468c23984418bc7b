"""Latency on a phone by TensorFlow Lite's own `benchmark_model`: what to ask it, and what its output says.

The tool prints a summary of each phase and no single runs, so there are no percentiles with intervals; its figure of
memory is its own process's growth, which it calls APPROXIMATE itself. Output format: `benchmark_tflite_model.cc`,
`benchmark_model.cc`, `profile_summary_formatter.cc` of TensorFlow, as printed by releases 2.4 to 2.19.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgekit.bench.missing_operator import missing_operator, open_runnable
from edgekit.bench.plan import Delegate, Plan
from edgekit.bench.result import Conditions, ModelFile, NativeMeasurement, Phase, Phone, Printed
from edgekit.device.printable import printable
from edgekit.device.protocol import Completed, Device
from edgekit.errors import DeviceError, InputError, ModelError, RunError
from edgekit.tflite import flatbuffer
from edgekit.tflite.artifact_folder import tflite_path

_MEBI = 2**20
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?(?:e[+-]?[0-9]{1,2})?)"


def measure_native(
    model: Path, plan: Plan, device: Device, tool: Path, *, timeout: float | None = 600.0
) -> NativeMeasurement:
    """Measure a model on an open device with the `benchmark_model` at `tool`, on random inputs.

    Raises InputError for a plan that the tool cannot follow, ModelError, RunError for what it ends with, DeviceError.
    """
    refuse_impossible(plan)
    data = flatbuffer.read_bytes(model)
    open_runnable(data, str(model), plan.delegate)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    program = pushed_tool(device, tool)
    place = device.push(tflite_path(model), keep=True)
    before = conditions(device)
    done = device.run([program, *flags(place, plan)], timeout)
    printed = read_output(done, str(model), device.name, timeout)
    return NativeMeasurement(
        model=ModelFile.of(str(model), data),
        device=device.name,
        plan=plan,
        started=started,
        edgekit=metadata.version("edgekit"),
        tool_sha256=hashlib.sha256(tool.read_bytes()).hexdigest(),
        phone=describe_phone(device),
        before=before,
        after=conditions(device),
        printed=printed,
    )


def refuse_impossible(plan: Plan) -> None:
    """Raise InputError for a plan that the tool cannot follow."""
    if plan.runtime != "auto":
        raise InputError("benchmark_model has its own runtime", "leave --runtime out")
    if plan.precision is not None or plan.with_io or plan.meter is not None:
        raise InputError("benchmark_model knows no precision, no times with inputs, no meter", "leave the option out")
    if plan.cpus:
        raise InputError("benchmark_model cannot be held on chosen cores", "leave --cpus out")


def pushed_tool(device: Device, tool: Path) -> str:
    """Send the tool and make it executable. Raises InputError if it is no program."""
    try:
        with tool.open("rb") as file:
            head = file.read(4)
    except OSError as cause:
        raise InputError(
            f"{tool}: {cause.strerror}", "give the path of a benchmark_model built for the phone"
        ) from None
    if head != b"\x7fELF" and head[:2] != b"#!":
        raise InputError(f"{tool}: not a program", "give a benchmark_model built for the phone's processor")
    program = device.push(tool, keep=True)
    done = device.run(["chmod", "700", program], 60)
    if done.returncode != 0:
        raise DeviceError(
            f"{device.name}: {printable(done.stderr.strip())[-300:]}", "the phone must allow `chmod` there"
        )
    return program


def flags(model: str, plan: Plan) -> list[str]:
    """The tool's flags for a plan. It warms up for a time, not until the latency is stable."""
    return [
        f"--graph={model}",
        f"--num_threads={plan.threads}",
        f"--use_xnnpack={'true' if plan.xnnpack else 'false'}",
        f"--warmup_runs={plan.warm_up.window_runs}",
        f"--warmup_min_secs={plan.warm_up.max_seconds:g}",
        f"--num_runs={plan.min_runs}",
        f"--min_secs={plan.min_seconds:g}",
        f"--max_secs={plan.max_seconds:g}",
        *_delegate_flags(plan.delegate),
    ]


def _delegate_flags(delegate: Delegate | None) -> list[str]:
    if delegate is None:
        return []
    if delegate.of_the_tool:
        return [f"--use_{delegate.library}=true", *(f"--{key}={value}" for key, value in delegate.options.items())]
    pairs = ";".join(f"{key}:{value}" for key, value in delegate.options.items())
    options = [f"--external_delegate_options={pairs}"] if pairs else []
    return [f"--external_delegate_path={delegate.library}", *options]


def read_output(done: Completed, label: str, device: str, timeout: float | None = None) -> Printed:
    """What the tool printed, or the error that it ended with."""
    text = printable(done.stdout + "\n" + done.stderr)
    if done.returncode is None:
        raise RunError(f"{label}: no answer from {device} after {timeout:g} s", "give more time (--timeout)")
    if done.returncode < 0:
        raise RunError(f"{label}: benchmark_model was killed by signal {-done.returncode} on {device}", _CRASHED)
    if done.returncode != 0:
        raise _refused(text, label, device)
    return parse(text, device)


_CRASHED = "try --no-xnnpack; out of memory and a tool for another Android show the same way"


def _refused(text: str, label: str, device: str) -> RunError | ModelError:
    if missing := missing_operator(text):
        return RunError(
            f"{label}: benchmark_model on {device} has no {missing.kind} operator {missing.name!r}", missing.mend
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "Failed" in line or "error" in line] or lines[-1:]
    said = "; ".join(errors[:3]) or "it said nothing"
    if "not executable" in said or "not found" in said or "No such file" in said:
        return RunError(
            f"benchmark_model does not start on {device}: {said}", "give one built for the phone's processor"
        )
    return RunError(
        f"{label}: benchmark_model failed on {device}: {said}", "see whether `edgekit check` names a reason"
    )


def parse(text: str, device: str) -> Printed:
    """The tool's output as a value. Raises DeviceError naming what is missing in it."""
    summary = re.search(
        rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
        rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}",
        text,
    )
    phases = [phase for line in text.splitlines() if (phase := _phase(line)) is not None]
    if summary is None or len(phases) != 2:
        missing = "summary" if summary is None else f"two phases ({len(phases)} found)"
        raise DeviceError(f"{device}: no {missing} in what benchmark_model printed", "use an unchanged benchmark_model")
    memory = re.search(rf"footprint[^\n]*\(MB\): init={_NUMBER} overall={_NUMBER}", text)
    applied, (delegated, operators) = _applied(text), _replaced(text)
    found = Printed(
        init_seconds=float(summary[1]) * 1e-6,
        first_seconds=float(summary[2]) * 1e-6,
        warm_up=phases[0],
        steady=phases[1],
        approximate_init_bytes=None if memory is None else int(float(memory[1]) * _MEBI),
        approximate_overall_bytes=None if memory is None else int(float(memory[2]) * _MEBI),
        delegate=applied.delegate,
        delegate_partitions=applied.partitions,
        fully_delegated=applied.whole,
        delegated=delegated,
        operators=operators,
    )
    try:
        return msgspec.convert(msgspec.to_builtins(found), Printed)
    except msgspec.ValidationError as cause:
        raise DeviceError(f"{device}: benchmark_model printed an impossible value: {cause}", "run it again") from None


class _Applied(NamedTuple):
    """What the tool says of the first delegate that it applied, which is the one that was asked for."""

    delegate: str | None = None
    partitions: int | None = None
    whole: bool | None = None


def _applied(text: str) -> _Applied:
    found = re.search(
        r"(?:Explicitly applied|Though) ([A-Za-z0-9_ .-]{1,60}?) delegate[^\n]{0,60}? (completely|partially|not be) "
        r"executed by the delegate(?: w/ (\d{1,6}) delegate kernels)?",
        text,
    )
    if found is None:
        return _Applied()
    whole = found[2] == "completely"
    return _Applied(found[1], int(found[3]) if found[3] else int(whole), whole)


def _replaced(text: str) -> tuple[int | None, int | None]:
    """How many operators the first delegate took, of how many; None from tools that do not say it."""
    found = re.search(r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate", text)
    return (int(found[1]), int(found[2])) if found else (None, None)


def _phase(line: str) -> Phase | None:
    """One line `count=50 first=.. curr=.. min=.. max=.. avg=.. std=..`; of one run it is `count=1 curr=..`."""
    if not re.search(r"\bcount=\d", line):
        return None
    found = dict(re.findall(rf"\b(\w+)={_NUMBER}", line))
    only = found.get("curr")
    mean, least, most = (found.get(key, only) for key in ("avg", "min", "max"))
    if mean is None or least is None or most is None or not found["count"].isdecimal():
        return None
    return Phase(
        int(found["count"]),
        float(mean) * 1e-6,
        float(least) * 1e-6,
        float(most) * 1e-6,
        _seconds(found.get("std")),
        _seconds(found.get("median")),
        _seconds(found.get("p95")),
    )


def _seconds(microseconds: str | None) -> float | None:
    return None if microseconds is None else float(microseconds) * 1e-6


_PROPERTIES = {"model": "ro.product.model", "soc": "ro.soc.model", "android": "ro.build.version.release"}
_DESCRIBE = "; ".join(f'echo "{key}=$(getprop {name} 2>/dev/null)"' for key, name in _PROPERTIES.items()) + (
    '; echo "architecture=$(uname -m)"; echo "kernel=$(uname -r)"; echo "cores=$(nproc 2>/dev/null)"'
    '; echo "memory=$(grep MemTotal /proc/meminfo 2>/dev/null)"'
)
_CPU = "/sys/devices/system/cpu/cpu0/cpufreq"
_CONDITIONS = (
    f'echo "load=$(cat /proc/loadavg 2>/dev/null)"; echo "governor=$(cat {_CPU}/scaling_governor 2>/dev/null)"; '
    f'echo "khz=$(cat {_CPU}/scaling_cur_freq 2>/dev/null)"; '
    'for zone in /sys/class/thermal/thermal_zone*/temp; do echo "zone=$(cat $zone 2>/dev/null)"; done'
)


def describe_phone(device: Device) -> Phone:
    """What the phone says it is."""
    found = dict(_told(device, _DESCRIBE))
    memory = re.search(r"(\d{1,15}) kB", found.get("memory", ""))
    cores = _whole(found.get("cores", ""))
    return Phone(
        model=found.get("model") or None,
        soc=found.get("soc") or None,
        android=found.get("android") or None,
        architecture=found.get("architecture") or None,
        kernel=found.get("kernel") or None,
        cores=cores if cores is not None and 1 <= cores <= 1_000_000 else None,
        memory_bytes=int(memory[1]) * 1024 if memory else None,
    )


def conditions(device: Device) -> Conditions:
    """What can change from one second to the next; the hottest thermal zone that says a sound number."""
    told = _told(device, _CONDITIONS)
    found = dict(told)
    zones = [_whole(value) for key, value in told if key == "zone"]
    heat = [zone / 1000 for zone in zones if zone is not None and 0 < zone < 200_000]
    load = re.match(r"\d{1,6}\.\d{1,6}", found.get("load", ""))
    kilohertz = _whole(found.get("khz", ""))
    return Conditions(
        load_average=float(load[0]) if load else None,
        governor=found.get("governor") or None,
        frequency_hz=kilohertz * 1000 if kilohertz is not None and kilohertz >= 0 else None,
        temperature_celsius=max(heat, default=None),
    )


def _told(device: Device, script: str) -> list[tuple[str, str]]:
    """The lines `key=value` that a script on the device prints; long and odd ones are cut."""
    done = device.run(["sh", "-c", script], 60)
    rows = [line.partition("=") for line in printable(done.stdout).splitlines()[:1000]]
    return [(key, value.strip()[:200]) for key, _, value in rows]


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d{1,12}", text) else None
