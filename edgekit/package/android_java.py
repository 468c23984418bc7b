"""What the Java sources say of a bundle: tensors, and the preprocessing that they repeat number by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.artifact import Tensor
from edgekit.data.spec import Preprocessing
from edgekit.errors import InputError
from edgekit.package import java_text
from edgekit.package.bundle import Bundle, Contract, Variant


def java_facts(bundle: Bundle) -> dict[str, Any]:
    """The constants of the sources. Raises InputError for a mean or scale that does not fit the inputs."""
    known = bundle.variants[0].contract
    for tensor in known.inputs:
        _refuse_misfit(known.preprocessing, tensor)
    return {
        "mean": [java_text.number(value) for value in known.preprocessing.mean],
        "scale": [java_text.number(value) for value in known.preprocessing.scale],
        "channels_first": known.preprocessing.layout == "channels_first",
        "preparation": _in_words(known.preprocessing),
        "prepared": known.preprocessing != Preprocessing(),
        "labels": len(known.labels),
        "variants": [_variant(variant) for variant in bundle.variants],
    }


def _variant(variant: Variant) -> dict[str, Any]:
    known, golden = variant.contract, variant.golden
    tolerances = [one.tolerance for one in golden.head.outputs] if golden else [0.0] * len(known.outputs)
    return {
        "unit": variant.unit,
        "file": variant.file,
        "sha256": variant.sha256,
        "bytes": len(variant.model),
        "numeric": variant.contents.numeric,
        "golden": f"golden/{Path(variant.file).stem}",
        "samples": golden.head.samples if golden else 0,
        "xnnpack": golden is None or golden.head.xnnpack_compared,
        "runtime": java_text.comment(golden.head.runtime) if golden else "",
        **_ports(known, tolerances),
    }


def _ports(known: Contract, tolerances: list[float]) -> dict[str, Any]:
    outputs = zip(known.outputs, tolerances, strict=True)
    return {
        "inputs": [_tensor(tensor, 0.0) for tensor in known.inputs],
        "outputs": [_tensor(tensor, tolerance) for tensor, tolerance in outputs],
    }


def _tensor(tensor: Tensor, tolerance: float) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "type": tensor.dtype.upper(),
        "scale": java_text.number(tensor.scale or 0.0),
        "zero_point": tensor.zero_point or 0,
        "tolerance": repr(float(tolerance)),
        "shape": [max(size, 1) for size in tensor.shape],
        "range": _range(tensor),
    }


def _range(tensor: Tensor) -> str:
    """The real values that a quantized tensor has a number for; empty for any other."""
    if tensor.scale is None:
        return ""
    limits = np.iinfo(tensor.dtype)
    least, most = ((limit - (tensor.zero_point or 0)) * tensor.scale for limit in (int(limits.min), int(limits.max)))
    return f"{least:.4g} to {most:.4g}"


def _refuse_misfit(found: Preprocessing, tensor: Tensor) -> None:
    shape = [max(size, 1) for size in tensor.shape]
    if tensor.dtype != "float32" and tensor.scale is None:
        return
    channels = next((size for size in reversed(shape[1:]) if size > 1), 1)
    for name, values in (("mean", found.mean), ("scale", found.scale)):
        if len(values) not in (0, 1, shape[-1] if shape else 1, channels):
            raise InputError(
                f"preprocessing.{name} has {len(values)} numbers, and {tensor.name!r} is {shape}",
                "give one number, or one for each channel",
            )


def _in_words(found: Preprocessing) -> str:
    steps = [
        *([f"minus {_numbers(found.mean)}"] if found.mean else []),
        *([f"times {_numbers(found.scale)}"] if found.scale else []),
        *(["from channels first to channels last"] if found.layout == "channels_first" else []),
    ]
    return ", then ".join(steps) or "taken as they are"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.9g}" for value in values) + (" by channel" if len(values) > 1 else "")
