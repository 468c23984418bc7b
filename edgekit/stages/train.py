"""Train: a copy of a model, or the model itself, for every stage that learns.

What a stage adds to the step (masks, ranges) is a `Callback`, what it minimises an `Objective`; see `stages.training`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.data.parts import Dataset
from edgekit.errors import ModelError, RecipeError
from edgekit.graph.rebuild import copy
from edgekit.graph.walk import walk
from edgekit.stages import losses
from edgekit.stages.freezing import frozen
from edgekit.stages.training import Callback, Objective, Trained, Training
from edgekit.stages.training_loop import Loop
from edgekit.talk import Line, Say


def labels_objective(model: Any, data: Dataset, config: Training) -> Objective:
    """The loss against the labels, by task. Raises DataError without training data, RecipeError for a misfit."""
    loss = losses.hard_loss(model, data, config.loss, next(data.part("train").batches(32)))
    return Objective(
        network=model,
        targets=lambda part: losses.hard_targets(data, part),
        loss=lambda outputs, targets, _: loss(outputs, targets),
    )


def fine_tune(
    model: Any,
    data: Dataset,
    config: Training | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    objective: Callable[[Any, Dataset, Training], Objective] = labels_objective,
    checkpoint: Path | None = None,
    say: Say = lambda _: None,
    seed: int = 0,
    stage: str = "training",
    freeze: Sequence[str] = (),
    in_place: bool = False,
) -> Trained:
    """Train a copy of a Keras model on data that was matched to it, and give back the copy with its best weights.

    Best is by the metric of the validation part, then by its loss; the model as it came in counts, too. Without a
    validation part the last weights stay. A repeated call with the same `checkpoint` goes on where the first one
    ended; the caller removes the file. Layers that a pattern of `freeze` matches stay as they are. With `in_place` the
    model itself is trained, and not a copy: for one that nobody else has.

    Raises DataError without training data or labels, RecipeError where nothing can be trained or frozen,
    TrainingDiverged for a loss that is no number or what a callback finds unsound.
    """
    config = config or Training()
    data.part("train")
    trained = model if in_place else _own(model, config, seed)
    if not in_place:
        _tell_frozen(trained, stage, say)
    with frozen(trained, freeze, stage) as still:
        if still:
            say(Line(f"{stage}: frozen: {_some(still)}"))
        if not trained.trainable_variables:
            raise RecipeError(
                f"{stage}: every weight of {model.name!r} is frozen", "freeze less, or say training.unfreeze = true"
            )
        made = objective(trained, data, config)
        return Loop(trained, data, config, made, tuple(callbacks), say, seed, stage).run(checkpoint)


def _own(model: Any, config: Training, seed: int) -> Any:
    """The copy that is trained. Raises ModelError for a model with a fixed batch."""
    refuse_fixed_batch(model)
    found = copy_of(model, seed)
    if config.unfreeze:
        _unfreeze(found)
    return found


def _tell_frozen(model: Any, stage: str, say: Say) -> None:
    """Say which layers do not learn because the model came in with all of their weights frozen."""
    found = [
        name
        for name, layer in walk(model).layers.items()
        if not layer.trainable_weights and any(inner._trainable_variables for inner in layer._flatten_layers())
    ]
    if found:
        say(Line(f"{stage}: frozen in the model: {_some(found)} (training.unfreeze = true trains them)"))


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"


def copy_of(model: Any, seed: int = 0) -> Any:
    """A copy with the same weights, whose random layers (dropout, noise) draw by `seed`.

    Raises ModelError for a model whose calls cannot be seen, or a layer that cannot be made from its configuration.
    """
    twin = copy(model)
    states = [variable for variable in twin.variables if variable.name == "seed_generator_state"]
    for number, state in enumerate(states):
        state.assign(np.array([np.random.default_rng((seed, number)).integers(2**31), 0], state.dtype))
    return twin


def unfrozen(model: Any) -> Any:
    """A copy whose layers all train."""
    twin = copy(model)
    _unfreeze(twin)
    return twin


def _unfreeze(model: Any) -> None:
    for layer in model.layers:
        layer.trainable = False  # Keras passes a flag on to inner layers only where it changes
        layer.trainable = True


def refuse_fixed_batch(model: Any) -> None:
    """Raise ModelError for a model that takes batches of one size only."""
    fixed = [tensor for tensor in model.inputs if tensor.shape[0] is not None]
    if fixed:
        raise ModelError(
            f"input {fixed[0].name!r} of {model.name!r} has a fixed batch of {fixed[0].shape[0]}",
            "build it with keras.Input(shape), which leaves the batch open; the deployed file gets a fixed one anyway",
        )
