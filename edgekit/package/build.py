"""Package a model for where it goes: `package_model(["cpu=digits.tflite"], Path("out"), kind="android")`.

Every kind gets the same: the model files, what is known of them, golden vectors, a manifest with the hash of each file,
and a bill of materials. The bytes follow from the models, the options, and the packages that the manifest names; a
second call with the same finds the folder as it should be, and touches nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import InputError, OutputError, did_you_mean
from edgekit.package import folder
from edgekit.package.source import UNITS, Source, open_source
from edgekit.tflite import flatbuffer
from edgekit.versions import install_folders, versions

if TYPE_CHECKING:
    from edgekit.package.bundle import Built, Bundle
    from edgekit.target import Target
    from edgekit.tflite.inspect import ModelContents

KINDS = ("android", "firmware", "ios", "linux")
"""Each is a module of this package with a `KIND`."""

_MADE_BY = ("edgekit", "ai-edge-litert", "tflite-runtime", "tflite-micro", "cyclonedx-python-lib")
"""The packages that decide what the files hold."""
_EDGETPU = b"edgetpu-custom-op"
IN_RUNTIME = frozenset({"TFLite_Detection_PostProcess"})
"""Custom operators that LiteRT has kernels for."""
FIRST_VERSION = "1.0.0"
"""That of a package where none is told."""
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,3}")
_CONSTANT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SMALLEST, _LARGEST = 1.17549435e-38, 3.4028234e38  # of a float in C


@dataclass(frozen=True)
class Kind:
    """One kind of package: which units its variants may be for, and the function that gives the bundle a form.

    `bare` kinds get the file as it is, without TFLite Metadata; `micro` ones golden vectors of TensorFlow Lite Micro,
    where it is installed. `refuse` raises for a file that no build of this kind could run.
    """

    build: Callable[[Bundle, Any], Built]
    units: tuple[str, ...]
    options: type[Any] | None = None
    bare: bool = False
    micro: bool = False
    refuse: Callable[[Source, ModelContents], None] | None = None


@dataclass(frozen=True)
class Order:
    """What is asked for, read: one source for each unit, the target, the user's labels and golden vectors."""

    kind: str
    sources: Mapping[str, Source]
    name: str
    version: str
    licence: str | None
    target: Target | None
    labels: tuple[Path, bytes] | None
    vectors: tuple[tuple[Path, bytes], ...]
    constants: Mapping[str, float]
    force: bool
    options: Any


@dataclass(frozen=True)
class Packaged:
    """Where the package is, the name that its code goes by, and what this call wrote: nothing if all was there.

    `inputs` are the files that were read, `output` is the file that a build waits for.
    """

    folder: Path
    name: str
    output: Path
    written: tuple[str, ...]
    manifest: dict[str, Any]
    inputs: tuple[Path, ...]

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know."""
        return tuple(self.manifest["notices"])

    @property
    def forced(self) -> tuple[str, ...]:
        """Findings that the target refuses a model for, and it was packaged all the same; an arena is in `notices`."""
        found = (finding for variant in self.manifest["variants"] for finding in variant["findings"])
        return tuple(f"{one['subject']}: {one['problem']}" for one in found if one["level"] == "error")


def package_model(
    models: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    kind: str,
    name: str | None = None,
    version: str = FIRST_VERSION,
    licence: str | None = None,
    target: str | Path | Any | None = None,
    labels: str | Path | None = None,
    vectors: str | Path | Sequence[str | Path] = (),
    constants: Mapping[str, float] | None = None,
    force: bool = False,
    options: Any = None,
) -> Packaged:
    """Package a .tflite file or artifact folder, or several, into the folder `out`.

    A model is a path, or `UNIT=PATH` where the package has several: `gpu=float16.tflite`. `name` begins the names in
    the package (default: the model's). A file's metadata keep a name and version of their own unless others than the
    defaults are given. `target` is as for `load_target`. `labels` is a text file with a line for each place of the
    output, `vectors` are files of `edgekit vectors` to use instead of random samples. `constants` are numbers that the
    code on the device needs beside the model, such as a threshold. `options` are those of the kind.

    Raises ModelError for what cannot be read or run there, InputError for options that do not fit, GateError where a
    model, or its recorded arena in firmware, breaks a rule or budget of `target` (unless `force`), OutputError for a
    folder that holds something else.
    """
    if kind not in KINDS:
        raise InputError(f"no kind of package is called {kind!r}", did_you_mean(kind, KINDS))
    if not _VERSION.fullmatch(version):
        raise InputError(f"{version!r} is no version", "give numbers with points between, such as 1.0.0")
    models, vectors = _several(models), tuple(map(Path, _several(vectors)))
    out, labels = Path(out), Path(labels) if labels else None
    if not models:
        raise InputError("no model to package", "give a .tflite file, or a folder of edgekit optimize")
    sources = _sources(models)
    board, claims = _target(target) if target is not None else (None, ())
    first = next(iter(sources.values()))
    order = Order(
        kind=kind,
        sources=sources,
        name=name or first.name,
        version=version,
        licence=licence,
        target=board,
        labels=(labels, _read(labels)) if labels else None,
        vectors=tuple((path, _read(path)) for path in vectors),
        constants=_constants(constants or {}),
        force=force,
        options=options,
    )
    with folder.locked(out):
        key = folder.key_of(_facts(order))
        made = folder.standing(out, key)
        manifest, written = (made, ()) if made else _made(order, out, key)
    files = [file for source in sources.values() for file in source.files]
    read = (*files, *claims, *([labels] if labels else []), *vectors)
    return Packaged(out, manifest["identifier"], out / manifest["output"], written, manifest, read)


def write_depfile(path: Path, made: Packaged, output: Path | None = None) -> bool:
    """Write the rule that the output depends on what was read, unless the file says so already. Raises OutputError.

    What was read are the models, the user's other files, and the folders where the packages that made it are installed;
    by absolute names, since Ninja reads the file in another folder.
    """
    inputs = [os.path.abspath(file) for file in (*made.inputs, *install_folders(_MADE_BY))]
    return folder.write_if_changed(path, folder.depfile(str(output or made.output), inputs))


def write_stamp(path: Path) -> None:
    """Renew the time of an empty file, which says that a package is as it should be. Raises OutputError.

    Files that did not change keep their times, so that nothing is compiled again; a build has to know all the same that
    there is nothing to do.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as cause:
        raise OutputError(f"{path}: {cause.strerror}", "give a place that can be written") from cause


def _made(order: Order, out: Path, key: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The manifest of a package that is made now, and what was written."""
    from edgekit.package.contents import bundle_of, judge_arena, manifest_of
    from edgekit.package.sbom import package_sbom, require_cyclonedx

    require_cyclonedx()
    kind: Kind = import_module(f"edgekit.package.{order.kind}").KIND
    bundle, notes = bundle_of(order, kind)
    options = order.options if order.options is not None or kind.options is None else kind.options()
    built = kind.build(bundle, options)
    notes += judge_arena(order, built.record.get("arena"))
    tools = versions(_MADE_BY)
    files = {**built.files, "sbom.cdx.json": package_sbom(bundle, tools)}
    manifest = {**manifest_of(order, bundle, built, notes), "versions": tools}
    return manifest, folder.write_package(out, files, manifest, key)


def _facts(order: Order) -> dict[str, Any]:
    """Everything that the bytes follow from."""
    import msgspec

    return {
        "kind": order.kind,
        "models": {unit: [one.sha256, folder.digest(one.manifest_bytes)] for unit, one in order.sources.items()},
        "name": order.name,
        "version": order.version,
        "licence": order.licence,
        "target": folder.digest(msgspec.json.encode(order.target)) if order.target else "",
        "labels": folder.digest(order.labels[1]) if order.labels else "",
        "vectors": [folder.digest(data) for _, data in order.vectors],
        "constants": order.constants,
        "force": order.force,
        "options": msgspec.to_builtins(order.options),
        "versions": versions(_MADE_BY),
        "date": os.environ.get("SOURCE_DATE_EPOCH", ""),
    }


def _several(paths: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """One path as the only one of several."""
    return [paths] if isinstance(paths, str | Path) else paths


def _sources(models: Sequence[str | Path]) -> dict[str, Source]:
    """{unit: source} in the order of choice. Raises InputError for two of a unit."""
    found: dict[str, Source] = {}
    for model in models:
        word, equals, path = str(model).partition("=")
        told = bool(equals) and word in UNITS
        source = open_source(Path(path if told else model))
        flatbuffer.refuse_others(source.model, str(source.files[0]))
        unit = word if told else ("edgetpu" if _EDGETPU in source.model else "cpu")
        if unit in found:
            raise InputError(
                f"{found[unit].name} and {source.name} are both for the {unit}",
                f"say what each is for: {' or '.join(f'{one}=PATH' for one in UNITS)}",
            )
        found[unit] = source
    return {unit: found[unit] for unit in UNITS if unit in found}


def _constants(given: Mapping[str, float]) -> dict[str, float]:
    """As they are, by name. Raises InputError for a name or a number that firmware could not have."""
    for name, value in given.items():
        if not _CONSTANT.fullmatch(name):
            raise InputError(f"{name!r} is no name of a constant", "use small letters, digits and single underscores")
        if value and not _SMALLEST <= abs(value) <= _LARGEST:
            raise InputError(f"the constant {name} is {value}", "give a number that a float of 32 bits can hold")
    return {name: float(given[name]) for name in sorted(given)}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise InputError(f"{path}: {cause.strerror}", "give a file that can be read") from None


def _target(name: str | Path | Target) -> tuple[Target, tuple[Path, ...]]:
    """A target, and those of its files that are the user's own: it, and what it extends."""
    from edgekit.target import Target, load_target
    from edgekit.target_files import find, parent

    if isinstance(name, Target):
        return name, ()
    file = find(name)
    target = load_target(file)
    files = [file, *([parent(target.extends, file)] if target.extends else [])]
    return target, tuple(Path(str(one.path)) for one in files if not one.shipped)
