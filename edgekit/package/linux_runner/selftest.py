"""The golden vectors of a variant through the interpreter of this machine, with the recorded tolerances."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .contract import Package, Tensor
from .model import Model
from .problem import DAMAGE, FAILED, Problem
from .samples import real


@dataclass(frozen=True)
class Output:
    """How far an output is off from the golden one, in real numbers, and what it may be off."""

    name: str
    off: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """False for what is not a number, too."""
        return self.off <= self.tolerance


@dataclass(frozen=True)
class Outcome:
    """What the golden vectors gave, and the runtime that they come from."""

    samples: int
    golden_runtime: str
    outputs: tuple[Output, ...]

    @property
    def passed(self) -> bool:
        """Whether every output is within its tolerance."""
        return all(output.passed for output in self.outputs)


def selftest(package: Package, model: Model) -> Outcome:
    """Run them all, in their order. Raises Problem if they are damaged, or the runtime refuses."""
    head, arrays = _golden(package.golden)
    found = model.run([arrays[f"input{place}"] for place in range(len(head["inputs"]))])
    wanted = [arrays[f"output{place}"] for place in range(len(head["outputs"]))]
    outputs = tuple(_compared(*each) for each in zip(found, wanted, head["outputs"]))
    return Outcome(head["samples"], head["runtime"], outputs)


def _compared(found: Any, golden: Any, said: dict[str, Any]) -> Output:
    tensor = Tensor(said["name"], tuple(said["shape"]), said["dtype"], said["scale"], said["zero_point"])
    if found.shape != golden.shape:
        return Output(tensor.name, math.inf, said["tolerance"])
    off = np.abs(real(found, tensor).astype(np.float64) - real(golden, tensor)).max(initial=0)
    return Output(tensor.name, float(off), said["tolerance"])


def _golden(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        return json.loads(str(arrays["head"])), arrays
    except (*DAMAGE, KeyError) as cause:
        raise Problem(f"{path} is damaged: {cause}", "install the package again", FAILED) from None
