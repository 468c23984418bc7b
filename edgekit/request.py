"""Request: what is to be made, each target with each recipe, decided before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from edgekit.errors import RecipeError
from edgekit.recipe import Recipe, checked
from edgekit.stages.quantize import CALIBRATED
from edgekit.target import Target, load_target


class Request(Struct, frozen=True):
    """What is to be made: each target with each recipe, every choice decided.

    `recommended` says that nobody named a recipe: it is the target's, and may be changed for one that is faster.
    """

    pairs: tuple[tuple[Target, Recipe], ...]
    recommended: bool = False

    @classmethod
    def plan(
        cls,
        targets: str | Path | Target | Sequence[str | Path | Target],
        recipes: Sequence[str | Path | Recipe],
        from_tflite: bool = False,
        trust: bool = True,
    ) -> Request:
        """Decide everything that can be decided before any work. Raises TargetError or RecipeError.

        Unless `trust`, a recipe that is read may name no Python; one that was built in Python may.
        """
        targets = [targets] if isinstance(targets, str | Path | Target) else targets
        recipes = [recipes] if isinstance(recipes, str | Path | Struct) else recipes
        named = [load_target(target) for target in targets]
        loaded = [target for place, target in enumerate(named) if target not in named[:place]]
        asked = [checked(each) if isinstance(each, Recipe) else _read(each, trust) for each in recipes]
        pairs = [
            (target, _with_engine(recipe, from_tflite).resolve(target))
            for target in loaded
            for recipe in dict.fromkeys(asked or [_read(target.numerics.recommended, trust)])
        ]
        places = [(target.name, recipe.slug) for target, recipe in pairs]
        if twice := sorted({f"{target}/{slug}" for target, slug in places if places.count((target, slug)) > 1}):
            raise RecipeError(
                f"two variants would be written to {twice[0]}", "give recipes and targets of your own different names"
            )
        return cls(tuple(pairs), recommended=not recipes)

    @property
    def calibration_samples(self) -> int:
        """Samples that the recipe with the greatest need calibrates with; 0 where none calibrates."""
        stages = [recipe.quantize for _, recipe in self.pairs]
        return max((stage.calibration_samples for stage in stages if stage.scheme in CALIBRATED), default=0)


def _read(text: str | Path, trust: bool) -> Recipe:
    recipe = Recipe.parse(text)
    recipe.refuse_code(trust)
    return recipe


def _with_engine(recipe: Recipe, from_tflite: bool) -> Recipe:
    """The recipe with the engine that can start from a `.tflite`, where it leaves the choice."""
    stage = recipe.quantize
    if not from_tflite or stage.engine != "auto" or stage.scheme in ("float32", "int8"):
        return recipe
    chosen = msgspec.structs.replace(stage, engine="litert")
    return msgspec.structs.replace(recipe, stages=tuple(chosen if each is stage else each for each in recipe.stages))
