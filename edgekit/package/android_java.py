"""What the Java sources say of a bundle: tensors, and the preprocessing that they repeat number by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.artifact import Tensor
from edgekit.data.spec import Preprocessing
from edgekit.package import java_text
from edgekit.package.bundle import Bundle, Contract, Variant
from edgekit.package.description import in_words


def java_facts(bundle: Bundle) -> dict[str, Any]:
    """The constants of the sources."""
    known = bundle.variants[0].contract
    all_real = all(variant.contract.all_real for variant in bundle.variants)
    return {
        "mean": [java_text.number(value) for value in known.preprocessing.mean],
        "scale": [java_text.number(value) for value in known.preprocessing.scale],
        "channels_first": known.preprocessing.layout == "channels_first",
        "preparation": in_words(known.preprocessing) or "taken as they are",
        "prepared": known.preprocessing != Preprocessing(),
        "labels": len(known.labels),
        "samples": ", ".join(_samples(len(known.inputs))),
        "all_real": all_real,
        "classifies": known.classifies and all_real,  # its samples and scores are float[]
        "names_classes": known.scores_labels and not all_real,
        "variants": [_variant(variant) for variant in bundle.variants],
    }


def _samples(count: int) -> list[str]:
    """What the README calls a raw sample for each input."""
    return ["sample"] if count == 1 else [f"sample{number}" for number in range(1, count + 1)]


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
