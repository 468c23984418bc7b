"""Target: what one kind of board is, each claim with its source, as one frozen value.

Where *your* board is (an address, a serial number) is not here but in the device.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edgekit import strict_toml, target_checks, target_files
from edgekit.errors import TargetError
from edgekit.operators import OperatorTable, TableName, load_table
from edgekit.target_files import TargetFile

Family = Literal["linux", "edgetpu", "android", "microcontroller", "host"]
Bytes = Annotated[int, Meta(gt=0)]
Words = Annotated[str, Meta(min_length=1)]
Granularities = Annotated[tuple[Literal["per-channel", "per-tensor"], ...], Meta(min_length=1)]
_EITHER: Granularities = ("per-channel", "per-tensor")
Level = Annotated[int, Meta(ge=1)]


class Processor(Struct, frozen=True, forbid_unknown_fields=True):
    """The cores that run the model."""

    core: Annotated[Words, Meta(description="Core design.", examples=["Cortex-A72"])]
    architecture: Annotated[
        Literal["aarch64", "armv7l", "x86_64", "armv6-m", "armv7e-m", "armv8-m", "armv8.1-m", "xtensa", "any"],
        Meta(description="Instruction set of the cores."),
    ]
    cores: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="How many of them; left out where boards of this kind differ.", examples=[4]),
    ] = None
    clock_hz: Annotated[
        Annotated[int, Meta(gt=0)] | None,
        Meta(description="Highest documented clock, in hertz.", examples=[1_500_000_000]),
    ] = None


class Memory(Struct, frozen=True, forbid_unknown_fields=True):
    """In bytes; of the smallest board that is sold; left out where boards of this kind differ."""

    ram_bytes: Annotated[Bytes | None, Meta(description="Working memory.", examples=[262_144])] = None
    flash_bytes: Annotated[
        Bytes | None,
        Meta(
            description="Program memory that also holds the model; left out on boards with a file system on a card.",
            examples=[1_048_576],
        ),
    ] = None
    accelerator_cache_bytes: Annotated[
        Bytes | None,
        Meta(
            description="Memory for parameters on the accelerator itself; more is streamed at each inference.",
            examples=[8_388_608],
        ),
    ] = None


class Runtime(Struct, frozen=True, forbid_unknown_fields=True):
    """What executes the file on the board."""

    packages: Annotated[
        tuple[Literal["ai-edge-litert", "tflite-runtime", "tflite-micro"], ...],
        Meta(min_length=1, description="Runtimes that have a build for this board, the preferred one first."),
    ]
    delegates: Annotated[
        tuple[Literal["xnnpack", "edgetpu", "gpu", "nnapi", "ethos-u"], ...],
        Meta(description="Accelerators and optimized kernels.", examples=[["xnnpack"]]),
    ] = ()
    api_level: Annotated[
        Level | None,
        Meta(description="API level of the oldest Android that is meant: NNAPI takes what it has.", examples=[30]),
    ] = None
    edgetpu_runtime: Annotated[
        Level | None,
        Meta(description="Version of the Edge TPU runtime on the board, where it is not the newest.", examples=[13]),
    ] = None


class Numerics(Struct, frozen=True, forbid_unknown_fields=True):
    """Which number formats run; the first of each list is what a recipe's `auto` becomes."""

    schemes: Annotated[
        tuple[Literal["float32", "float16", "dynamic-int8", "int8", "int16x8"], ...],
        Meta(min_length=1, description="Number formats of a file, the preferred one first."),
    ]
    recommended: Annotated[
        Words, Meta(description="The recipe used when you name none: a phrase such as `int8` or `int8:io=uint8`.")
    ]
    io: Annotated[
        tuple[Literal["float32", "int8", "uint8", "int16"], ...],
        Meta(min_length=1, description="Types of inputs and outputs."),
    ] = ("float32", "int8", "uint8", "int16")
    granularity: Annotated[
        Granularities,
        Meta(description="One weight scale for each output channel (`per-channel`), or one for the tensor."),
    ] = _EITHER
    dense_granularity: Annotated[
        Granularities,
        Meta(
            description="The same for dense layers: older kernels read one scale only, and compute wrong values in "
            "silence."
        ),
    ] = _EITHER
    engine: Annotated[Literal["litert", "converter"], Meta(description="The quantizer that makes int8 files.")] = (
        "converter"
    )
    static_shapes: Annotated[
        bool,
        Meta(description="True where open dimensions (a dynamic batch) do not run, or not on the accelerator."),
    ] = False
    channel_multiple: Annotated[
        int,
        Meta(
            ge=1,
            description="Channel counts are kept at multiples of this number when layers are shrunk, or of its half, "
            "quarter and so on where a budget cannot be met otherwise.",
        ),
    ] = 8


class Operators(Struct, frozen=True, forbid_unknown_fields=True):
    """Which operators run."""

    table: Annotated[TableName, Meta(description="Operator table: a file in `operators/`.")]
    fallback: Annotated[
        TableName | None,
        Meta(
            description="Table for what the first one lacks: the rest of an Edge TPU model runs on the CPU; left out: "
            "it does not run.",
            examples=["litert"],
        ),
    ] = None
    custom: Annotated[bool, Meta(description="True if custom operators can be linked in.")] = False
    flex: Annotated[bool, Meta(description="True if TensorFlow (Flex) operators run.")] = False


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """What a model may take at most, in bytes; `edgekit check` holds the file against it."""

    file_bytes: Annotated[Bytes | None, Meta(description="Size of the `.tflite` file.", examples=[500_000])] = None
    arena_bytes: Annotated[
        Bytes | None, Meta(description="Working memory of the model on a microcontroller.", examples=[131_072])
    ] = None


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """What one kind of board is. Load one with `load_target("raspberry-pi-4")`."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9-]*$",
            description="What you type; in a folder of targets the name of the file: small letters, digits and `-`.",
        ),
    ]
    title: Annotated[Words, Meta(description="The board as people call it.")]
    family: Annotated[Family, Meta(description="What kind of board it is.")]
    processor: Processor
    runtime: Runtime
    numerics: Numerics
    operators: Operators
    sources: Annotated[
        dict[str, str],
        Meta(
            description="Where each claim comes from: a table (`memory`) or one fact of it (`memory.ram_bytes`), and "
            "an address with the fact in words. The source of a fact goes before that of its table."
        ),
    ]
    memory: Memory = Memory()
    budget: Budget = Budget()
    notes: Annotated[
        tuple[str, ...],
        Meta(
            description="Sentences a user should read: which variant of the board is meant, what could not be verified."
        ),
    ] = ()
    extends: Annotated[
        str | None,
        Meta(
            description="Another target that this one is like: its name, or the path of its file from this one.",
            examples=["raspberry-pi-4"],
        ),
    ] = None
    format_version: Annotated[Literal[1], Meta(description="Version of this format; may be left out.")] = 1

    @property
    def planner(self) -> Literal["litert", "micro"]:
        """The runtime that lays its tensors out, as `edgekit.tflite.memory_plan` names it."""
        return "micro" if "tflite-micro" in self.runtime.packages else "litert"

    @property
    def kind(self) -> str:
        """Its family, but `edgetpu-micro` where a firmware runs what an Edge TPU leaves over."""
        return "edgetpu-micro" if (self.family, self.planner) == ("edgetpu", "micro") else self.family

    def source_of(self, claim: str) -> str:
        """Source of a claim such as `memory.ram_bytes`, its own or that of its table; empty where there is none."""
        return self.sources.get(claim) or self.sources.get(claim.partition(".")[0], "")

    def claims(self) -> list[tuple[str, object]]:
        """Every claim of the tables that is not null, as (`table.key`, value), in the order of the schema."""
        return [
            (f"{table}.{key}", value)
            for table in TABLES
            for key in getattr(self, table).__struct_fields__
            if (value := getattr(getattr(self, table), key)) is not None
        ]

    def operator_tables(self) -> tuple[OperatorTable, ...]:
        """The operator table, then that of the fallback if there is one."""
        names = (self.operators.table, self.operators.fallback)
        return tuple(load_table(name) for name in names if name is not None)


TABLES: dict[str, type[Struct]] = {
    "processor": Processor,
    "memory": Memory,
    "runtime": Runtime,
    "numerics": Numerics,
    "operators": Operators,
    "budget": Budget,
}


def target_names() -> list[str]:
    """Names of the shipped targets, sorted."""
    return [file.name for file in target_files.shipped()]


def load_target(name: str | Path | TargetFile | Target) -> Target:
    """A target by name (your folders, then the shipped ones: `target_files`), or by the path of its TOML file.

    One that is loaded already is given back.

    Raises TargetError for an unknown or ambiguous name, a file that does not fit, or a claim without a source.
    """
    if isinstance(name, Target):
        return name
    return _loaded(name if isinstance(name, TargetFile) else target_files.find(name))


def file_schema() -> dict[str, Any]:
    """JSON schema of a target file: a whole one, or one that extends another and says what differs."""
    schema = strict_toml.json_schema(Target)
    for name, part in list(schema["$defs"].items()):
        needed = {"required": ["name", "title", "extends"]} if name == "Target" else {}
        schema["$defs"][f"{name}Part"] = _partial(part) | needed
    return schema | {"anyOf": [{"$ref": schema.pop("$ref")}, {"$ref": "#/$defs/TargetPart"}]}


def _partial(node: Any) -> Any:
    """A part of the schema in which no key is required."""
    if isinstance(node, list):
        return [_partial(item) for item in node]
    if not isinstance(node, dict):
        return f"{node}Part" if isinstance(node, str) and node.startswith("#/$defs/") else node
    return {key: _partial(item) for key, item in node.items() if key != "required"}


def parent_of(extends: str, child: TargetFile) -> Target:
    """The target that a file extends.

    Raises TargetError if there is none, if it cannot be used, or if it extends another one and is not a shipped one.
    """
    try:
        return _loaded(target_files.parent(extends, child), child)
    except TargetError as fault:
        raise TargetError(f"{child.path}: extends: {fault.problem}", fault.mend) from None


def _loaded(file: TargetFile, child: TargetFile | None = None) -> Target:
    target = strict_toml.load(file.path, Target, TargetError, complete=partial(_completed, file=file, child=child))
    problems = [*target_checks.misnamed(target, file), *target_checks.faults(target)]
    if problems:
        raise TargetError(f"{file.path}: " + "; ".join(problems), "run `edgekit targets validate` after correcting it")
    return target


def _completed(tables: dict[str, Any], file: TargetFile, child: TargetFile | None) -> dict[str, Any]:
    """What a file says, and for the rest what the target says that it extends."""
    extends = tables.get("extends")
    if not isinstance(extends, str):
        return tables
    if child is not None:
        target_files.refuse_chain(extends, file, child)
    return target_files.extended(tables, parent_of(extends, file))
