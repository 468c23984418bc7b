"""Recipe: the ordered stages and their settings, as one frozen value.

A recipe is a TOML file, or one phrase of a little language (`edgekit.phrase`). What it leaves at `auto` is decided by
the target when the two meet (`Recipe.resolve`).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edgekit import python_reference, strict_toml
from edgekit.errors import RecipeError
from edgekit.stages.cluster import Cluster
from edgekit.stages.convert import Convert
from edgekit.stages.distill import Distill
from edgekit.stages.drop_layers import DropLayers
from edgekit.stages.factorize import Factorize
from edgekit.stages.fine_tune import FineTune
from edgekit.stages.numerics import Quantize, resolve_quantize
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.target import Target
from edgekit.tfmot.settings import NATIVE, TrainingEngine, as_trained, refuse_unsupported, refuse_untrained_scales

Compression = Distill | DropLayers | PruneChannels | Factorize | PruneWeights | Cluster | FineTune
"""A stage that takes a Keras model and gives a Keras model."""
Stage = Compression | Convert | Quantize | QuantizeAware

LONGEST = 200


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """The ordered stages and their settings; `Recipe.parse` makes one from a phrase or a TOML file."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=,:+-]*$", max_length=LONGEST)]
    stages: tuple[Stage, ...]
    description: str = ""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="Seed of everything that is drawn at random.")] = 0
    engine: Annotated[
        TrainingEngine, Meta(description="Who trains: edgekit itself, or tensorflow-model-optimization (tfmot).")
    ] = "native"
    format_version: Literal[1] = 1

    def __post_init__(self) -> None:
        kinds = [type(stage) for stage in self.stages[len(self.compression) :]]
        if kinds not in ([Convert], [Convert, Quantize], [Convert, Quantize, QuantizeAware]):
            raise ValueError("stages must end in one `convert`, then at most one `quantize` and one `quantize_aware`")
        if QuantizeAware in kinds and self.quantize.scheme not in ("int8", "int16x8"):
            raise ValueError(
                f"`quantize_aware` trains int8 and int16x8 files, not {self.quantize.scheme}; leave it out"
            )
        if QuantizeAware in kinds and self.convert.batch != 1:
            raise ValueError("`quantize_aware` trains a file with a batch of 1; leave the batch out")
        if QuantizeAware in kinds and (self.quantize.scheme, self.quantize.engine) == ("int16x8", "converter"):
            raise ValueError("`quantize_aware` trains int16x8 files of engine litert only; use engine=litert")
        _refuse_undone(self.compression)
        if self.engine == "tfmot":
            refuse_unsupported(self.stages)
            if QuantizeAware in kinds and self.quantize.scheme != "int8":
                raise ValueError(f"engine 'tfmot' trains for int8, not for {self.quantize.scheme}; {NATIVE}")

    @property
    def compression(self) -> tuple[Compression, ...]:
        """The stages that work on the Keras model, before it is converted."""
        return tuple(stage for stage in self.stages if not isinstance(stage, (Convert, Quantize, QuantizeAware)))

    @property
    def trained(self) -> tuple[Compression | QuantizeAware, ...]:
        """The stages that need the Keras model."""
        return tuple(stage for stage in self.stages if not isinstance(stage, (Convert, Quantize)))

    @property
    def convert(self) -> Convert:
        """The conversion stage; every recipe has one."""
        return next(stage for stage in self.stages if isinstance(stage, Convert))

    @property
    def quantize(self) -> Quantize:
        """The quantization stage; `float32` where the recipe has none."""
        return next((stage for stage in self.stages if isinstance(stage, Quantize)), Quantize("float32"))

    @property
    def quantize_aware(self) -> QuantizeAware | None:
        """The training of the integer file, if there is one."""
        return next((stage for stage in self.stages if isinstance(stage, QuantizeAware)), None)

    @property
    def code(self) -> tuple[str, ...]:
        """References to Python in it, which would be run: losses, students, teachers."""
        models = [
            one
            for stage in self.stages
            if isinstance(stage, Distill)
            for one in (stage.student, stage.weights, *stage.teachers)
        ]
        losses = [stage.training.loss for stage in self.stages if hasattr(stage, "training")]
        return tuple(one for one in (*models, *losses) if one and python_reference.split(one))

    def refuse_code(self, trust: bool) -> None:
        """Raise RecipeError where it names Python, which a recipe of a file may do only if it is trusted."""
        if self.code and not trust:
            raise RecipeError(
                f"recipe {self.name!r}: names {self.code[0]!r}, and no code that a file names is run",
                "only if you trust where the recipe comes from: --trust (trust=True)",
            )

    @property
    def slug(self) -> str:
        """The name as a file name, of at most 100 characters."""
        slug = re.sub(r"[^a-z0-9._-]+", "-", self.name.lower())
        return slug if len(slug) <= 100 else f"{slug[:91]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @classmethod
    def parse(cls, text: str | Path, scheme: str = "") -> Recipe:
        """Read a TOML file (`*.toml`) or a phrase of the little language.

        `scheme` is the number format of a phrase that names none; without it such a phrase is an error.

        Raises RecipeError for anything unknown or impossible.
        """
        if not isinstance(text, str | Path):
            raise RecipeError(
                f"{type(text).__name__} is no recipe: a recipe is a phrase, a file, or a Recipe",
                'of stages it is made by Recipe("name", (..., Convert(), Quantize("int8")))',
            )
        if isinstance(text, Path) or text.endswith(".toml"):
            return strict_toml.load(Path(text), cls, RecipeError)
        from edgekit.phrase import recipe_of

        return recipe_of(text, scheme)

    def to_toml(self) -> str:
        """The recipe as a TOML file; `Recipe.parse` gives it back."""
        return strict_toml.dumps(self)

    def resolve(self, target: Target) -> Recipe:
        """The recipe with every choice that it left open decided by the target.

        Raises RecipeError where the target rules out what the recipe asks for.
        """
        resolve_quantize(self.quantize, target)  # of a recipe without it, too: not every target runs float32
        decided = (self._resolved(each, target) if isinstance(each, Quantize) else each for each in self.stages)
        return msgspec.structs.replace(self, stages=tuple(decided))

    def _resolved(self, stage: Quantize, target: Target) -> Quantize:
        if self.engine == "native" or not self.quantize_aware:
            return resolve_quantize(stage, target)
        found = resolve_quantize(as_trained(stage, target), target)
        refuse_untrained_scales(found)
        return found


def checked(recipe: Recipe) -> Recipe:
    """The recipe, held to the bounds of its settings, as one that was built in Python is not yet.

    Raises RecipeError for a value out of bounds.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(recipe), Recipe)
    except (msgspec.ValidationError, TypeError) as cause:
        raise RecipeError(f"recipe {recipe.name!r}: {cause}", "correct this value") from None


def _refuse_undone(stages: tuple[Compression, ...]) -> None:
    """Raise ValueError for an order in which a stage would undo an earlier one, or have nothing to do."""
    for place, stage in enumerate(stages):
        before = stages[:place]
        if isinstance(stage, Distill) and (stage.width or stage.student) and before:
            raise ValueError("`distill` with a width or a student makes new weights: put it before all other stages")
        if isinstance(stage, Distill) and not (stage.width or stage.student or before):
            raise ValueError(
                "`distill` as the first stage needs a `width` or a `student`: the teacher is the model itself"
            )
        if isinstance(stage, (Factorize, PruneWeights)) and any(isinstance(other, Cluster) for other in before):
            raise ValueError("put `cluster` last: other stages would change the values that the weights share")
        if isinstance(stage, Factorize) and any(isinstance(other, PruneWeights) for other in before):
            raise ValueError("put `factorize` before `prune_weights`: the factors of a sparse kernel are dense")
