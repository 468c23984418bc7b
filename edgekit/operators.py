"""Operator tables: which TFLite operators a runtime or an accelerator executes, as data with a source.

One strict TOML file a table in `targets/operators/`. A target names its table, and may name a second one for what the
first leaves over (an Edge TPU board hands the rest to the CPU).
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from msgspec import Meta, Struct

from edgekit import strict_toml
from edgekit.errors import TargetError

Count = Annotated[int, Meta(ge=1)]
TableName = Literal["litert", "edgetpu", "tflite-micro", "gpu", "nnapi"]
Kind = Literal["float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool"]
Index = Annotated[int, Meta(ge=0)]
Kernel = Annotated[str, Meta(pattern=r"^\w+(\|\w+)*(, \w+(\|\w+)*)*(, \.\.\.)?( -> \w+(\|\w+)*)?$")]

_TYPE = re.compile(r"\bT\b")


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """What is documented about one operator; empty means: it runs, and no limit is documented."""

    limits: Annotated[str, Meta(description="The documented limitation, in words.")] = ""
    since: Annotated[Count | None, Meta(description="Lowest runtime version that has it; null: any, or unknown.")] = (
        None
    )
    source: Annotated[str | None, Meta(description="Source of this rule; null: its file, or that of the table.")] = None
    fused_activation: Annotated[bool, Meta(description="An activation function may be fused into it.")] = True
    along_batch: Annotated[bool, Meta(description="It may work along the batch: pad it, pack or reduce over it.")] = (
        True
    )
    constant: Annotated[tuple[int, ...], Meta(description="Inputs (by number) that are constants of the file.")] = ()
    most_elements: Annotated[Count | None, Meta(description="Elements that its largest tensor may have.")] = None
    max_version: Annotated[Count | None, Meta(description="Highest version of the operator; null: any.")] = None
    reads: Annotated[tuple[Kind, ...], Meta(description="Types that it reads beside those of the table.")] = ()
    writes: Annotated[tuple[Kind, ...], Meta(description="Types that it writes beside those of the table.")] = ()
    first_input: Annotated[
        dict[str, tuple[Kind, ...]], Meta(description="Runtime version -> types of the first input from there on.")
    ] = {}
    file: Annotated[str, Meta(description="File of the kernel, under `kernels_at` of the table.")] = ""
    kernels: Annotated[
        tuple[Kernel, ...],
        Meta(
            description="Types of the first inputs and of the first output, as `int8, int8|int4 -> int8`: `|` is or, "
            "`any` is any type, `...` repeats the one before, T stands for one of `types`. Empty: `T -> T`."
        ),
    ] = ()
    types: Annotated[tuple[str, ...], Meta(description="What T stands for.")] = ()
    rank: Annotated[tuple[Index, Index] | None, Meta(description="Fewest and most dimensions of the first input.")] = (
        None
    )
    broadcast_rank: Annotated[
        Count | None, Meta(description="Most dimensions where inputs of different shapes are broadcast.")
    ] = None
    most_inputs: Annotated[Count | None, Meta(description="Most inputs.")] = None
    same_scale: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="int8 inputs have the zero point of the output, and its scale with this tolerance."),
    ] = None

    def signatures(self) -> tuple[str, ...]:
        """The kernels with each of `types` in the place of T."""
        kernels = self.kernels or (("T -> T",) if self.types else ())
        plain = tuple(kernel for kernel in kernels if not _TYPE.search(kernel))
        return plain + tuple(_TYPE.sub(name, one) for one in kernels if _TYPE.search(one) for name in self.types)


class OperatorTable(Struct, frozen=True, forbid_unknown_fields=True):
    """The operators of one runtime or accelerator. Load one with `load_table("edgetpu")`."""

    name: TableName
    title: Annotated[str, Meta(description="Who executes them, as it reads in a sentence.")]
    source: Annotated[str, Meta(min_length=1, description="Where the table comes from.")]
    everything: Annotated[bool, Meta(description="Every builtin operator of the schema runs.")] = False
    types: Annotated[
        tuple[Literal["float32", "float16", "int8", "uint8", "int16"], ...],
        Meta(min_length=1, description="Activation types that its kernels compute in."),
    ] = ("float32", "float16", "int8", "uint8", "int16")
    dimensions: Annotated[
        Count | None, Meta(description="Only this many innermost dimensions may be larger than 1.")
    ] = None
    rank: Annotated[Count | None, Meta(description="Most dimensions that a tensor may have.")] = None
    kernels_at: Annotated[str, Meta(description="Address of the folder in which the files of the kernels are.")] = ""
    custom: Annotated[tuple[str, ...], Meta(description="Custom operators that are built in.")] = ()
    operators: Annotated[
        dict[str, Rule], Meta(description="Builtin operator (name in the schema) -> what is documented.")
    ] = {}
    notes: tuple[str, ...] = ()
    format_version: Literal[1] = 1

    def runs(self, operator: str) -> bool:
        """True if the table has this builtin operator."""
        return operator in self.operators or (self.everything and not operator.startswith("BUILTIN_"))

    def source_of(self, operator: str) -> str:
        """Source of the rule of an operator, or else of the table."""
        rule = self.operators.get(operator, Rule())
        return rule.source or (self.kernels_at + rule.file if rule.file else self.source)


@cache
def load_table(name: TableName) -> OperatorTable:
    """A shipped operator table. Raises TargetError if its file does not fit the schema."""
    with resources.as_file(resources.files("edgekit.targets") / "operators" / f"{name}.toml") as path:
        return strict_toml.load(path, OperatorTable, TargetError)
