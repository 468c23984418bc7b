"""How large the arena of TensorFlow Lite Micro has to be for a file: recorded by running it where that is possible."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from msgspec import Struct

from edgekit.tflite.inspect import ModelContents
from edgekit.tflite.memory_plan import plan_memory
from edgekit.tflite.recorded_arena import PACKAGE, record_arena

_UNIT = 16
_BASE_BYTES, _OPERATOR_BYTES, _CHANNEL_BYTES = 1024, 384, 8


class Arena(Struct, frozen=True):
    """Bytes of the arena with reference kernels, multiples of 16, and how they were found.

    `recorded`: TensorFlow Lite Micro ran the file in `bytes_64` on this machine; `bytes_32` is the same recording with
    structures of 32-bit pointers. `planned`: the tensors' plan, and an allowance for the interpreter's structures.
    """

    how: Literal["recorded", "planned"]
    bytes_32: int
    bytes_64: int
    tensor_bytes: int
    recorder: str = ""


def find_arena(model: bytes | Path, contents: ModelContents) -> Arena:
    """Record the arena if tflite-micro is installed, plan it if not. Raises RunError where TFLM refuses the file."""
    if importlib.util.find_spec("tflite_micro") is None:
        return planned_arena(contents)
    found = record_arena(model)
    tensors = plan_memory(contents, "micro").arena_bytes
    return Arena("recorded", _up(found.device_bytes[1]), found.smallest_bytes, tensors, f"{PACKAGE} {found.version}")


def planned_arena(contents: ModelContents) -> Arena:
    """The plan of the tensors, and on top 1024 bytes, 384 for each operator and 8 for each channel of int8 weights.

    The allowance is more than what was recorded for each of eleven public files (hello_world, micro_speech, the
    MLPerf Tiny auto-encoder and ResNet in float and int8, microWakeWord); kernels made for one core may ask for more.
    """
    plan = plan_memory(contents, "micro")
    channels = sum(tensor.channel_scales for tensor in contents.tensors)
    room = _BASE_BYTES + _OPERATOR_BYTES * len(contents.operators) + _CHANNEL_BYTES * channels
    total = _up(plan.arena_bytes + plan.persistent_bytes + room)
    return Arena("planned", total, total, plan.arena_bytes)


def _up(size: int) -> int:
    return -(-size // _UNIT) * _UNIT
