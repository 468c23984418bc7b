"""edgekit takes a trained Keras model to edge devices: small, fast, measured and proven.

    import edgekit

    run = edgekit.optimize("model.keras", data="data.npz", targets=["coral-usb"], out="build")
    run.accept()

Names are imported when they are first used, so `import edgekit` is light and needs no TensorFlow.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("edgekit runs on Linux and macOS; on Windows, install it in WSL 2 (`wsl --install`)")

if TYPE_CHECKING:
    from edgekit.artifact import Artifact
    from edgekit.bench.plan import Plan
    from edgekit.bench.run import infer, measure
    from edgekit.compare import compare_models
    from edgekit.compress import Compressed, compress_model
    from edgekit.dataset import Dataset, load_dataset
    from edgekit.device.find import find_device
    from edgekit.errors import EdgekitError
    from edgekit.estimate import estimate_latency
    from edgekit.evaluate import evaluate_model
    from edgekit.model import Model, load_model
    from edgekit.package.build import package_model
    from edgekit.pipeline import optimize
    from edgekit.recipe import Recipe
    from edgekit.recommendation.recommend import recommend, techniques
    from edgekit.run import Run
    from edgekit.search.found import Found
    from edgekit.search.run import search_recipes
    from edgekit.source_check import check_model
    from edgekit.target import Target, load_target
    from edgekit.tflite.inspect import inspect_model

_HOME = {
    "Artifact": "artifact",
    "Compressed": "compress",
    "Dataset": "dataset",
    "EdgekitError": "errors",
    "Found": "search.found",
    "Model": "model",
    "Plan": "bench.plan",
    "Recipe": "recipe",
    "Run": "run",
    "Target": "target",
    "check_model": "source_check",
    "compare_models": "compare",
    "compress_model": "compress",
    "estimate_latency": "estimate",
    "evaluate_model": "evaluate",
    "find_device": "device.find",
    "infer": "bench.run",
    "inspect_model": "tflite.inspect",
    "load_dataset": "dataset",
    "load_model": "model",
    "load_target": "target",
    "measure": "bench.run",
    "optimize": "pipeline",
    "package_model": "package.build",
    "recommend": "recommendation.recommend",
    "search_recipes": "search.run",
    "techniques": "recommendation.recommend",
}

__all__ = [
    "Artifact",
    "Compressed",
    "Dataset",
    "EdgekitError",
    "Found",
    "Model",
    "Plan",
    "Recipe",
    "Run",
    "Target",
    "check_model",
    "compare_models",
    "compress_model",
    "estimate_latency",
    "evaluate_model",
    "find_device",
    "infer",
    "inspect_model",
    "load_dataset",
    "load_model",
    "load_target",
    "measure",
    "optimize",
    "package_model",
    "recommend",
    "search_recipes",
    "techniques",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgekit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
