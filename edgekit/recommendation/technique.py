"""What is said of one technique, and of all: frozen values, each number with where it is from."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from edgekit.errors import RecipeError

Resource = Literal["file", "download", "ram", "latency"]
Verdict = Literal["pays", "pays-little", "does-not-pay", "not-allowed"]
Need = Literal["calibration data", "training data", "training"]

ORDER: dict[Verdict, int] = {"pays": 0, "pays-little": 1, "does-not-pay": 2, "not-allowed": 3}


class Size(Struct, frozen=True):
    """What a variant takes, in bytes, and its multiply-accumulates.

    `converted`: of a file that was really made of this model, with untrained weights and ranges of random inputs.
    `planned`: computed from the plan of the technique and the file before it, an estimate; what a plan does not tell is
    null. `download_bytes` is the file after DEFLATE, `streamed_bytes` what an accelerator is sent at each inference.
    """

    kind: Literal["converted", "planned"]
    file_bytes: int
    macs: int
    download_bytes: int | None = None
    ram_bytes: Annotated[int | None, Meta(description="Tensors between operators, and states.")] = None
    streamed_bytes: int | None = None


class Latency(Struct, frozen=True):
    """Seconds of one inference: measured on this host, estimated from published figures, or unknown with the reason.

    Only `measured` was timed; `low` and `high` are the band of an estimate, or the 95 % interval of a measured median.
    A file that this host's runtime did not run is `refused`.
    """

    kind: Literal["measured", "estimate", "unknown", "refused"]
    basis: str
    seconds: float | None = None
    low: float | None = None
    high: float | None = None


class Technique(Struct, frozen=True):
    """What one technique would bring to a model on a target, beside a reference (`beside`: a number format).

    `name` is its word in a recipe, `phrase` the recipe to try, empty where there is none. `saves` are shares of what
    the reference takes; a negative one is a loss. `evidence` is what was measured on other networks.
    """

    name: str
    verdict: Verdict
    reason: str
    phrase: str = ""
    beside: str = ""
    saves: dict[Resource, float] = {}
    size: Size | None = None
    latency: Latency | None = None
    needs: tuple[Need, ...] = ()
    risk: str = ""
    evidence: str = ""
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The word without its number: `channels` of `channels50`; a number format as it is."""
        return self.name if "int" in self.name or "float" in self.name else self.name.rstrip("0123456789")

    @property
    def worth_trying(self) -> bool:
        """False for what does not pay here, or is not allowed."""
        return ORDER[self.verdict] < ORDER["does-not-pay"]


class Limits(Struct, frozen=True):
    """What a variant may take at most, in bytes and seconds; null where nothing was asked."""

    file_bytes: int | None = None
    seconds: float | None = None
    ram_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise RecipeError(f"a limit of {value} {name.replace('_', ' ')}", "give a limit above 0, or none")

    def __bool__(self) -> bool:
        return any(getattr(self, name) is not None for name in self.__struct_fields__)

    def meets(self, size: Size | None, latency: Latency | None) -> dict[str, bool | None]:
        """Of each limit that was given whether it is expected to be met; None where that is not known."""
        pairs: dict[str, tuple[float | None, float | None]] = {
            "file": (size.file_bytes if size else None, self.file_bytes),
            "latency": (latency.seconds if latency else None, self.seconds),
            "ram": (size.ram_bytes if size else None, self.ram_bytes),
        }
        return {
            name: None if taken is None else taken <= most for name, (taken, most) in pairs.items() if most is not None
        }


class Suggestion(Struct, frozen=True):
    """A whole recipe to try, the command that tries it, and what it is expected to take.

    `meets` says of each limit that was given whether it is expected to be met; null where that is not known.
    """

    recipe: str
    why: str
    command: str
    size: Size | None = None
    latency: Latency | None = None
    meets: dict[str, bool | None] = {}

    @property
    def could_meet(self) -> bool:
        """True if no limit is known to be missed."""
        return False not in self.meets.values()


class Recommendation(Struct, frozen=True):
    """Everything said of a model on a target, the techniques that pay first.

    `reference` is the file that number formats are held against: the float32 one, or a finished file as it came.
    `deployed` is what the techniques of the network are held against, in the format `numeric`.
    """

    model: str
    target: str
    numeric: str
    reference: Size
    reference_latency: Latency
    techniques: tuple[Technique, ...]
    suggestions: tuple[Suggestion, ...]
    limits: Limits = Limits()
    deployed: Size | None = None
    reference_numeric: str = "float32"
    advice: tuple[str, ...] = ()
