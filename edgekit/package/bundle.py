"""What a package is made of, before any kind of package gives it a form."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from edgekit.artifact import Tensor
from edgekit.data.spec import Preprocessing
from edgekit.finding import Finding
from edgekit.package.golden_file import GoldenVectors
from edgekit.package.source import Source
from edgekit.tflite.inspect import ModelContents


class Contract(Struct, frozen=True):
    """What goes into a file and comes out of it: `shape` has the batch, real = (stored - zero_point) * scale.

    `preprocessing` is what is done to a raw sample before, `labels` are the names of the places of the only output;
    both are empty, as `task` is, where nothing is known.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    preprocessing: Preprocessing = Preprocessing()
    labels: tuple[str, ...] = ()
    task: str = ""

    @property
    def all_real(self) -> bool:
        """Whether all inputs and outputs stand for real numbers: floats, or integers with a scale."""
        return all(one.dtype == "float32" or bool(one.scale) for one in (*self.inputs, *self.outputs))

    @property
    def scores_labels(self) -> bool:
        """Whether the only output is one number for each label."""
        places = math.prod(max(size, 1) for size in self.outputs[0].shape) if len(self.outputs) == 1 else 0
        return bool(self.labels) and places == len(self.labels)

    @property
    def classifies(self) -> bool:
        """Whether that is made of one input."""
        return len(self.inputs) == 1 and self.scores_labels


@dataclass(frozen=True)
class Variant:
    """One model file of a package: `unit` is what it is made for, `file` its name there.

    `model` carries TFLite Metadata of the contract where the kind of package has a use for them. `golden` is None
    where the interpreter here lacks an operator; those of an Edge TPU file are of the CPU file that it was made from.
    """

    unit: str
    file: str
    model: bytes
    contents: ModelContents
    contract: Contract
    golden: GoldenVectors | None
    source: Source
    findings: tuple[Finding, ...] = ()

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the file in the package."""
        return hashlib.sha256(self.model).hexdigest()

    def description(self) -> dict[str, Any]:
        """What the device has to know of this file, as JSON-able values."""
        words: dict[str, Any] = msgspec.to_builtins(self.contract)
        file = {"unit": self.unit, "file": self.file, "sha256": self.sha256, "bytes": len(self.model)}
        return {**file, "numeric": self.contents.numeric, **words}


@dataclass(frozen=True)
class Bundle:
    """The variants of one model, in the order of choice, and what is said of them; `name` is the user's word.

    `constants` are numbers that go with the model, as the threshold of an alarm: code on the device reads them.
    `options` are those of `edgekit package` that ask for the same again, with plain names in place of the user's files.
    """

    name: str
    variants: tuple[Variant, ...]
    version: str
    licence: str | None
    constants: Mapping[str, float] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    def description(self) -> dict[str, Any]:
        """What a package's code has to know, as JSON-able values: kinds put it inside as `contract.json`."""
        variants = [variant.description() for variant in self.variants]
        head = {"name": self.name, "version": self.version, "licence": self.licence}
        return {**head, "constants": dict(self.constants), "variants": variants}


@dataclass(frozen=True)
class Built:
    """What a kind of package made of a bundle: contents by file name, and the name that its code goes by.

    `output` is the file that a build waits for, `record` goes into the manifest, `notices` to the user.
    """

    files: dict[str, bytes]
    name: str
    output: str = "manifest.json"
    record: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
