"""Budget: what a file may lose and take to be accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from msgspec import Struct, structs

from edgekit.errors import DataError, InputError
from edgekit.gate import Gate
from edgekit.metrics import Score, higher_is_better
from edgekit.search.point import Cost, Loss
from edgekit.target import Target
from edgekit.tflite.inspect import ModelContents
from edgekit.units import format_bytes, format_seconds, parse_bytes, parse_seconds

_ELSEWHERE = {"edgetpu", "gpu", "nnapi", "ethos-u"}
"""Delegates that keep tensors in memory of their own, which no plan of the file shows."""


class Budget(Struct, frozen=True):
    """The floor of the metric and the most of each resource; None where anything goes.

    `max_bytes` is the file as it lies on the device, `max_download` deflated, `max_ram` the tensors between operators
    and states, `max_latency` seconds of one inference. `min_score` is a floor in the metric itself.
    """

    max_drop: Gate | None = None
    min_score: float | None = None
    max_bytes: int | None = None
    max_download: int | None = None
    max_latency: float | None = None
    max_ram: int | None = None

    @classmethod
    def parse(
        cls,
        max_drop: str | float | None = None,
        min_score: float | None = None,
        max_bytes: str | int | None = None,
        max_download: str | int | None = None,
        max_latency: str | float | None = None,
        max_ram: str | int | None = None,
    ) -> Budget:
        """`"1%"`, `"300K"`, `"10ms"`; numbers are bytes and seconds. Raises InputError for what is none of them."""
        return cls(
            None if max_drop is None else Gate.parse(max_drop),
            min_score,
            _size("max-bytes", max_bytes),
            _size("max-download", max_download),
            _amount("max-latency", max_latency, parse_seconds),
            _size("max-ram", max_ram),
        )

    def refuse(self, target: Target) -> None:
        """Raise InputError for a budget that the target alone shows to be impossible, or that nothing could exceed."""
        if self.max_drop is None and self.min_score is None:
            raise InputError("a search without a floor accepts every loss", "say --max-drop 1%, or --min-score 0.9")
        flash, ram = target.memory.flash_bytes, target.memory.ram_bytes
        if self.max_bytes and flash and self.max_bytes > flash:
            raise _larger("max-bytes", self.max_bytes, target, flash)
        if self.max_ram and ram and self.max_ram > ram:
            raise _larger("max-ram", self.max_ram, target, ram)
        if self.max_ram and not plans_memory(target):
            units = " and ".join(sorted(_ELSEWHERE & set(target.runtime.delegates)))
            raise InputError(
                f"--max-ram on {target.name}: {units} keeps tensors in memory of its own, which nothing here can tell",
                "leave --max-ram out for this target",
            )

    def refuse_floor(self, reference: tuple[Score, ...], metric: str) -> None:
        """Raise DataError for a floor that does not go with the metric, or that the float model is already below."""
        if self.max_drop and self.max_drop.heads:
            raise DataError(
                "a search weighs one loss, and --max-drop names outputs",
                "give one bound for all, and hold the result with `edgekit optimize --max-drop NAME=DROP`",
            )
        if self.max_drop:
            self.max_drop.check(metric)
        if self.min_score is None:
            return
        if len(reference) != 1:
            raise DataError(f"--min-score, and {len(reference)} outputs are judged", "use --max-drop")
        value = reference[0].value
        if value < self.min_score if higher_is_better(metric) else value > self.min_score:
            raise DataError(
                f"the floor {self.min_score:g} is beyond the float model, whose {metric} on the validation part is "
                f"{value:.4g}",
                "a search loses little, and never gains much: lower --min-score, or train a better model",
            )

    def refuse_file(self, contents: ModelContents) -> None:
        """Raise InputError for a size below what the network takes without any weight."""
        least = contents.file_bytes - contents.parameter_bytes
        if self.max_bytes and self.max_bytes < least:
            raise InputError(
                f"--max-bytes {format_bytes(self.max_bytes)}: without a single weight the file takes "
                f"{format_bytes(least)}",
                "raise --max-bytes, or give a model of fewer layers",
            )

    def greatest_loss(self, reference: tuple[Score, ...], metric: str) -> float:
        """The most that may be lost, in the unit of the metric."""
        found = [self.max_drop.max_drop] if self.max_drop and self.max_drop.max_drop is not None else []
        if self.min_score is not None:
            gap = reference[0].value - self.min_score
            found.append(gap if higher_is_better(metric) else -gap)
        return min(found)

    def excess(self, cost: Cost) -> dict[str, float]:
        """By how large a share of itself each budget is exceeded, for those that are.

        By all of it are an unknown latency, and `target` by what cannot run there.
        """
        pairs = {
            "bytes": (cost.file_bytes, self.max_bytes),
            "download": (cost.deflated_bytes, self.max_download),
            "latency": (cost.latency, self.max_latency),
            "ram": (cost.arena_bytes, self.max_ram),
        }
        found = {name: have / most - 1 for name, (have, most) in pairs.items() if have and most and have > most}
        found |= {"latency": 1.0} if self.max_latency and cost.latency is None else {}
        return found | ({"target": 1.0} if cost.faults else {})

    def over(self, cost: Cost) -> str:
        """What of a file is over budget, in words; empty where nothing is."""
        said = {
            "bytes": (cost.file_bytes, self.max_bytes, format_bytes),
            "download": (cost.deflated_bytes, self.max_download, format_bytes),
            "latency": (cost.latency, self.max_latency, format_seconds),
            "ram": (cost.arena_bytes, self.max_ram, format_bytes),
        }
        return ", ".join(
            f"the target does not run it: {'; '.join(cost.faults)}"
            if name == "target"
            else f"{name} is not known"
            if said[name][0] is None
            else f"{name} {said[name][2](said[name][0])} is over {said[name][2](said[name][1])}"
            for name in self.excess(cost)
        )

    @property
    def resources(self) -> bool:
        """Whether a resource has a budget."""
        return any((self.max_bytes, self.max_download, self.max_latency, self.max_ram))


def keeps(loss: Loss, floor: float) -> bool:
    """Whether a loss is within the floor; an equal one is, whatever the rounding of a difference of shares."""
    return loss.value <= floor + 1e-9


def nearly(loss: Loss, floor: float) -> bool:
    """Whether a loss is beyond the floor, and its interval leaves open that it is not."""
    return not keeps(loss, floor) and loss.low <= floor


def sure(loss: Loss, floor: float) -> bool:
    """Whether the whole interval of a loss is within the floor."""
    return loss.high <= floor + 1e-9


def plans_memory(target: Target) -> bool:
    """Whether the arena of a file says what working memory it takes on the target."""
    return not _ELSEWHERE & set(target.runtime.delegates)


def timed_by_devices(target: Target) -> bool:
    """Whether a board that answers runs a file as the target does: on its processor, under Linux or Android."""
    return plans_memory(target) and target.family != "microcontroller"


def _larger(option: str, asked: int, target: Target, have: int) -> InputError:
    return InputError(
        f"--{option} {format_bytes(asked)}: {target.name} has only {format_bytes(have)}",
        "lower it, or leave it out; or write a target file of your own board",
    )


def _size(option: str, given: str | int | None) -> int | None:
    found = _amount(option, given, parse_bytes)
    return None if found is None else int(found)


def _amount(option: str, given: str | float | None, parse: Callable[[str], float]) -> float | None:
    if given is None:
        return None
    try:
        found = parse(given) if isinstance(given, str) else given
    except ValueError as cause:
        problem, _, mend = str(cause).partition("; ")
        raise InputError(f"--{option}: {problem}", mend or "give more, or leave it out") from None
    if not found > 0:
        raise InputError(f"--{option} {given}: a budget of nothing", "give more, or leave it out")
    return found


def shown(budget: Budget) -> str:
    """The budget in a few words."""
    words = [f"lose at most {budget.max_drop.max_drop:g}"] if budget.max_drop else []
    words += [f"reach {budget.min_score:g}"] if budget.min_score is not None else []
    words += [f"{name} {format_bytes(value)}" for name, value in _sizes(budget) if value]
    words += [f"latency {format_seconds(budget.max_latency)}"] if budget.max_latency else []
    return ", ".join(words)


def _sizes(budget: Budget) -> list[tuple[str, int | None]]:
    fields = structs.asdict(budget)
    return [(name, fields[f"max_{name}"]) for name in ("bytes", "download", "ram")]


def blurred(losses: Sequence[Loss], floor: float) -> str:
    """That the samples are too few to tell a loss within the floor from one beyond it; empty where they are not."""
    width = median([one.high - one.value for one in losses]) if losses else 0.0
    if not 0 < floor < width:
        return ""
    enough = float(f"{losses[0].samples * (width / floor) ** 2:.1g}")
    return (
        f"{losses[0].samples:,} validation samples tell a loss to {width:.2g} only, and the floor is {floor:.2g}: "
        f"what keeps it here may break it elsewhere; about {enough:,.0f} would do"
    )
