"""A Swift package for an iOS app: the model files, their contract as code, golden vectors, and a self-test.

What runs a file is brought by the app, as a protocol: LiteRT's documented libraries for iOS are CocoaPods, which no
Swift package can depend on (https://ai.google.dev/edge/litert/ios/quickstart, google-ai-edge/LiteRT issue 125). An
adapter for one lies beside. It is TensorFlowLiteObjC, since TensorFlowLiteSwift has no int8 (`Tensor.DataType`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.artifact import Tensor
from edgekit.data.spec import Preprocessing
from edgekit.errors import ModelError
from edgekit.package.build import Kind
from edgekit.package.bundle import Built, Bundle, Variant
from edgekit.package.description import label_lines
from edgekit.package.source import Source
from edgekit.package.swift_text import comment, module_name, number, string
from edgekit.package.templating import filled
from edgekit.tflite.inspect import ModelContents, TensorInfo
from edgekit.tflite.numbers import to_stored

TYPES = ("bool", "int8", "uint8", "int16", "int32", "int64", "float32")
"""What the code stores values as."""

_FILTERS: dict[str, Callable[..., str]] = {"literal": string, "number": number, "words": comment}
_TEMPLATES = {
    "Package.swift.j2": "Package.swift",
    "Model.swift.j2": "Sources/{name}/{name}.swift",
    "Tensor.swift.j2": "Sources/{name}/Tensor.swift",
    "SelfTest.swift.j2": "Sources/{name}/SelfTest.swift",
    "GoldenTests.swift.j2": "Tests/{name}Tests/GoldenTests.swift",
    "Runner.swift.j2": "Adapters/{name}TensorFlowLiteRunner.swift",
    "README.md.j2": "README.md",
}


def ios_files(bundle: Bundle, options: None = None) -> Built:
    """The files of the Swift package; a name that is none of a module is changed with a notice. Raises InputError."""
    name = module_name(bundle.name)
    resources, vectors = _resources(bundle), _vectors(bundle)
    first = bundle.variants[0].contract
    facts = {
        "name": name,
        "bundle": bundle,
        "variants": [_facts(one) for one in bundle.variants],
        "resources": sorted(resources),
        "vectors": sorted(vectors),
        "gpu": any(one.unit == "gpu" for one in bundle.variants),
        "labels": first.labels,
        "classifies": first.classifies,
        "mean": [float(np.float32(value)) for value in first.preprocessing.mean or (0.0,)],
        "scale": [float(np.float32(value)) for value in first.preprocessing.scale or (1.0,)],
        "channels_first": first.preprocessing.layout == "channels_first",
    }
    files = {
        file.format(name=name): filled(f"ios/{template}", facts, _FILTERS) for template, file in _TEMPLATES.items()
    }
    files |= {f"Sources/{name}/Resources/{file}": data for file, data in resources.items()}
    files |= {f"Tests/{name}Tests/Resources/{file}": data for file, data in vectors.items()}
    return Built(files, name, "Package.swift", {}, _notices(bundle, name))


def _notices(bundle: Bundle, name: str) -> tuple[str, ...]:
    found = []
    if name.casefold() != bundle.name.casefold():
        found.append(f"{bundle.name!r} is no name of a Swift module: it became {name}")
    for variant in bundle.variants:
        if variant.golden is not None and not variant.golden.head.xnnpack_compared:
            found.append(f"XNNPACK cannot run {variant.file}: the app asks for none of it, which is slower")
    return tuple(found)


def refuse_what_swift_has_no_type_for(source: Source, contents: ModelContents) -> None:
    """Raise ModelError for inputs and outputs that the package's code could not hand in or take out."""
    for tensor in (*contents.inputs, *contents.outputs):
        if tensor.dtype not in TYPES:
            raise ModelError(
                f"{source.name}: {tensor.name!r} is of type {tensor.dtype}", f"make it with {', '.join(TYPES)}"
            )
        if -1 in tensor.shape[1:]:
            raise ModelError(
                f"{source.name}: {tensor.name!r} has an open size, {list(tensor.shape)}", "convert it with fixed sizes"
            )
    if not contents.inputs or not contents.outputs:
        raise ModelError(f"{source.name} has no input, or no output", "convert it with both")


def _resources(bundle: Bundle) -> dict[str, bytes]:
    """What goes into the app's bundle, by name."""
    contract = json.dumps(bundle.description(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    files = {"contract.json": contract.encode()}
    if labels := bundle.variants[0].contract.labels:
        files["labels.txt"] = label_lines(labels)
    return files | {variant.file: variant.model for variant in bundle.variants}


def _vectors(bundle: Bundle) -> dict[str, bytes]:
    """Golden vectors by name: for tests only, since the numbers as text are often larger than the model."""
    found = ((_stem(variant), variant.golden) for variant in bundle.variants)
    return {f"{stem}-golden.json": golden.to_json() for stem, golden in found if golden is not None}


def _facts(variant: Variant) -> dict[str, Any]:
    known = variant.contract
    return {
        "unit": variant.unit,
        "stem": _stem(variant),
        "file": variant.file,
        "sha256": variant.sha256,
        "size": len(variant.model),
        "numeric": variant.contents.numeric,
        "xnnpack": variant.golden is None or variant.golden.head.xnnpack_compared,
        "inputs": [_input(one, known.preprocessing) for one in known.inputs],
        "outputs": [_tensor(one) for one in known.outputs],
    }


def _stem(variant: Variant) -> str:
    return variant.file.removesuffix(".tflite")


def _tensor(tensor: Tensor) -> dict[str, Any]:
    shape = [max(size, 1) for size in tensor.shape]
    kind = {"name": tensor.name, "shape": shape, "dtype": tensor.dtype}
    return {**kind, "scale": tensor.scale or None, "zero_point": tensor.zero_point or 0}


def _input(tensor: Tensor, preprocessing: Preprocessing) -> dict[str, Any]:
    told = _tensor(tensor)
    shape = told["shape"]
    moved = preprocessing.layout == "channels_first" and len(shape) > 2
    raw_shape = [shape[0], shape[-1], *shape[1:-1]] if moved else shape
    return {**told, "raw_shape": raw_shape, "pattern_sha256": _pattern(tensor, raw_shape, preprocessing)}


def _pattern(tensor: Tensor, raw_shape: list[int], preprocessing: Preprocessing) -> str:
    """SHA-256 of the stored bytes for raw values 0, 37, 74, ... modulo 256; empty where nothing is done to them.

    The test in Swift makes the same values and has to come to the same bytes.
    """
    if tensor.dtype != "float32" and not tensor.scale:
        return ""
    raw = (np.arange(int(np.prod(raw_shape))) * 37 % 256).astype(np.float32).reshape(raw_shape)
    channels = max(len(preprocessing.mean), len(preprocessing.scale), 1)
    if preprocessing.layout == "channels_last" and raw.size % channels == 0:
        raw = raw.reshape(-1, channels)  # the data may have been without a last axis of one
    info = TensorInfo(tensor.name, tensor.shape, tensor.dtype, tensor.scale or None, tensor.zero_point)
    stored = to_stored(preprocessing.apply(raw), info)
    return hashlib.sha256(np.ascontiguousarray(stored, stored.dtype.newbyteorder("<")).tobytes()).hexdigest()


KIND = Kind(ios_files, units=("gpu", "cpu"), refuse=refuse_what_swift_has_no_type_for)
