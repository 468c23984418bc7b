"""One segment in an interpreter of its own, on the unit that it was given."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .contract import Port, Segment
from .problem import INPUT, REFUSED, Problem
from .runtime import Runtime

LIBRARY = "libedgetpu.so.1"
_REFUSALS = (RuntimeError, ValueError, OSError, AttributeError, MemoryError)
_UNIT = re.compile(r"cpu(?::(\d{1,4}))?|edgetpu(:(?:usb|pci))?(?::(\d{1,2}))?")

Array = Any


@dataclass(frozen=True)
class Unit:
    """What a segment runs on: `cpu`, held to a core if one is named, or the Edge TPU that `device` names."""

    core: int | None = None
    device: str | None = None

    @property
    def edgetpu(self) -> bool:
        """Whether it is an Edge TPU."""
        return self.device is not None


def parse_unit(text: str) -> Unit:
    """`cpu`, `cpu:1` (held to core 1), `edgetpu`, `edgetpu:0`, `edgetpu:usb:0`. Raises Problem for other words."""
    found = _UNIT.fullmatch(text)
    if found is None:
        mend = "write cpu, cpu:CORE, edgetpu:NUMBER, edgetpu:usb:NUMBER or edgetpu:pci:NUMBER"
        raise Problem(f"{text!r} is no unit", mend, INPUT)
    if text.startswith("cpu"):
        return Unit(core=int(found[1]) if found[1] else None)
    return Unit(device=(found[2] or "").lstrip(":") + (f":{found[3]}" if found[3] else ""))


def usable_cores() -> int:
    """How many cores this process may run on; all of them where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Worker:
    """A loaded segment; to be made and used in one thread, which is held to the unit's core.

    Raises Problem, named by the segment, with what the runtime or its delegate says.
    """

    def __init__(self, runtime: Runtime, segment: Segment, file: Path, unit: Unit, threads: int = 1) -> None:
        self.segment = segment
        if unit.core is not None:
            if not hasattr(os, "sched_setaffinity"):
                raise Problem(
                    f"{sys.platform} does not hold a thread on a chosen core", "write cpu without a core", INPUT
                )
            self._asked(f"core {unit.core} cannot be used", os.sched_setaffinity, 0, {unit.core})
        options: dict[str, Any] = {"model_path": str(file), "num_threads": threads}
        if unit.device is not None:
            options["model_path"] = str(self._compiled(file))
            options["experimental_delegates"] = [self._delegate(runtime, unit.device)]
        self._interpreter = self._asked("it cannot be loaded", runtime.module.Interpreter, **options)
        self._asked("it cannot be made ready", self._interpreter.allocate_tensors)
        self._inputs = self._places(self._interpreter.get_input_details(), segment.inputs)
        self._outputs = self._places(self._interpreter.get_output_details(), segment.outputs)

    def run(self, given: Mapping[int, Array]) -> dict[int, Array]:
        """The values of the segment's outputs, by tensor number, for those of its inputs."""
        for tensor, place in self._inputs:
            self._asked(f"tensor {tensor} is refused", self._interpreter.set_tensor, place, given[tensor])
        self._asked("it cannot be run", self._interpreter.invoke)
        return {tensor: self._interpreter.get_tensor(place) for tensor, place in self._outputs}

    def _places(self, details: Any, ports: tuple[Port, ...]) -> list[tuple[int, int]]:
        found = [(tuple(int(size) for size in one["shape"]), np.dtype(one["dtype"]).name) for one in details]
        if found != [(port.shape, port.dtype) for port in ports]:
            wanted = ", ".join(f"{port.dtype} {list(port.shape)}" for port in ports)
            raise Problem(f"{self.segment.title} takes or gives other tensors than {wanted}", "split it again", INPUT)
        return [(port.tensor, one["index"]) for port, one in zip(ports, details)]

    def _compiled(self, file: Path) -> Path:
        """What the compiler made of the file, beside it."""
        path = file.with_name(f"{file.stem}_edgetpu.tflite")
        if not path.is_file():
            mend = f"put it there: edgekit compile {file.name} --for edgetpu -o FOLDER, or edgetpu_compiler {file.name}"
            raise Problem(f"{self.segment.title}: {path.name} is not there", mend, INPUT)
        return path

    def _delegate(self, runtime: Runtime, device: str) -> Any:
        """The library is opened before, because runtimes print a traceback of their own without it."""
        self._asked(f"{LIBRARY} cannot be loaded", ctypes.CDLL, LIBRARY)
        options = {"device": device} if device else {}
        what = f"{LIBRARY} does not open Edge TPU {device or '(any)'}"
        return self._asked(what, runtime.module.load_delegate, LIBRARY, options)

    def _asked(self, what: str, call: Callable[..., Any], *words: Any, **named: Any) -> Any:
        try:
            return call(*words, **named)
        except _REFUSALS as cause:
            said = " ".join(str(cause).split()) or "it gives no reason"
            mend = "see what the runtime printed above, and `info`"
            raise Problem(f"{self.segment.title}: {what}: {said}", mend, REFUSED) from None
