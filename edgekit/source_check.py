"""Check a model on targets: a `.tflite` as it is, a Keras model as the draft of the file that it will become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from edgekit.check.check import CheckResult, check
from edgekit.errors import RecipeError
from edgekit.finding import Finding
from edgekit.magic import HDF5, ZIP
from edgekit.python_reference import split
from edgekit.target import Target, load_target
from edgekit.tflite.flatbuffer import label_of, read_bytes
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import read_contents

if TYPE_CHECKING:
    from edgekit.draft import Draft

_SAID_BY_CONVERTER = {"flex-operator", "custom-operator"}


def check_model(
    model: str | Path | bytes | Any,
    target: str | Path | Target,
    *,
    recipe: str | Path | None = None,
    trust: bool = False,
) -> CheckResult:
    """Hold a model against a target (its name, the path of its TOML, or itself): will it run there, and what to change.

    The model is a `.tflite` (its bytes, its path or an artifact's folder), or what `edgekit.load_model` takes, but for
    a pickle. A Keras model or SavedModel is converted and quantized with random ranges for this, by what the target
    recommends or by `recipe`; nothing in a file is run unless `trust`.

    Raises ModelError, RecipeError or TargetError for what cannot be read or made, MissingDependency where a Keras model
    is given and TensorFlow is not installed.
    """
    return check_on(model, [load_target(target)], recipe=recipe, trust=trust)[0]


def check_on(
    model: str | Path | bytes | Any, targets: Sequence[Target], *, recipe: str | Path | None = None, trust: bool = False
) -> tuple[CheckResult, ...]:
    """Hold a model against several targets, for each as `check_model` does; raises what that raises."""
    if is_source(model):
        return _drafted(model, targets, recipe, trust)
    if recipe is not None:
        raise RecipeError("a recipe was given, and the model is a .tflite already", "leave the recipe out")
    return check_file(read_bytes(model), targets, label_of(model))


def check_file(data: bytes | bytearray, targets: Sequence[Target], name: str = "model") -> tuple[CheckResult, ...]:
    """Hold the bytes of a `.tflite` against several targets; `name` is for errors. Raises ModelError."""
    summary, graph = read_contents(data, name), read_graph(data, name)
    return tuple(check(summary, target, graph) for target in targets)


def is_source(model: str | Path | bytes | Any) -> bool:
    """True for what has to be converted first; False for a `.tflite`, and for a path where nothing is."""
    if isinstance(model, bytes | bytearray):
        return False
    if not isinstance(model, str | Path):
        return True
    path = Path(model)
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    if not path.is_file():
        return isinstance(model, str) and split(model) is not None
    with path.open("rb") as file:
        return file.read(8).startswith((ZIP, HDF5))


def _drafted(model: Any, targets: Sequence[Target], recipe: str | Path | None, trust: bool) -> tuple[CheckResult, ...]:
    from edgekit.draft import drafts
    from edgekit.model.load import load_model

    def judged(draft: Draft, target: Target) -> CheckResult:
        (found,) = check_file(draft.data, [target])
        others = (one for one in found.findings if not draft.missing or one.code not in _SAID_BY_CONVERTER)
        return structs.replace(found, recipe=draft.recipe, findings=(*_missing(draft), *others))

    made = drafts(load_model(model, trust=trust), targets, recipe)
    return tuple(judged(draft, target) for draft, target in zip(made, targets, strict=True))


def _missing(draft: Draft) -> list[Finding]:
    """That TFLite lacks operators for the model, so that `edgekit optimize` will refuse it."""
    mend = "replace the layer, or split it off the model and run it outside"
    return [Finding("error", "no-tflite-operator", "whole model", draft.missing, mend)] if draft.missing else []
