"""Artifact: a `.tflite` file together with everything that says what it is and how good it is.

On disk an artifact is a folder: the file, `manifest.json`, `recipe.toml`. The manifest holds nothing that changes from
run to run, so the same inputs give the same bytes; measurements of time are kept beside the artifacts, not in them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from edgekit.dataset import Preprocessing
from edgekit.errors import ModelError
from edgekit.finding import Finding
from edgekit.new_file import write_new
from edgekit.recipe import Recipe
from edgekit.tflite.inspect import ModelContents, ModelSummary, inspect_model
from edgekit.units import format_bytes
from edgekit.verify import Verification
from edgekit.versions import is_newer, version


class Tensor(Struct, frozen=True):
    """One input or output of the file: real value = (stored - zero_point) * scale."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


class ModelRecord(Struct, frozen=True):
    """The model that came in."""

    name: str
    origin: str
    kind: str
    sha256: str
    healed: tuple[str, ...]


class DataRecord(Struct, frozen=True):
    """The data that calibrated and judged it; sizes are numbers of samples."""

    fingerprint: str
    task: str
    parts: dict[str, int]
    preprocessing: Preprocessing
    class_names: tuple[str, ...]


class StageRecord(Struct, frozen=True):
    """One line of the savings ledger: what the model was after a stage. `None` where it does not apply."""

    stage: str
    detail: str
    file_bytes: int | None
    deflated_bytes: int | None
    parameters: int
    macs: int
    metric: str | None = None
    value: float | None = None


class Manifest(Struct, frozen=True):
    """What `manifest.json` says; keys that a later release adds are skipped."""

    name: str
    file: str
    sha256: str
    file_bytes: int
    deflated_bytes: int
    numeric: str
    target: str
    target_sha256: str
    recipe: Recipe
    model: ModelRecord
    data: DataRecord | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    history: tuple[StageRecord, ...]
    operators: dict[str, dict[str, int]]
    verification: Verification | None
    findings: tuple[Finding, ...]
    versions: dict[str, str]
    format_version: Literal[1] = 1


class _Stamp(Struct, frozen=True):
    """Who wrote a manifest, whatever else is in it."""

    versions: dict[str, str] = {}
    format_version: int = 1


def read_manifest(data: bytes, name: str) -> Manifest:
    """Read the bytes of a manifest. Raises as `refuse_newer` does, and what msgspec raises for any other."""
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, ValueError, RecursionError):
        refuse_newer(data, name)
        raise


def refuse_newer(data: bytes, name: str) -> None:
    """Raise ModelError for a manifest of a later format or a later edgekit, naming both."""
    try:
        found = msgspec.json.decode(data, type=_Stamp)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return
    number, writer = found.format_version, found.versions.get("edgekit", "of another release")
    if number > 1 or is_newer(writer):
        raise ModelError(
            f"{name}: written by edgekit {writer} (format {number}), this is {version('edgekit')} (format 1)",
            "upgrade edgekit here",
        )


class Artifact(Struct, frozen=True):
    """A manifest and the bytes it describes."""

    manifest: Manifest
    model: bytes

    def __repr__(self) -> str:
        return f"Artifact({self.manifest.name}: {self.manifest.file}, {format_bytes(len(self.model))})"

    def save(self, folder: str | Path) -> Path:
        """Write the three files into `folder`, which is made; gives the path of the `.tflite`.

        Raises ModelError where the manifest, which may come from a storage, names a file elsewhere, OutputError where
        they cannot be written.
        """
        folder = Path(folder)
        if self.manifest.file in ("", ".", "..") or {"/", "\\", "\0"} & {*self.manifest.file}:
            raise ModelError(f"{self.manifest.file!r} is no name for a file in {folder}", "do not trust its maker")
        folder.mkdir(parents=True)
        path = folder / self.manifest.file
        write_new(path, self.model)
        write_new(folder / "manifest.json", msgspec.json.format(msgspec.json.encode(self.manifest), indent=2))
        write_new(folder / "recipe.toml", self.manifest.recipe.to_toml().encode())
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Artifact:
        """Read an artifact back.

        Raises ModelError if a file is missing or not the one the manifest describes, or a newer edgekit wrote it.
        """
        folder = Path(folder)
        try:
            manifest = read_manifest((folder / "manifest.json").read_bytes(), str(folder))
            model = (folder / Path(manifest.file).name).read_bytes()
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as cause:
            raise ModelError(
                f"{folder}: not an artifact: {cause}", "give a folder that edgekit optimize wrote"
            ) from None
        if sha256(model) != manifest.sha256:
            raise ModelError(f"{folder / manifest.file}: changed since its manifest was written", "make it again")
        return cls(manifest, model)


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def contract(summary: ModelSummary | ModelContents) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and outputs of a file as the manifest records them."""
    inputs, outputs = (
        tuple(Tensor(t.name, t.shape, t.dtype, t.scale, t.zero_point) for t in tensors)
        for tensors in (summary.inputs, summary.outputs)
    )
    return inputs, outputs


def ledger_line(stage: str, detail: str, model: bytes) -> StageRecord:
    """The savings ledger's line for a TFLite file."""
    summary = inspect_model(model)
    return StageRecord(stage, detail, summary.file_bytes, summary.deflated_bytes, summary.parameters, summary.macs)


def scored(line: StageRecord, verification: Verification | None) -> StageRecord:
    """The line with the first score of the file it describes."""
    if verification is None or not verification.scores:
        return line
    first = verification.scores[0]
    return msgspec.structs.replace(line, metric=first.name, value=first.value)


def operator_table(summary: ModelSummary) -> dict[str, dict[str, int]]:
    """Operator name -> type it computes in -> how often."""
    table: dict[str, dict[str, int]] = {}
    for operator in summary.operators:
        row = table.setdefault(operator.name, {})
        row[operator.dtype] = row.get(operator.dtype, 0) + 1
    return {name: dict(sorted(row.items())) for name, row in sorted(table.items())}
