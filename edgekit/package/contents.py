"""From what was ordered to the bundle: files read, judged, described and run; and what the manifest says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import structs

from edgekit.check.check import check
from edgekit.errors import GateError, InputError
from edgekit.finding import Finding
from edgekit.forecast.edgetpu import COMPILED
from edgekit.package.build import FIRST_VERSION, IN_RUNTIME, Kind, Order
from edgekit.package.bundle import Built, Bundle, Contract, Variant
from edgekit.package.description import contract_of, metadata_of
from edgekit.package.folder import digest
from edgekit.package.golden import golden_vectors
from edgekit.package.golden_file import GoldenVectors, read_vectors
from edgekit.package.micro_run import micro_there
from edgekit.package.source import Source
from edgekit.real_inputs import RealInputs
from edgekit.target import Target
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import ModelContents, read_contents
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata
from edgekit.tflite.metadata_edit import changed, read_labels
from edgekit.tflite.metadata_schema import ModelMetadata
from edgekit.tflite.surgery import inline_buffers
from edgekit.units import format_bytes

_MOST_SAMPLES = 4
_MOST_ELEMENTS = 1 << 16


def bundle_of(order: Order, kind: Kind) -> tuple[Bundle, tuple[str, ...]]:
    """The bundle, and what the user should know of it; raises what `package_model` does."""
    if wrong := [unit for unit in order.sources if unit not in kind.units]:
        raise InputError(
            f"a package for {order.kind} takes no model for the {wrong[0]}", f"give one for {' or '.join(kind.units)}"
        )
    notes: list[str] = []
    variants: dict[str, Variant] = {}
    vectors = {
        found.head.model_sha256: found for found in (read_vectors(data, str(path)) for path, data in order.vectors)
    }
    for unit, source in reversed([*order.sources.items()]):  # the CPU first: the Edge TPU's golden vectors are its
        variants[unit] = _variant(order, kind, unit, source, vectors, notes, variants.get("cpu"))
    _refuse_strangers(variants)
    if unused := set(vectors) - {one.sha256 for one in order.sources.values()}:
        raise InputError(
            f"golden vectors of a file that is not packaged (SHA-256 {min(unused)[:12]}...)",
            "make them of this model: edgekit vectors MODEL -o vectors.npz",
        )
    ordered = tuple(variants[unit] for unit in order.sources)
    bundle = Bundle(order.name, ordered, order.version, order.licence, order.constants, _options(order))
    return bundle, tuple(dict.fromkeys(notes))


def judge_arena(order: Order, arena: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Where the whole arena, which is more than its tensors, is too large for the target.

    Raises GateError for one that was recorded, unless it is forced; a planned one may be more than it takes.
    """
    if order.target is None or arena is None:
        return ()
    size, target = arena["bytes_32"], order.target
    limits = {"the budget": target.budget.arena_bytes, "the memory": target.memory.ram_bytes}
    problems = tuple(
        f"the arena of {order.name} is {format_bytes(size)} ({arena['how']}), and {place} of {target.name} is "
        f"{format_bytes(limit)}"
        for place, limit in limits.items()
        if limit is not None and size > limit
    )
    if problems and not order.force and arena["how"] == "recorded":
        raise GateError("; ".join(problems), "a smaller input or fewer channels; or --force")
    return problems


def manifest_of(order: Order, bundle: Bundle, built: Built, notes: tuple[str, ...]) -> dict[str, Any]:
    """What the manifest says, but for hashes and versions."""
    return {
        "format_version": 1,
        "for": order.kind,
        **bundle.description(),
        "variants": [_recorded(variant) for variant in bundle.variants],
        "identifier": built.name,
        "output": built.output,
        "target": order.target.name if order.target else None,
        "notices": [*notes, *built.notices],
        **built.record,
    }


def _options(order: Order) -> tuple[str, ...]:
    """The options that ask for the same package again."""
    given = (
        ("--package-version", order.version if order.version != FIRST_VERSION else ""),
        ("--licence", order.licence),
        ("--target", order.target.name if order.target else ""),
        ("--labels", "labels.txt" if order.labels else ""),
        ("--vectors", "vectors.npz" if order.vectors else ""),
        *(("--constant", f"{name}={value!r}") for name, value in order.constants.items()),
    )
    flags = ("--force",) if order.force else ()
    return (*(word for flag, value in given if value for word in (flag, value)), *flags)


def _recorded(variant: Variant) -> dict[str, Any]:
    """What the device has to know, and where it comes from."""
    artifact, golden = variant.source.artifact(), variant.golden
    return {
        **variant.description(),
        "made_from": {"sha256": variant.source.sha256, "target": artifact.target if artifact else None},
        "recipe": msgspec.to_builtins(artifact.recipe) if artifact else None,
        "golden": {
            "samples": golden.head.samples if golden else 0,
            "runtime": golden.head.runtime if golden else None,
            "data": golden.head.data if golden else None,
        },
        "findings": msgspec.to_builtins(variant.findings),
    }


def _variant(
    order: Order,
    kind: Kind,
    unit: str,
    source: Source,
    vectors: Mapping[str, GoldenVectors],
    notes: list[str],
    cpu: Variant | None,
) -> Variant:
    contents = read_contents(source.model, str(source.files[0]))
    if kind.refuse is not None:
        kind.refuse(source, contents)
    findings = () if unit == "edgetpu" else _judged(source, contents, order.target, order.force)
    labels = read_labels(order.labels[0]) if order.labels else ()
    known, left = contract_of(source, contents, labels)
    notes.extend(left)
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "_", order.name).strip("._-") or "model"
    file = f"{slug}.tflite" if len(order.sources) == 1 else f"{slug}-{unit}.tflite"
    if unit == "edgetpu":
        if not any(op.custom and op.name == COMPILED for op in contents.operators):
            said = f"{source.name} is given for the edgetpu and was not compiled for it: the CPU would run it"
            notes.append(f"{said}; edgekit compile FILE --for edgetpu -o compiled")
        known, golden = _as_cpu(known, cpu)
        return Variant(unit, file, source.model, contents, known, golden, source)
    model = _bare(source.model) if kind.bare else _described(source.model, contents, known, order)
    golden = _golden(model, contents, kind, vectors.get(source.sha256))
    if kind.micro and golden is not None and not golden.head.runtime.startswith("tflite-micro"):
        notes.append(f"TensorFlow Lite Micro may differ from {golden.head.runtime} by more than golden vectors allow")
    return Variant(unit, file, model, contents, known, golden, source, findings)


def _bare(model: bytes) -> bytes:
    """Without the files that are packed behind it, which firmware would hold and never read."""
    return inline_buffers(model) if read_metadata(model).files else model


def _judged(source: Source, contents: ModelContents, target: Target | None, force: bool) -> tuple[Finding, ...]:
    """What the target says about the model. Raises GateError for errors, unless they are forced."""
    if target is None:
        return ()
    findings = check(contents, target, read_graph(source.model)).findings
    errors = [one for one in findings if one.level == "error"]
    if errors and not force:
        raise GateError(
            f"the model does not run on {target.name}: " + "; ".join(f"{one.subject}: {one.problem}" for one in errors),
            f"{errors[0].mend or 'choose another target'}; or --force",
        )
    return findings


def _described(model: bytes, contents: ModelContents, known: Contract, order: Order) -> bytes:
    """The model with labels and normalization as TFLite Metadata; as it is where it says all that already."""
    own = order.labels is not None or any(source.manifest_bytes for source in order.sources.values())
    if not own:
        return model
    found = read_metadata(model)
    changes = structs.replace(metadata_of(known), **_words(order, found), license=order.licence)
    return write_metadata(model, changed(found, contents, changes))


def _words(order: Order, found: FileMetadata) -> dict[str, str]:
    """Name and version to write: those of the order, but for defaults where the file has its own."""
    old, default = found.model or ModelMetadata(), next(iter(order.sources.values())).name
    name = {} if old.name and order.name == default else {"name": order.name}
    return name if old.version and order.version == FIRST_VERSION else {**name, "version": order.version}


def _as_cpu(known: Contract, cpu: Variant | None) -> tuple[Contract, GoldenVectors | None]:
    """What the CPU file of an Edge TPU file says, which the compiler left out."""
    if cpu is None:
        raise InputError(
            "a file for the Edge TPU, and none for the CPU",
            "give the file that it was compiled from too: it runs where no Edge TPU is, and makes the golden vectors",
        )
    mine, theirs = (
        [(one.dtype, _closed(one.shape), one.scale, one.zero_point) for one in (*side.inputs, *side.outputs)]
        for side in (known, cpu.contract)
    )
    if mine != theirs:
        raise InputError(
            "the file for the Edge TPU takes or gives other numbers than the one for the CPU",
            "give the file that it was compiled from",
        )
    return structs.replace(cpu.contract, inputs=known.inputs, outputs=known.outputs), cpu.golden


def _closed(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape whose batch, where that is open, is 1, as `edgekit compile --fix-sizes` makes it."""
    return (1, *shape[1:]) if shape and shape[0] == -1 else (*shape,)


def _golden(model: bytes, contents: ModelContents, kind: Kind, given: GoldenVectors | None) -> GoldenVectors | None:
    """The user's vectors, or random ones: up to four, fewer where they would take more than 65,536 numbers.

    What firmware computes is held against TensorFlow Lite Micro itself, where it is installed and runs the file.
    """
    runs = not any(op.custom and op.name not in IN_RUNTIME for op in contents.operators)
    kernels: Literal["litert", "tflite-micro"] = "tflite-micro" if kind.micro and runs and micro_there() else "litert"
    if given is not None and kernels == "tflite-micro":
        made = golden_vectors(model, given.head.samples, data=RealInputs("", given.inputs), kernels=kernels)
        head = structs.replace(made.head, seed=given.head.seed, data=given.head.data)
        return GoldenVectors(head, made.inputs, made.outputs)
    if given is not None:
        head = structs.replace(given.head, model_sha256=digest(model))
        return GoldenVectors(head, given.inputs, given.outputs)
    if kind.bare and not runs:
        return None
    elements = sum(tensor.elements for tensor in (*contents.inputs, *contents.outputs))
    count = max(1, min(_MOST_SAMPLES, _MOST_ELEMENTS // max(elements, 1)))
    return golden_vectors(model, count, kernels=kernels)


def _refuse_strangers(variants: Mapping[str, Variant]) -> None:
    """Variants of one model take the same samples and name the same classes."""
    told = {
        unit: (
            [_closed(one.shape) for one in (*variant.contract.inputs, *variant.contract.outputs)],
            variant.contract.labels,
            variant.contract.preprocessing,
        )
        for unit, variant in variants.items()
    }
    first = next(iter(told))
    for unit, facts in told.items():
        if facts != told[first]:
            raise InputError(
                f"the models for the {first} and the {unit} differ in shapes, labels or preprocessing",
                "give variants of one model; a plain file gets its labels by --labels, its numbers by edgekit metadata",
            )
