"""Operators that a runtime does not have: told from the file where that is sure, else from what the runtime says.

What a stock runtime lacks may be linked into the one on a device (TensorFlow's operators are in some builds), so the
device decides. Code for an Edge TPU is sure: only its delegate runs that.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edgekit.bench.plan import Delegate
from edgekit.errors import InputError
from edgekit.tflite import flatbuffer

EDGE_TPU = "edgetpu-custom-op"
_COMPILED = "the file is compiled for an Edge TPU: `edgekit benchmark --delegate edgetpu` runs it where one is"


class MissingOperator(NamedTuple):
    """Its name, what it is, and what to do."""

    name: str
    kind: str
    mend: str


def open_runnable(data: bytes | bytearray, label: str, delegate: Delegate | None) -> None:
    """See that these bytes are a model; raise InputError if they need an Edge TPU and no delegate is asked for."""
    model = flatbuffer.open_model(data, label)
    if delegate is not None:
        return
    with flatbuffer.damage_named(label):
        codes = flatbuffer.Room(len(data)).items(model.OperatorCodesLength, model.OperatorCodes)
        compiled = any(flatbuffer.operator_name(code) == EDGE_TPU for code in codes)
    if compiled:
        raise InputError(f"{label}: {EDGE_TPU} runs on an Edge TPU only, and no delegate is asked for", _COMPILED)


def missing_operator(said: str) -> MissingOperator | None:
    """The operator that a runtime or `benchmark_model` says it does not have (subgraph.cc, `PrepareOpsStartingAt`)."""
    flex, custom = "Select TensorFlow op" in said, "unresolved custom op" in said
    found = re.search(r"Node number \d{1,9} \(([^()\n]{1,200})\) failed to prepare", said)
    found = found or re.search(r"unresolved custom op: ([^\n]{1,200}?)\.?\s*(?:See |$)", said)
    if not (flex or custom):
        return None
    name = found[1] if found else "of unknown name"
    if flex:
        return MissingOperator(name, "TensorFlow (Flex)", _FLEX)
    return MissingOperator(name, "custom", _COMPILED if name == EDGE_TPU else _CUSTOM)


_FLEX = (
    "rewrite the layer with operations that TFLite has, and convert again (`edgekit inspect` lists all of them); or "
    "give the device a runtime that is built with TensorFlow's operators"
)
_CUSTOM = (
    "a file compiled for an accelerator runs with its delegate only (--delegate); else take the operator out of the "
    "model (`edgekit inspect` lists all of them)"
)
