"""What `--json` prints and what edgekit writes and reads: keys and types, from the values themselves."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from edgekit import (
    artifact,
    compare,
    compress,
    environment,
    evaluate,
    recipe,
    robustness,
    run,
    target,
)
from edgekit.bench import profile, result
from edgekit.cli import (
    benchmark,
    check,
    compile,
    devices,
    diff,
    estimate,
    firmware,
    keygen,
    memory,
    package,
    patch,
    rewrite,
    split_table,
    targets,
    validation,
    verify,
)
from edgekit.data import spec
from edgekit.device import devices_file
from edgekit.doctor import agreement, diagnosis, repair
from edgekit.package import golden, golden_file, verify_package, verify_run
from edgekit.recommendation import technique
from edgekit.search import found
from edgekit.split import plan
from edgekit.stages import sensitivity
from edgekit.tflite import inspect, metadata

vars(verify)["VariantRun"] = verify_run.VariantRun  # that module has it for type checkers only, to load no runtime

Fact = tuple[str, str]
Schema = dict[str, Any]


class Repaired(TypedDict):
    """What `edgekit doctor --repair` prints."""

    diagnosis: diagnosis.Diagnosis
    repair: repair.Repair
    file: str


PRINTED: dict[str, Any] = {
    "agree": agreement.Agreements,
    "benchmark": benchmark.Report,
    "check": check.CheckReport,
    "compare": compare.Comparison,
    "compile --for edgetpu": compile.EdgeTpuReport,
    "compile --for ethos-u": compile.EthosReport,
    "compress": list[compress.StageReport],
    "devices": dict[str, devices_file.Entry],
    "devices check": devices.Checked,
    "devices list": dict[str, devices_file.Entry],
    "diff": diff.Report,
    "doctor": list[environment.Found],
    "doctor MODEL": diagnosis.Diagnosis,
    "doctor MODEL --repair": Repaired,
    "estimate": estimate.EstimateReport,
    "evaluate": evaluate.Evaluation,
    "evaluate --float": robustness.Robustness,
    "firmware size": firmware.Report,
    "inspect": inspect.ModelContents,
    "inspect --deflated": inspect.ModelSummary,
    "keygen": keygen.Keys,
    "memory": memory.Report,
    "metadata set": metadata.FileMetadata,
    "metadata show": metadata.FileMetadata,
    "optimize": run.Run,
    "package": package.Report,
    "patch": patch.Report,
    "profile": profile.Profile,
    "recipes": dict[str, str],
    "recipes list": dict[str, str],
    "recipes show": recipe.Recipe,
    "recipes validate": list[validation.Validation],
    "recommend": technique.Recommendation,
    "results show": benchmark.Report,
    "rewrite": rewrite.Report,
    "search": found.Found,
    "sensitivity": sensitivity.SensitivityReport,
    "split": split_table.Report,
    "targets": list[targets.Listed],
    "targets list": list[targets.Listed],
    "targets show": target.Target,
    "targets validate": list[validation.Validation],
    "vectors": golden_file.GoldenHead,
    "vectors --check": golden.VectorCheck,
    "verify": verify.Report,
}
WRITTEN: dict[str, Any] = {
    "run.json": run.Run,
    "front.json": found.Found,
    "manifest.json of an artifact": artifact.Manifest,
    "manifest.json of a package, as edgekit reads it": verify_package.PackageManifest,
    "golden vectors, their head": golden_file.GoldenHead,
    "plan.json of a split": plan.Plan,
    "results of benchmark -o": result.Results,
}
READ: dict[str, Any] = {
    "recipe file": recipe.Recipe,
    "target file": target.Target,
    "data.toml": spec.DataSpec,
    "devices.toml": dict[str, devices_file.Entry],
}


def facts() -> Iterator[Fact]:
    """A line for each command and file, for each key of each value, and for each word of a choice."""
    named = {**{f"edgekit {name} --json": kind for name, kind in PRINTED.items()}, **WRITTEN, **READ}
    schemas, definitions = components(list(named.values()))
    for name, schema in zip(named, schemas, strict=True):
        yield name, _written(schema)
    given = set(_reached([schemas[list(named).index(name)] for name in READ], definitions))
    for name, schema in definitions.items():
        yield from _keys(name, schema, name in given)
    yield from packaged()


def components(kinds: list[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """JSON schemas of the kinds, and what they refer to by name; paths and what msgspec does not know are strings."""
    schemas, definitions = msgspec.json.schema_components(
        kinds, ref_template="#/$defs/{name}", schema_hook=lambda _: {"type": "string"}
    )
    return list(schemas), definitions


def _keys(name: str, schema: Schema, given: bool) -> Iterator[Fact]:
    """Each key with its type; what a user's file must have is required, all that is printed is there anyway."""
    required = schema.get("required", ()) if given else ()
    for key, value in schema.get("properties", {}).items():
        yield f"{name}.{key}", ("required " if key in required else "") + _written(value)
        for word in _words(value):
            yield f"{name}.{key}={json.dumps(word)}", "one of its values"
    if words := schema.get("enum"):
        yield from ((f"{name}={json.dumps(word)}", "one of its values") for word in words)
    if not schema.get("properties"):
        yield name, _written(schema)
    else:
        yield name, "object" if schema.get("additionalProperties", True) else "object, no other keys"


def _written(schema: Schema) -> str:
    """A type in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in schema:
        return " or ".join(_written(one) for one in schema["anyOf"])
    if "prefixItems" in schema:
        return f"array of {', '.join(_written(one) for one in schema['prefixItems'])}"
    if schema.get("type") == "array":
        return f"array of {_written(schema.get('items') or {})}"
    if isinstance(inner := schema.get("additionalProperties"), dict):
        return f"object of {_written(inner)} by name"
    if "enum" in schema:
        return "choice"
    return str(schema.get("type", "anything"))


def _inner(schema: Schema) -> list[Schema]:
    """Schemas inside of one."""
    several = [*schema.get("anyOf", ()), *schema.get("prefixItems", ()), *schema.get("properties", {}).values()]
    single = [schema.get("items"), schema.get("additionalProperties")]
    return several + [one for one in single if isinstance(one, dict)]


def _words(schema: Schema) -> list[Any]:
    return [*schema.get("enum", ()), *(word for one in _inner(schema) for word in _words(one))]


def _reached(schemas: list[Schema], definitions: dict[str, Schema]) -> Iterator[str]:
    """Names of definitions that the schemas need, each once."""
    seen: set[str] = set()
    new = list(schemas)
    while new:
        schema = new.pop()
        name = str(schema.get("$ref", "")).rsplit("/", 1)[-1]
        if name and name not in seen:
            seen.add(name)
            new.append(definitions[name])
        new += _inner(schema)
    return iter(seen)


def packaged() -> Iterator[Fact]:
    """The manifest of a package and its contract, from one that is made: they are put together, not one value."""
    import tiny_models

    from edgekit import package_model

    with tempfile.TemporaryDirectory() as folder:
        model, out = Path(folder) / "m.tflite", Path(folder) / "out"
        model.write_bytes(tiny_models.negative())
        package_model([model], out, kind="firmware")
        manifest = json.loads((out / "manifest.json").read_bytes())
    manifest["notices"] = []  # one says so where tflite-micro is not installed
    yield from sorted({f"manifest.json of a package{key}": fact for key, fact in _seen(manifest)}.items())


def _seen(value: Any, path: str = "") -> Iterator[Fact]:
    """Keys of a document, and of what is in it, with the types found."""
    if isinstance(value, dict) and path not in (".files", ".versions"):
        for key, inner in value.items():
            yield from _seen(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _seen(inner, f"{path}[]")
    else:
        names = {dict: "object", list: "array", str: "string", int: "integer", float: "number", bool: "boolean"}
        yield path, names.get(type(value), "null")
