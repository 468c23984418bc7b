"""What is in a firmware package: facts about the model, judged against the board, poured into templates."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from edgekit.errors import ModelError
from edgekit.finding import named
from edgekit.forecast.micro import forecast_micro
from edgekit.operators import load_table
from edgekit.package import c_text
from edgekit.package.bundle import Built, Bundle
from edgekit.package.description import in_words
from edgekit.package.golden_file import Array, GoldenTensor, GoldenVectors
from edgekit.package.micro_arena import find_arena, planned_arena
from edgekit.package.micro_operators import registrations
from edgekit.package.source import Source
from edgekit.package.templating import filled
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import ModelContents, TensorInfo

_TEMPLATES = {
    "header.h.j2": "{name}.h",
    "source.c.j2": "{name}.c",
    "ops.h.j2": "{name}_ops.h",
    "selftest.h.j2": "{name}_selftest.h",
    "selftest.c.j2": "{name}_selftest.c",
    "make.mk.j2": "{name}.mk",
    "CMakeLists.txt.j2": "CMakeLists.txt",
    "zephyr/module.yml.j2": "zephyr/module.yml",
    "zephyr/Kconfig.j2": "zephyr/Kconfig",
    "zephyr/CMakeLists.txt.j2": "zephyr/CMakeLists.txt",
    "library.json.j2": "library.json",
    "library.properties.j2": "library.properties",
    "README.md.j2": "README.md",
}
_DIFFERENCES = {"int32": "int64_t", "int64": "int64_t", "float32": "float"}


class Port(Struct, frozen=True):
    """An input or output as C has it: `word` is `input_0`, `type` a C type, `scale` a literal or empty."""

    side: str
    place: int
    dtype: str
    type: str
    shape: tuple[int, ...]
    elements: int
    scale: str
    zero_point: int
    title: str

    @property
    def word(self) -> str:
        """Its part of a name."""
        return f"{self.side}_{self.place}"


def firmware_files(bundle: Bundle, options: None = None) -> Built:
    """The files of the package, and what the manifest says of them. Raises RunError where TFLM cannot run the model."""
    (variant,) = bundle.variants
    contents, golden, name = variant.contents, variant.golden, c_text.identifier(bundle.name)
    arena = find_arena(variant.model, contents) if golden else planned_arena(contents)
    ports = _ports(contents)
    operators = registrations(contents.operators)
    facts = {
        "name": name,
        "upper": name.upper(),
        "version": bundle.version,
        "sha256": variant.sha256,
        "size": len(variant.model),
        "numeric": contents.numeric,
        "arena": arena,
        "tensors": ports,
        "options": " ".join(map(_in_make, bundle.options)),
        "preparation": in_words(variant.contract.preprocessing),
        "inputs": contents.inputs,
        "outputs": contents.outputs,
        "constants": [(key.upper(), c_text.number(value)) for key, value in bundle.constants.items()],
        "labels": [c_text.string(label) for label in variant.contract.labels],
        "ops": operators,
        "custom": [one for one in operators if one.parameter],
        "variables": _resource_variables(variant.model, contents.subgraphs),
        "bytes": c_text.byte_lines(variant.model),
        "count": golden.head.samples if golden else 0,
        "runtime": c_text.comment(golden.head.runtime) if golden else "",
        **_selftest(ports, golden),
    }
    files = {file.format(name=name): _filled(template, facts) for template, file in _TEMPLATES.items()}
    record = {"arena": msgspec.to_builtins(arena), "operators": [one.operator for one in operators]}
    notices = () if name == bundle.name else (f"{bundle.name!r} is no beginning of names in C: it became {name}",)
    return Built(files, name, f"{name}.c", record, notices)


def refuse_what_cannot_run(source: Source, contents: ModelContents) -> None:
    """Operators without a kernel, and tensors without a C type: no build mends that, so `force` does not help."""
    left = [one for one in forecast_micro(read_graph(source.model)).left if one.code != "custom-operator"]
    if left:
        raise ModelError(
            f"TensorFlow Lite Micro does not run {named(left[:1])}: {left[0].reason}",
            f"{left[0].mend}; see `edgekit check MODEL --target cortex-m4`",
        )
    table = load_table("tflite-micro")
    if lacking := [op for op in contents.operators if not op.custom and not table.runs(op.name)]:
        raise ModelError(
            f"TensorFlow Lite Micro has no {named(lacking[:1])} (subgraph {lacking[0].subgraph})", "replace the layer"
        )
    if flex := [op for op in contents.operators if op.flex]:
        raise ModelError(f"{named(flex)} is an operator of TensorFlow", "rewrite the layer, or split it off")
    for tensor in (*contents.inputs, *contents.outputs):
        if tensor.dtype not in c_text.C_TYPES:
            raise ModelError(f"{tensor.name!r} is of type {tensor.dtype}", "make it with int8 inputs and outputs")
    if not contents.inputs or not contents.outputs:
        raise ModelError("the model has no input, or no output", "convert it with both")


def _resource_variables(model: bytes, subgraphs: int) -> int:
    """How many variables the interpreter makes room for, counted as TensorFlow Lite Micro does: by their names."""
    operators = [op for number in range(subgraphs) for op in read_graph(model, subgraph=number).operators]
    return len({op.options.get("SharedName") for op in operators if op.name == "VAR_HANDLE"})


def _ports(contents: ModelContents) -> tuple[Port, ...]:
    sides = (("input", contents.inputs), ("output", contents.outputs))
    return tuple(_port(side, place, one) for side, ones in sides for place, one in enumerate(ones))


def _port(side: str, place: int, tensor: TensorInfo) -> Port:
    scale = c_text.number(tensor.scale) if tensor.scale else ""
    shape = tuple(max(size, 1) for size in tensor.shape)
    title = f"{side.capitalize()} {place}, {c_text.comment(tensor.name)}"
    kind = c_text.C_TYPES[tensor.dtype]
    return Port(side, place, tensor.dtype, kind, shape, tensor.elements, scale, tensor.zero_point or 0, title)


def _selftest(ports: tuple[Port, ...], golden: GoldenVectors | None) -> dict[str, Any]:
    """The arrays of the self-test, and the types that it compares: each with one that holds every difference."""
    if golden is None:
        return {"vectors": [], "compared": []}
    arrays = (*golden.inputs, *golden.outputs)
    told = zip(ports, arrays, (*golden.head.inputs, *golden.head.outputs), strict=True)
    shown = [
        {
            **{field: getattr(port, field) for field in ("side", "place", "word", "type")},
            "lines": c_text.number_lines(_plain(values)),
            "tolerance": _tolerance(tensor),
        }
        for port, values, tensor in told
    ]
    kinds = {port.type: port.dtype for port in ports if port.side == "output"}
    return {
        "vectors": shown,
        "compared": sorted((kind, _DIFFERENCES.get(dtype, "int32_t")) for kind, dtype in kinds.items()),
    }


def _tolerance(tensor: GoldenTensor) -> str:
    """In real numbers for floats, in whole quanta for what is stored in integers."""
    if tensor.dtype.startswith("float"):
        return c_text.number(tensor.tolerance)
    return str(int(tensor.tolerance / tensor.scale)) if tensor.scale else "0"


def _plain(values: Array) -> list[int | float]:
    numbers: list[int | float] = (
        values.astype(np.int64 if values.dtype.kind in "biu" else values.dtype).ravel().tolist()
    )
    return numbers


def _filled(template: str, facts: dict[str, Any]) -> bytes:
    return filled(f"firmware/{template}", facts, {"c_string": c_text.string, "plain": _in_markdown})


def _in_make(word: str) -> str:
    """A word of a command in a variable of Make."""
    return shlex.quote(" ".join(word.split())).replace("$", "$$").replace("#", "\\#")


def _in_markdown(name: str) -> str:
    return "`" + c_text.comment(name).replace("`", "'").replace("|", "/") + "`"
