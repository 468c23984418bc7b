"""For a program of your own: `from NAME.api import open_model`, a function from raw samples to real numbers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from .choice import Chosen, with_best
from .contract import Package, Variant, load
from .model import Model
from .problem import FAILED, Problem
from .samples import prepared, real
from .selftest import selftest

Array = Any


@dataclass(frozen=True)
class OpenModel:
    """A loaded model that has passed its self-test; `constants` of the package are numbers by name."""

    package: Package
    chosen: Chosen
    model: Model

    @property
    def constants(self) -> dict[str, float]:
        """What was packaged with `--constant`."""
        return self.package.constants

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the places of the output."""
        return self.chosen.variant.labels

    def __call__(self, *arrays: Array) -> list[Array]:
        """Outputs `[samples, ...]` in real numbers for raw samples, one array for each input, or one sample of each.

        Raises Problem for what the model does not take, or if the runtime refuses.
        """
        stored = self.model.run(prepared(arrays, self.chosen.variant, _warn))
        return [real(array, tensor) for array, tensor in zip(stored, self.chosen.variant.outputs)]


def open_model(unit: str = "auto", threads: int | None = None) -> OpenModel:
    """Load the model that suits `unit` (auto, edgetpu or cpu) best, and hold it against the golden vectors.

    Raises Problem if it cannot be loaded here, or computes something else.
    """
    package = load()

    def job(variant: Variant, model: Model) -> Model:
        if not selftest(package, model).passed:
            raise Problem(f"{variant.file} does not compute here what it should", "see `selftest`", FAILED)
        model.reopen()
        return model

    chosen, model = with_best(package, unit, job, _warn, threads)
    return OpenModel(package, chosen, model)


def _warn(words: str) -> None:
    print(words, file=sys.stderr)
