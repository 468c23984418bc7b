"""A folder for an Android app: an AAR, Java sources around the model, a pack for Google Play, and Gradle lines.

The sources are Java, not Kotlin: `javac` alone compiles and proves them, an app in Kotlin calls them as its own, and an
app in Java needs no Kotlin library for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from edgekit.errors import InputError, ModelError
from edgekit.finding import named
from edgekit.package import java_text
from edgekit.package.android_aar import Jar, aar_bytes, compiled
from edgekit.package.android_java import java_facts
from edgekit.package.build import IN_RUNTIME, Kind
from edgekit.package.bundle import Built, Bundle
from edgekit.package.description import label_lines
from edgekit.package.source import Source
from edgekit.package.templating import filled
from edgekit.tflite.inspect import ModelContents

LITERT = "1.4.2"
"""The last LiteRT whose Interpreter has a GPU delegate: that of 2.x runs on the CPU alone."""
PLAY_SERVICES = "16.5.0"

_TYPES = {"float32", "int8", "uint8", "int16", "int32", "int64", "bool"}
_LEAST_SDK = 21
_MOST_SDK = 99
_DELIVERY = {
    "ai": "com.google.android.play:ai-delivery:0.2.0-beta01",
    "asset": "com.google.android.play:asset-delivery:2.3.0",
}


class AndroidOptions(Struct, frozen=True):
    """How the package is made.

    `java_package` is that of the sources, org.edgekit.NAME if empty. `runtime` is where the app has the interpreter
    from: in itself, or from Google Play services. `delivery` is when Play brings the pack to a phone, `pack` which
    of its two plugins makes it. `classpath` has android.jar and the classes of the runtime, to put compiled classes
    into the AAR; without it the app compiles the sources.
    """

    java_package: str = ""
    runtime: Literal["app", "play"] = "app"
    min_sdk: int = _LEAST_SDK
    pack: Literal["ai", "asset"] = "ai"
    delivery: Literal["on-demand", "fast-follow", "install-time"] = "on-demand"
    classpath: tuple[Jar, ...] = ()

    def __post_init__(self) -> None:
        if self.java_package and (fault := java_text.package_fault(self.java_package)):
            raise InputError(
                f"{self.java_package!r} is no Java package for Android: {fault}", "give one such as org.example.digits"
            )
        if not _LEAST_SDK <= self.min_sdk <= _MOST_SDK:
            raise InputError(f"no LiteRT runs on API level {self.min_sdk}", f"give {_LEAST_SDK} or more")


def refuse(source: Source, contents: ModelContents) -> None:
    """Raise ModelError for operators and tensors that the interpreter of an app does not have."""
    if flex := [op for op in contents.operators if op.flex]:
        raise ModelError(
            f"{named(flex)}: an operator of TensorFlow, which LiteRT for Android is without",
            "rewrite the layer; or build by hand with the AAR org.tensorflow:tensorflow-lite-select-tf-ops",
        )
    if custom := [op for op in contents.operators if op.custom and op.name not in IN_RUNTIME]:
        raise ModelError(
            f"{named(custom)}: a custom operator, whose kernel only an AAR of its maker has",
            "replace the layer; or build LiteRT for Android with the kernel, and the app by hand",
        )
    if not contents.inputs or not contents.outputs:
        raise ModelError(f"{source.name} has no input, or no output", "convert it with both")
    for tensor in (*contents.inputs, *contents.outputs):
        if tensor.dtype not in _TYPES or (tensor.scale and tensor.dtype in ("int32", "int64")):
            raise ModelError(f"{tensor.name!r} is of type {tensor.dtype}", "make it with float32 or int8 in and out")
        if -1 in tensor.shape[1:]:
            raise ModelError(f"{tensor.name!r} has the open shape {list(tensor.shape)}", "convert with fixed shapes")


@dataclass(frozen=True)
class _Names:
    """What the package is called where: `asset` folder and pack, Java `package`, beginning of the classes."""

    asset: str
    package: str
    classes: str


def android_files(bundle: Bundle, options: AndroidOptions) -> Built:
    """The files of the package. Raises InputError, MissingDependency without javac, RunError where it refuses."""
    names = _names(bundle.name, options)
    facts = _facts(bundle, names, options)
    sources = _sources(names, facts)
    classes, compiler = compiled(sources, options.classpath)
    assets = {f"assets/edgekit/{names.asset}/{name}": data for name, data in _assets(bundle).items()}
    aar = f"{names.asset}.aar"
    pack = f"pack/{facts['pack_name']}"
    tests = {f"{names.classes}ModelTest.java": _filled("ModelTest.java", facts)}
    texts = {
        "gradle/app.gradle": "app.gradle",
        "gradle/app.gradle.kts": "app.gradle.kts",
        f"{pack}/build.gradle": "pack.gradle",
        "README.md": "README.md",
    }
    files = {
        aar: aar_bytes(facts, classes, assets),
        **assets,
        **{f"{pack}/src/main/{name}": data for name, data in assets.items()},
        **_placed("java", names.package, sources),
        **_placed("androidTest", names.package, tests),
        **{name: _filled(template, facts) for name, template in texts.items()},
        **{f"golden/{Path(one.file).stem}.json": one.golden.to_json() for one in bundle.variants if one.golden},
    }
    record = {"android": _record(options, names, compiler)}
    return Built(files, names.asset, aar, record, _notices(bundle, names))


def _record(options: AndroidOptions, names: _Names, compiler: str | None) -> dict[str, Any]:
    told = {key: getattr(options, key) for key in ("runtime", "min_sdk", "pack", "delivery")}
    classpath = {jar.name: jar.sha256 for jar in options.classpath}
    return {**told, "java_package": names.package, "classes": names.classes, "javac": compiler, "classpath": classpath}


def _names(name: str, options: AndroidOptions) -> _Names:
    asset = java_text.identifier(name)
    return _Names(asset, options.java_package or f"org.edgekit.{asset.lower()}", java_text.class_name(asset))


def _facts(bundle: Bundle, names: _Names, options: AndroidOptions) -> dict[str, Any]:
    """What the templates are filled with."""
    gpu = any(variant.unit == "gpu" for variant in bundle.variants)
    return {
        **java_facts(bundle),
        "title": java_text.comment(bundle.name),
        "version": bundle.version,
        "licence": java_text.comment(bundle.licence or ""),
        "name": names.classes,
        "package": names.package,
        "folder": f"edgekit/{names.asset}",
        "out": names.asset,
        "aar": f"{names.asset}.aar",
        "pack_name": f"{names.asset}_pack",
        "gpu": gpu,
        "play": options.runtime == "play",
        "min_sdk": options.min_sdk,
        "pack": options.pack,
        "delivery": options.delivery,
        "delivery_library": _DELIVERY[options.pack],
        "dependencies": _dependencies(options.runtime, gpu),
        "compiled": bool(options.classpath),
    }


def _dependencies(runtime: str, gpu: bool) -> tuple[str, ...]:
    if runtime == "play":
        group, version, parts = "com.google.android.gms", PLAY_SERVICES, ["play-services-tflite-java"]
        parts += ["play-services-tflite-gpu"] if gpu else []
    else:
        group, version, parts = "com.google.ai.edge.litert", LITERT, ["litert"]
        parts += ["litert-gpu", "litert-gpu-api"] if gpu else []
    return tuple(f"{group}:{part}:{version}" for part in parts)


def _sources(names: _Names, facts: Mapping[str, Any]) -> dict[str, bytes]:
    parts = ("Files", "Model", "Processing", "SelfTest")
    return {f"{names.classes}{part}.java": _filled(f"{part}.java", facts) for part in parts}


def _filled(template: str, facts: Mapping[str, Any]) -> bytes:
    return filled(f"android/{template}.j2", facts, {"java_string": java_text.string, "plain": java_text.markdown})


def _placed(root: str, package: str, sources: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{root}/{package.replace('.', '/')}/{name}": data for name, data in sources.items()}


def _assets(bundle: Bundle) -> dict[str, bytes]:
    """Models, contract, labels and golden vectors, by their place in the folder of the model."""
    files = {variant.file: variant.model for variant in bundle.variants}
    files["contract.json"] = msgspec.json.format(msgspec.json.encode(bundle.description()), indent=2) + b"\n"
    if labels := bundle.variants[0].contract.labels:
        files["labels.txt"] = label_lines(labels)
    for variant in bundle.variants:
        if variant.golden is not None:
            raw = variant.golden.raw().items()
            files |= {f"golden/{Path(variant.file).stem}/{name}": data for name, data in raw}
    return files


def _notices(bundle: Bundle, names: _Names) -> tuple[str, ...]:
    found = []
    if names.asset != bundle.name:
        found.append(f"{bundle.name!r} is no name in Java: it became {names.asset}, with classes {names.classes}...")
    if all(variant.unit == "gpu" for variant in bundle.variants):
        found.append("no file for the CPU: a phone without a GPU that LiteRT knows runs the one for the GPU on its CPU")
    for variant in bundle.variants:
        if variant.golden is not None and not variant.golden.head.xnnpack_compared:
            found.append(f"XNNPACK cannot run {variant.file}: the app runs it without, which is slower")
    return tuple(found)


KIND = Kind(android_files, units=("gpu", "cpu"), options=AndroidOptions, refuse=refuse)
