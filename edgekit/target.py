"""Target: what one kind of board is, each claim with its source, as one frozen value.

Where *your* board is (an address, a serial number) is not here but in the device.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from edgekit import strict_toml
from edgekit.errors import TargetError, did_you_mean
from edgekit.operators import OperatorTable, TableName, load_table

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Family = Literal["linux", "edgetpu", "android", "microcontroller", "host"]
Bytes = Annotated[int, Meta(gt=0)]


class Processor(Struct, frozen=True, forbid_unknown_fields=True):
    """The cores that run the model."""

    core: Annotated[str, Meta(description="Core design, for example Cortex-A72.")]
    architecture: Literal["aarch64", "armv7l", "x86_64", "armv7e-m", "armv8.1-m", "xtensa", "any"]
    cores: Annotated[int, Meta(ge=1)] | None = None
    clock_hz: Annotated[int, Meta(gt=0)] | None = None


class Memory(Struct, frozen=True, forbid_unknown_fields=True):
    """Memory of the board; null where boards of this kind differ."""

    ram_bytes: Bytes | None = None
    flash_bytes: Bytes | None = None
    accelerator_cache_bytes: Annotated[
        Bytes | None, Meta(description="On-chip parameter memory of an accelerator.")
    ] = None


class Runtime(Struct, frozen=True, forbid_unknown_fields=True):
    """What executes the file on the board."""

    packages: Annotated[
        tuple[Literal["ai-edge-litert", "tflite-runtime", "tflite-micro"], ...],
        Meta(min_length=1, description="Runtimes with a build for this board, the preferred one first."),
    ]
    delegates: tuple[Literal["xnnpack", "edgetpu", "gpu", "nnapi", "ethos-u"], ...] = ()


class Numerics(Struct, frozen=True, forbid_unknown_fields=True):
    """Which number formats run, the preferred one first in each list."""

    schemes: Annotated[tuple[Literal["float32", "float16", "dynamic-int8", "int8", "int16x8"], ...], Meta(min_length=1)]
    recommended: Annotated[str, Meta(description="Recipe used when the user names none.")]
    io: Annotated[tuple[Literal["float32", "int8", "uint8", "int16"], ...], Meta(min_length=1)] = (
        "float32",
        "int8",
        "uint8",
        "int16",
    )
    granularity: Annotated[tuple[Literal["per-channel", "per-tensor"], ...], Meta(min_length=1)] = (
        "per-channel",
        "per-tensor",
    )
    dense_granularity: Annotated[tuple[Literal["per-channel", "per-tensor"], ...], Meta(min_length=1)] = (
        "per-channel",
        "per-tensor",
    )
    engine: Literal["litert", "converter"] = "converter"
    static_shapes: Annotated[bool, Meta(description="Dynamic dimensions do not run, or not on the accelerator.")] = (
        False
    )
    channel_multiple: Annotated[int, Meta(ge=1, description="Channel counts the kernels like.")] = 8


class Operators(Struct, frozen=True, forbid_unknown_fields=True):
    """Which operators run."""

    table: Annotated[TableName, Meta(description="Table of what runs, a file in targets/operators/.")]
    fallback: Annotated[
        TableName | None, Meta(description="Table for operators that the first one lacks; null: they do not run.")
    ] = None
    custom: Annotated[bool, Meta(description="Custom operators can be linked in.")] = False
    flex: Annotated[bool, Meta(description="TensorFlow (Flex) operators run.")] = False


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """What a model may take at most, by default; users tighten it per call."""

    file_bytes: Bytes | None = None
    arena_bytes: Bytes | None = None


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """What one kind of board is. Load one with `load_target("raspberry-pi-4")`."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    family: Family
    processor: Processor
    runtime: Runtime
    numerics: Numerics
    operators: Operators
    sources: Annotated[
        dict[str, str], Meta(description="Key (`memory.ram_bytes`) or table (`memory`) -> where the claim comes from.")
    ]
    memory: Memory = Memory()
    budget: Budget = Budget()
    notes: tuple[str, ...] = ()
    format_version: Literal[1] = 1

    def source_of(self, claim: str) -> str:
        """Source of a claim such as `memory.ram_bytes`, its own or that of its table; empty where there is none."""
        return self.sources.get(claim) or self.sources.get(claim.partition(".")[0], "")

    def claims(self) -> list[tuple[str, object]]:
        """Every claim of the tables that is not null, as (`table.key`, value), in the order of the schema."""
        return [
            (f"{table}.{key}", value)
            for table in _TABLES
            for key in getattr(self, table).__struct_fields__
            if (value := getattr(getattr(self, table), key)) is not None
        ]

    def operator_tables(self) -> tuple[OperatorTable, ...]:
        """The operator table, then that of the fallback if there is one."""
        names = (self.operators.table, self.operators.fallback)
        return tuple(load_table(name) for name in names if name is not None)


_TABLES = ("processor", "memory", "runtime", "numerics", "operators", "budget")


def target_names() -> list[str]:
    """Names of the shipped targets, sorted."""
    return sorted(item.name.removesuffix(".toml") for item in _folder().iterdir() if item.name.endswith(".toml"))


def load_target(name: str | Path) -> Target:
    """A shipped target by name, or one of yours by the path of its TOML file.

    Raises TargetError for an unknown name, a file that does not fit, or a claim without a source.
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        path = Path(name)
        target = strict_toml.load(path, Target, TargetError)
    else:
        if name not in target_names():
            raise TargetError(f"unknown target {name!r}", did_you_mean(name, target_names()))
        with resources.as_file(_folder() / f"{name}.toml") as path:
            target = strict_toml.load(path, Target, TargetError)
    if problems := validate(target):
        raise TargetError(f"{path}: " + "; ".join(problems), "run `edgekit targets validate` after correcting it")
    return target


def _folder() -> Traversable:
    return resources.files("edgekit.targets")


def validate(target: Target) -> list[str]:
    """Named checks beyond the schema; an empty list where all pass."""
    return [f"{check.__name__.strip('_')}: {fault}" for check in _CHECKS for fault in check(target)]


def _cited(target: Target) -> list[str]:
    """Every claim has a source, its own or that of its table."""
    return [f"no source for {claim}" for claim, _ in target.claims() if not target.source_of(claim).strip()]


def _recommended(target: Target) -> list[str]:
    """The recommended recipe is one this target can run."""
    from edgekit.errors import RecipeError
    from edgekit.recipe import Recipe

    try:
        Recipe.parse(target.numerics.recommended).resolve(target)
    except RecipeError as fault:
        return [f"numerics.recommended: {fault.problem}" + (f" ({fault.mend})" if fault.mend else "")]
    return []


def _known_sources(target: Target) -> list[str]:
    """Sources name keys that exist."""
    known = {*_TABLES, *(f"{table}.{key}" for table in _TABLES for key in getattr(target, table).__struct_fields__)}
    unknown = sorted(target.sources.keys() - known)
    return [f"sources: unknown key {key!r}, {did_you_mean(key, known)}" for key in unknown]


def _fits(target: Target) -> list[str]:
    """Budgets are not larger than the memory they are for."""
    pairs = (("file_bytes", "flash_bytes"), ("arena_bytes", "ram_bytes"))
    return [
        f"budget.{budget} is larger than memory.{memory}"
        for budget, memory in pairs
        if (getattr(target.budget, budget) or 0) > (getattr(target.memory, memory) or float("inf"))
    ]


def _fallback(target: Target) -> list[str]:
    """A fallback is another table than the first."""
    same = target.operators.fallback == target.operators.table
    return [f"operators.fallback: {target.operators.fallback!r} is the first table itself"] if same else []


_CHECKS = (_cited, _recommended, _known_sources, _fits, _fallback)
