"""Compress: the stages of a recipe that work on the Keras model, in order, each keeping what the earlier ones did.

    found = compress_model("model.keras", "channels50", data="data.npz")
    found.model.save("smaller.keras")

A stage that trains keeps a checkpoint, and planning is deterministic: a repeated call after an interruption goes on at
the epoch it was in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.dataset import Dataset, load_for, refuse_missing
from edgekit.errors import ModelError, RecipeError
from edgekit.latency import host_latency
from edgekit.model import Model, load_model
from edgekit.recipe import Recipe, checked
from edgekit.run_stage import run_stage
from edgekit.stages.convert import refuse_half_precision
from edgekit.stages.replicas import join
from edgekit.stages.sensitivity import Sensitivity, SensitivityReport, sensitivity
from edgekit.step import StageReport, Step, Surroundings, keeping, refuse_without_keras, refuse_without_training
from edgekit.talk import Line, Say
from edgekit.target import Target, load_target
from edgekit.tfmot.process import shared
from edgekit.tfmot.source import open_model


@dataclass(frozen=True, eq=False)
class Compressed:
    """The Keras model after all stages, and each stage in order."""

    model: Any
    steps: tuple[Step, ...]


def compress_model(
    model: str | Path | Any,
    recipe: str | Path | Recipe,
    *,
    data: str | Path | Dataset | Any | None = None,
    data_options: Mapping[str, object] | None = None,
    target: str | Path | Target = "host",
    folder: str | Path | None = None,
    trust: bool = False,
    say: Say = lambda _: None,
) -> Compressed:
    """Run the stages of a recipe that come before conversion, and give the smaller Keras model.

    A phrase needs no number format here (`channels50`): it gets one that the target runs. `folder` keeps what an
    interrupted call goes on from. `say` gets a line of text for each step and epoch: `say=print` shows the progress.
    Raises what `optimize` raises.
    """
    board = load_target(target)
    schemes = board.numerics.schemes
    scheme = "float32" if "float32" in schemes else schemes[0]
    asked = checked(recipe) if isinstance(recipe, Recipe) else Recipe.parse(recipe, scheme)
    if not isinstance(recipe, Recipe):
        asked.refuse_code(trust)
    if asked.quantize_aware:
        raise RecipeError(f"recipe {asked.name!r}: qat trains the integer file", "leave qat out, or use optimize")
    if not asked.compression:
        raise RecipeError(f"recipe {asked.name!r} changes nothing in the network", "name a step, such as channels50")
    resolved = asked.resolve(board)
    if data is not None:
        refuse_missing(data, data_options, trust)
    with _home(folder, asked) as home, shared():
        source = model_for([asked], model, home, trust, say)
        refuse_without_keras(source, asked)
        refuse_half_precision(source.keras)
        dataset = None if data is None else load_for(source.inputs, source.outputs, data, data_options or {}, trust)
        for stage in asked.compression:
            refuse_without_training(stage, dataset)
        for doubt in doubts(source, dataset):
            say(Line(f"note: {doubt}"))
        calibration = dataset.calibration.array() if dataset and dataset.calibration else ()
        clock = host_latency(resolved.quantize, calibration, batch=resolved.convert.batch)
        teachers = home / "teachers" if home else None
        around = Surroundings(source.keras, dataset, (board,), asked.seed, home, trust, say, clock, teachers=teachers)
        steps: list[Step] = [Step(source.keras, StageReport("", ""), source.path)]
        for place, stage in enumerate(resolved.compression):
            with keeping(stage, home):
                file = steps[-1].file if asked.engine == "tfmot" else None
                steps.append(run_stage(steps[-1].model, stage, replace(around, file=file), place))
    return Compressed(steps[-1].model, tuple(steps[1:]))


def doubts(model: Model, data: Dataset | None) -> list[str]:
    """What was mended in the model, and what of the data may mislead."""
    from edgekit.doctor.unprepared import unprepared

    told = unprepared(data, model.predict) if data else ""
    return [*model.healed, *(data.warnings if data else ()), *([told] if told else [])]


@contextmanager
def _home(folder: str | Path | None, recipe: Recipe) -> Iterator[Path | None]:
    """The folder for what is kept; the second engine needs one, which is gone afterwards where none is given."""
    if folder or recipe.engine == "native":
        yield Path(folder) if folder else None
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        yield Path(name)


def model_for(recipes: Sequence[Recipe], model: str | Path | Any, folder: Path | None, trust: bool, say: Say) -> Model:
    """The model as its recipes need it: opened by tf_keras, too, where one of them has the second engine.

    Where something trains, the other workers of `TF_CONFIG` are waited for, as that has to come first. Raises what
    `replicas.join`, `load_model` and `tfmot.source.open_model` raise.
    """
    if any(recipe.trained for recipe in recipes):
        join(say)
    if all(recipe.engine == "native" for recipe in recipes):
        return load_model(model, trust=trust)
    assert folder is not None
    return open_model(model, folder / "source", trust=trust, say=say)


def sensitivity_of(
    model: str | Path | Any,
    data: str | Path | Dataset | Any,
    config: Sensitivity | None = None,
    *,
    data_options: Mapping[str, object] | None = None,
    trust: bool = False,
    say: Say = lambda _: None,
) -> SensitivityReport:
    """What each layer of a Keras model costs when a share of it goes; `model` and `data` are as for `optimize`.

    Raises ModelError for a model that is no Keras one, and what `stages.sensitivity.sensitivity` raises.
    """
    refuse_missing(data, data_options, trust)
    source = load_model(model, trust=trust)
    if source.keras is None:
        raise ModelError(
            f"{source.origin}: sensitivity works on a Keras model, and this is a {source.kind}",
            "give the .keras or .h5 file, or module:function, that it was made from",
        )
    dataset = load_for(source.inputs, source.outputs, data, data_options or {}, trust)
    return sensitivity(source.keras, config or Sensitivity(), dataset, say=say)
