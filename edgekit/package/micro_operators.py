"""Which methods of TensorFlow Lite Micro's `MicroMutableOpResolver` register the operators that a file uses.

Source: tensorflow/lite/micro/micro_mutable_op_resolver.h of tflite-micro, commit 90b983c2b3 (2026-08-20).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from edgekit.package.c_text import identifier
from edgekit.tflite.inspect import OperatorInfo

_IRREGULAR = {
    "CUMSUM": "CumSum",
    "BATCH_MATMUL": "BatchMatMul",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
_CUSTOM = {
    "CIRCULAR_BUFFER": "CircularBuffer",
    "TFLM_DECODE": "Decode",
    "TFLite_Detection_PostProcess": "DetectionPostprocess",
    "ethos-u": "EthosU",
    **{
        f"Signal{name}": name
        for name in (
            *("Delay", "Energy", "FftAutoScale", "FilterBank", "FilterBankLog", "FilterBankSpectralSubtraction"),
            *("FilterBankSquareRoot", "Framer", "Irfft", "OverlapAdd", "PCAN", "Rfft", "Stacker", "Window"),
        )
    },
}


class Registration(Struct, frozen=True):
    """An operator, and how it is registered: by `method`, or by AddCustom with a kernel that the user hands in."""

    operator: str
    method: str
    parameter: str = ""


def registrations(operators: Iterable[OperatorInfo]) -> tuple[Registration, ...]:
    """One for each kind of operator, in all subgraphs, by name.

    Whether the resolver has a method of that name is the operator table's knowledge: see `edgekit.forecast.micro`.
    """
    kinds = sorted({(operator.name, operator.custom) for operator in operators})
    return tuple(_registration(name, custom) for name, custom in kinds)


def _registration(name: str, custom: bool) -> Registration:
    if not custom:
        return Registration(name, f"Add{_IRREGULAR.get(name) or _camel(name)}")
    if name in _CUSTOM:
        return Registration(name, f"Add{_CUSTOM[name]}")
    return Registration(name, "AddCustom", f"{identifier(name)}_kernel")


def _camel(name: str) -> str:
    """`MAX_POOL_2D` -> `MaxPool2D`, as the header writes it."""
    return "".join(part[0] + part[1:].lower() if part[0].isalpha() else part for part in name.split("_"))
