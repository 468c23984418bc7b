"""Run the golden vectors of a package through its models, wherever in the package either lies.

A model is what has the SHA-256 that the manifest gives a variant, and golden vectors say themselves of which file they
are; both are looked for in the package's files and in the archives among them (.aar, .deb, .zip, .tar, .tar.gz).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct, structs

from edgekit.bench.plan import Plan
from edgekit.device.protocol import Device
from edgekit.package.archive import SUFFIXES
from edgekit.package.golden import VectorCheck, check_vectors
from edgekit.package.golden_file import GoldenVectors, read_vectors
from edgekit.package.package_files import PackageFiles, package_files
from edgekit.package.verify_package import ModelFile, PackageManifest

_ARCHIVES = (".aar", ".deb", *SUFFIXES)
_VECTORS = (".json", ".npz")
_MARK = b"model_sha256"
_HEAD_BYTES = 1000
_MOST_MODEL = 2 << 30
_MOST_VECTORS = 256 << 20


class VariantRun(Struct, frozen=True):
    """What a model file made of its golden vectors, or why it was not run."""

    unit: str
    file: str
    check: VectorCheck | None
    reason: str = ""


@dataclass(frozen=True)
class _Found:
    models: dict[str, bytes] = field(default_factory=dict)
    vectors: dict[str, GoldenVectors] = field(default_factory=dict)


def run_package(
    package: Path, manifest: PackageManifest, plan: Plan | None = None, device: Device | None = None
) -> tuple[VariantRun, ...]:
    """Run each variant of a verified package, on an open device or here. Raises what `infer` raises, and InputError.

    A file for the Edge TPU is run only by a plan with that delegate, which runs no other.
    """
    if manifest.kind == "firmware":
        return tuple(VariantRun(one.unit, one.file, None, "its self-test in C runs them") for one in manifest.variants)
    plan = plan or Plan()
    with package_files(package) as files:
        found = _Found()
        _look(files, {one.sha256 for one in manifest.variants}, found)
    return tuple(_run(one, manifest.variants, found, plan, device) for one in manifest.variants)


def _look(files: PackageFiles, wanted: set[str], found: _Found, depth: int = 0) -> None:
    """Collect what has a wanted hash, and golden vectors, in files and the archives among them."""
    for name in sorted(files.opens):
        if name.endswith(_ARCHIVES) and depth == 0:
            with files.nested(name) as inner:
                _look(inner, wanted, found, depth + 1)
        elif name.endswith(_VECTORS):
            data = files.read(name, _MOST_VECTORS)
            if name.endswith(".npz") or _MARK in data[:_HEAD_BYTES]:
                made = read_vectors(data, name)
                found.vectors[made.head.model_sha256] = made
        elif name.endswith(".tflite") and files.sha256(name) in wanted:
            model = files.read(name, _MOST_MODEL)
            found.models[hashlib.sha256(model).hexdigest()] = model


def _run(one: ModelFile, variants: Iterable[ModelFile], found: _Found, plan: Plan, device: Device | None) -> VariantRun:
    cpu = next((other.sha256 for other in variants if other.unit == "cpu"), "")
    vectors = found.vectors.get(one.sha256) or found.vectors.get(cpu if one.unit == "edgetpu" else "")
    model = found.models.get(one.sha256)
    if model is None or vectors is None:
        what = "model" if model is None else "golden vectors"
        return VariantRun(one.unit, one.file, None, f"its {what} cannot be taken out of this package")
    coral = plan.delegate is not None and "edgetpu" in plan.delegate.library
    if coral != (one.unit == "edgetpu"):
        return VariantRun(
            one.unit, one.file, None, "it is for the Edge TPU" if not coral else "it is for the processor"
        )
    if not vectors.head.xnnpack_compared:  # it cannot run this file
        plan = structs.replace(plan, xnnpack=False)
    return VariantRun(one.unit, one.file, check_vectors(model, vectors, plan, device))
