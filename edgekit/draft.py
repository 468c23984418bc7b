"""A draft of the file that a Keras model will become on a target, made before there is data.

It is really converted, and really quantized, with the ranges of random inputs. So its operators, shapes, size and
memory are those of the file to come; what it computes is not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, structs

from edgekit.errors import ModelError, RecipeError
from edgekit.model import Model, TensorSpec
from edgekit.recipe import Recipe
from edgekit.stages.calibrate import Ranges, calibrate
from edgekit.stages.convert import Exported, export, static_shape
from edgekit.stages.quantize import CALIBRATED, Source, quantize
from edgekit.surgery.rewrite import rewrite, rules_for
from edgekit.target import Target

_SAMPLES = 4


class Draft(Struct, frozen=True):
    """The bytes of a `.tflite`, the recipe that made them, and what stands in it that TFLite has no operator for."""

    data: bytes
    recipe: str
    missing: str = ""


def drafts(model: Model, targets: Sequence[Target], recipe: str | Path | None = None) -> list[Draft]:
    """What each target's recommended recipe, or `recipe`, makes of a Keras model or SavedModel.

    Where TFLite has no operator, the draft is float32 with TensorFlow (Flex) and custom operators in it, to name them.

    Raises RecipeError for a recipe with training in it, ModelError for a model that no converter option takes.
    """
    recipes = [_untrained(Recipe.parse(recipe or target.numerics.recommended)).resolve(target) for target in targets]
    made: dict[Recipe, Draft] = {}
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        lowered: dict[int, _Lowered] = {}
        for one in recipes:
            batch = one.convert.batch
            if batch not in lowered:
                lowered[batch] = _lowered(export(model, batch, Path(folder, str(batch))), batch)
            if one not in made:
                made[one] = _draft(one, lowered[batch])
    faster = {one: _rewritten(draft) if one.convert.rewrite else draft for one, draft in made.items()}
    return [(faster if rules_for(target) else made)[one] for one, target in zip(recipes, targets, strict=True)]


def _rewritten(draft: Draft) -> Draft:
    """The draft in operators that XNNPACK has; one that is refused anyway stays as it is."""
    return draft if draft.missing else structs.replace(draft, data=rewrite(draft.data).file)


def _untrained(recipe: Recipe) -> Recipe:
    if recipe.trained or recipe.compression:
        raise RecipeError(
            f"{recipe.slug}: a check before there is data takes recipes of conversion and quantization",
            "give one like int8, float16 or dynamic-int8; for the others check the file that `edgekit optimize` makes",
        )
    return recipe


@dataclass(frozen=True)
class _Lowered:
    """A float32 file, and why it needs TensorFlow's operators: empty where it does not."""

    exported: Exported
    batch: int
    file: bytes
    missing: str = ""

    @cached_property
    def samples(self) -> list[np.ndarray[Any, Any]]:
        return [random_samples(spec, self.batch) for spec in self.exported.inputs]

    @cached_property
    def ranges(self) -> Ranges:
        return calibrate(self.file, self.samples)


def _lowered(exported: Exported, batch: int) -> _Lowered:
    try:
        return _Lowered(exported, batch, exported.lower())
    except ModelError as cause:
        try:
            return _Lowered(exported, batch, exported.lower(_everything), cause.problem)
        except ModelError:
            raise cause from None


def _everything(converter: Any) -> None:
    from edgekit.tf import import_tensorflow

    operators = import_tensorflow().lite.OpsSet
    converter.target_spec.supported_ops = [operators.TFLITE_BUILTINS, operators.SELECT_TF_OPS]
    converter.allow_custom_ops = True


def _draft(recipe: Recipe, lowered: _Lowered) -> Draft:
    if lowered.missing:
        return Draft(lowered.file, "float32", lowered.missing)
    stage = recipe.quantize
    ranges = lowered.ranges if stage.scheme in CALIBRATED else {}
    return Draft(quantize(Source(lowered.file, ranges, lambda: lowered.exported, lowered.samples), stage), recipe.slug)


def random_samples(spec: TensorSpec, batch: int) -> np.ndarray[Any, Any]:
    """A few samples `[samples, ...]` for an input: values from 0 to 1; whole numbers are 0, which every table has."""
    shape = (batch * _SAMPLES, *static_shape(spec, batch)[1:])
    if not np.issubdtype(np.dtype(spec.dtype), np.floating):
        return np.zeros(shape, spec.dtype)
    return np.random.default_rng(0).random(shape).astype(spec.dtype)
