"""What is measured, how long, and with which runtime: decided before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from edgekit.device.wheels import RuntimeName as RuntimeName
from edgekit.errors import InputError

Seconds = Annotated[float, Meta(ge=0)]
Word = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
Cores = Annotated[tuple[Annotated[int, Meta(ge=0, lt=4096)], ...], Meta(max_length=4096)]

METER = r"^/[^\x00-\x1f\x7f-\x9f]*=u[JW]\Z"

_OF_THE_TOOL = ("gpu", "nnapi")


class Delegate(Struct, frozen=True, forbid_unknown_fields=True):
    """A delegate that is asked for: the library of an external one on the device, or `gpu` or `nnapi`.

    The two words are delegates that `benchmark_model` has inside. Options are handed to the library as they are.
    """

    library: Word
    options: dict[Word, Annotated[str, Meta(max_length=500)]] = {}

    @property
    def of_the_tool(self) -> bool:
        """True for a delegate that only `benchmark_model` has."""
        return self.library in _OF_THE_TOOL


def delegate_for(text: str, options: Sequence[str] = ()) -> Delegate:
    """The delegate that `--delegate` names: `edgetpu[:usb|:pci][:N]`, `gpu`, `nnapi`, or a library on the device.

    Edge TPUs are named as in Coral's `make_interpreter` (`usb`, `usb:0`, `:1`). Raises InputError.
    """
    pairs = dict(_pair(option) for option in options)
    kind, _, which = text.partition(":")
    if kind != "edgetpu":
        return Delegate(text, pairs)
    bus, _, number = which.rpartition(":") if which[-1:].isdigit() else (which, "", "")
    if bus not in ("", "usb", "pci") or (number and not number.isdigit()):
        raise InputError(f"{text!r} names no Edge TPU", "write edgetpu, edgetpu:usb, edgetpu:pci:0 or edgetpu:1")
    device = f"{bus}:{number}" if number else bus
    return Delegate("libedgetpu.so.1", ({"device": device} if device else {}) | pairs)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"the delegate option {text!r} is not KEY=VALUE", "write for example num_threads=2")
    return key, value


class WarmUp(Struct, frozen=True, forbid_unknown_fields=True):
    """Runs in windows until the medians of two neighbours differ by at most `tolerance`, or time is over."""

    window_runs: Annotated[int, Meta(ge=1)] = 3
    window_seconds: Seconds = 0.05
    tolerance: Annotated[float, Meta(ge=0)] = 0.02
    max_seconds: Seconds = 1.0


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """How one model is measured.

    Steady runs stop after `min_runs` and `min_seconds`, or at `max_runs` or `max_seconds`, whichever comes first.
    With a `precision` they go on until the 95 % interval of the median is within that share of it, but no further than
    the most. `with_io` has setting the inputs and reading the outputs in the time. `cpus` are the cores to stay on; all
    may be used where none are named. `meter` is a file on the device with microjoules or microwatts, as `/path=uJ` or
    `/path=uW`; without one the agent takes what the kernel has.
    """

    threads: Annotated[int, Meta(ge=1)] = 1
    xnnpack: bool = True
    runtime: RuntimeName = "auto"
    min_runs: Annotated[int, Meta(ge=1)] = 30
    max_runs: Annotated[int, Meta(ge=1)] = 50_000
    min_seconds: Seconds = 1.0
    max_seconds: Seconds = 10.0
    warm_up: WarmUp = WarmUp()
    seed: Annotated[int, Meta(ge=0)] = 0
    cpus: Cores = ()
    delegate: Delegate | None = None
    precision: Annotated[float, Meta(gt=0, lt=1)] | None = None
    with_io: bool = False
    meter: Annotated[str, Meta(max_length=500, pattern=METER)] | None = None

    def __post_init__(self) -> None:
        if self.min_runs > self.max_runs or self.min_seconds > self.max_seconds:
            raise ValueError("the least runs and seconds must not be above the most")

    @property
    def running(self) -> dict[str, Any]:
        """How the model runs, whatever is measured: arguments of `infer`."""
        return {name: getattr(self, name) for name in ("threads", "xnnpack", "runtime", "cpus", "delegate")}

    @property
    def in_words(self) -> str:
        """Threads, cores and delegate, as `2 threads on cores 2, 3, XNNPACK`."""
        cores = f" on cores {', '.join(map(str, self.cpus))}" if self.cpus else ""
        asked = [self.delegate.library] if self.delegate is not None else []
        default = "XNNPACK" if self.xnnpack else "no XNNPACK"
        return ", ".join([f"{self.threads} thread{'s' * (self.threads > 1)}{cores}", *asked, default])

    @property
    def fixed_runs(self) -> bool:
        """True if the number of runs was asked for, whatever time they take."""
        return self.min_runs == self.max_runs


def plan_for(
    runs: int | None = None,
    seconds: float | None = None,
    threads: int = 1,
    xnnpack: bool = True,
    runtime: RuntimeName = "auto",
    seed: int = 0,
    cpus: tuple[int, ...] = (),
    delegate: Delegate | None = None,
    precision: float | None = None,
    with_io: bool = False,
    meter: str | None = None,
) -> Plan:
    """A plan for exactly `runs` runs, or for at least `seconds` of them, or the default; never both limits.

    With a `precision` they are the most that it may take (default: 60 seconds), and both may be given.
    """
    return Plan(
        threads=threads,
        xnnpack=xnnpack,
        runtime=runtime,
        seed=seed,
        cpus=cpus,
        delegate=delegate,
        with_io=with_io,
        meter=meter,
        precision=precision,
        **_limits(runs, seconds, precision),  # type: ignore[arg-type]
    )


def _limits(runs: int | None, seconds: float | None, precision: float | None) -> dict[str, float]:
    if precision is not None:
        most = seconds or 60.0
        least = {"min_runs": min(30, runs or 30), "min_seconds": min(1.0, most)}
        return {**least, "max_runs": runs or 1_000_000, "max_seconds": most}
    if runs is not None and seconds is not None:
        raise ValueError("give runs or seconds, not both")
    if runs is not None:
        return {"min_runs": runs, "max_runs": runs, "min_seconds": 0.0, "max_seconds": 3600.0}
    if seconds is not None:
        return {"min_runs": 2, "max_runs": 1_000_000, "min_seconds": seconds, "max_seconds": seconds}
    return {}
