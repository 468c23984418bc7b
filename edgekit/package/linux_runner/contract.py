"""What was packaged, as `contract.json` says it, and whether the files are still those."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .problem import FAILED, Problem

HERE = Path(__file__).resolve().parent
_AGAIN = "install the package again"


@dataclass(frozen=True)
class Tensor:
    """One input or output: real = (stored - zero_point) * scale, where it has a scale."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Variant:
    """One model file, what goes in and out, and how a raw sample becomes an input: `(x - mean) * scale`."""

    unit: str
    file: str
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    channels_first: bool
    labels: tuple[str, ...]
    task: str


@dataclass(frozen=True)
class Package:
    """All variants, in the order in which they are tried; `constants` are the numbers that were packaged with them."""

    folder: Path
    name: str
    version: str
    licence: str | None
    variants: tuple[Variant, ...]
    constants: dict[str, float]

    def model(self, variant: Variant) -> Path:
        """Path of a model. Raises Problem unless its bytes are those that were packaged."""
        path = self.folder / variant.file
        found = hashlib.sha256(_read(path)).hexdigest()
        if found != variant.sha256:
            raise Problem(f"{path} was changed: SHA-256 {found}, packaged was {variant.sha256}", _AGAIN, FAILED)
        return path

    @property
    def golden(self) -> Path:
        """The golden vectors, those of the CPU: they hold for each variant of the model."""
        return self.folder / "golden.npz"


def load(folder: Path = HERE) -> Package:
    """Read `contract.json`. Raises Problem if it is damaged."""
    path = folder / "contract.json"
    try:
        said = json.loads(_read(path))
        variants = tuple(map(_variant, said["variants"]))
        constants = {str(name): float(value) for name, value in said["constants"].items()}
        return Package(folder, said["name"], said["version"], said["licence"], variants, constants)
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise Problem(f"{path} is damaged: {cause!r}", _AGAIN, FAILED) from None


def _variant(said: dict[str, Any]) -> Variant:
    inputs, outputs = (tuple(map(_tensor, said[side])) for side in ("inputs", "outputs"))
    preprocessing = said["preprocessing"]
    return Variant(
        unit=said["unit"],
        file=said["file"],
        sha256=said["sha256"],
        inputs=inputs,
        outputs=outputs,
        mean=tuple(preprocessing["mean"]),
        scale=tuple(preprocessing["scale"]),
        channels_first=preprocessing["layout"] == "channels_first",
        labels=tuple(said["labels"]),
        task=said["task"],
    )


def _tensor(said: dict[str, Any]) -> Tensor:
    return Tensor(said["name"], tuple(said["shape"]), said["dtype"], said["scale"], said["zero_point"])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise Problem(f"{path}: {cause.strerror}", _AGAIN, FAILED) from None
