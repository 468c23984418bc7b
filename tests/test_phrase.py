"""The little language: steps before the number format, and what each of them stands for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edgekit.cli.recipes import command
from edgekit.errors import RecipeError
from edgekit.phrase import _OPTIONS, PRESETS, SCHEMES, STEPS
from edgekit.recipe import Recipe
from edgekit.stages.cluster import Cluster
from edgekit.stages.distill import Distill
from edgekit.stages.drop_layers import DropLayers
from edgekit.stages.factorize import Factorize
from edgekit.stages.fine_tune import FineTune
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.training import Training
from edgekit.target import load_target


@pytest.mark.parametrize(
    ("phrase", "stages"),
    [
        ("int8", ()),
        ("prune80-int8", (PruneWeights(sparsity=0.8),)),
        ("channels75-float16", (PruneChannels(macs=0.25), Distill())),
        ("factorize40-dynamic-int8", (Factorize(macs=0.6),)),
        ("cluster32-int16x8", (Cluster(clusters=32),)),
        ("student25-float32", (Distill(width=0.25),)),
        ("drop10-int8", (DropLayers(threshold=0.1), FineTune())),
        ("prune50-cluster16-int8", (PruneWeights(sparsity=0.5), Cluster(clusters=16))),
        ("small", (PruneChannels(macs=0.25), Distill())),
        ("small-float16", (PruneChannels(macs=0.25), Distill())),
        ("small-qat", (PruneChannels(macs=0.25), Distill())),
    ],
)
def test_steps_say_what_is_done_to_the_network(phrase: str, stages: tuple[object, ...]) -> None:
    recipe = Recipe.parse(phrase)
    assert recipe.compression == stages
    assert recipe.name == phrase
    formats = ("dynamic-int8", "float16", "float32", "int16x8", "int8")
    assert recipe.quantize.scheme == next((name for name in formats if phrase.endswith(name)), "int8")


def test_qat_trains_the_integer_file() -> None:
    recipe = Recipe.parse("prune50-qat-int16x8:epochs=7")
    assert recipe.compression == (PruneWeights(sparsity=0.5, training=Training(epochs=7)),)
    assert recipe.quantize_aware == QuantizeAware(training=Training(epochs=7, learning_rate=1e-4))
    assert [type(stage).__name__ for stage in recipe.stages[1:]] == ["Convert", "Quantize", "QuantizeAware"]
    assert recipe.resolve(load_target("host")).quantize_aware == recipe.quantize_aware
    assert Recipe.parse("qat-int8:one-shot").stages == Recipe.parse("int8").stages


def test_epochs_are_those_of_every_training_and_one_shot_leaves_all_of_them_out() -> None:
    recipe = Recipe.parse("channels50-prune80-cluster16-int8:epochs=3,seed=5")
    assert [stage.training.epochs for stage in recipe.compression if not isinstance(stage, PruneChannels)] == [3, 3, 3]  # type: ignore[union-attr]
    once = Recipe.parse("channels50-prune80-cluster16-int8:one-shot").compression
    assert once == (PruneChannels(macs=0.5), PruneWeights(sparsity=0.8, one_shot=True), Cluster(16, one_shot=True))


def test_times_the_epochs_are_times_the_patience_of_each_training() -> None:
    usual, longer = (Recipe.parse(f"channels50-qat-int8{option}").trained for option in ("", ":epochs=3x"))
    trainings = [(a.training, b.training) for a, b in zip(usual, longer, strict=True) if hasattr(a, "training")]  # type: ignore[union-attr]
    assert [(after.epochs, after.patience) for _, after in trainings] == [(90, 15), (15, 15)]
    assert all(replace(after, epochs=one.epochs, patience=one.patience) == one for one, after in trainings)


def test_a_rate_is_times_the_learning_rate_of_each_training() -> None:
    trained = Recipe.parse("channels50-qat-int8:rate=0.3x,epochs=2").trained
    trainings = [stage.training for stage in trained if hasattr(stage, "training")]
    assert [(one.epochs, one.patience, one.learning_rate) for one in trainings] == [(2, 5, 3e-4), (2, 5, 3e-5)]


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("prune50", "did you mean 'prune50-int8'"),
        ("prun50-int8", "did you mean 'prune50'"),
        ("prune50-int9", "did you mean 'int8'"),
        ("int8-prune50", "the number format comes last"),
        ("prune-int8", "'prune' needs a percentage from 1 to 99"),
        ("prune0-int8", "needs a percentage"),
        ("prune100-int8", "needs a percentage"),
        ("cluster1-int8", "needs a number from 2 to 256"),
        ("prune50-cluster8,epochs=1", "options follow a colon"),
        ("prune50--int8", "unknown step ''"),
        ("smal", "did you mean 'small'"),
        ("int8:epochs=3", "nothing in it trains"),
        ("prune50-int8:epochs=0", "whole number"),
        ("prune50-int8:epochs=3 x", "a phrase has no spaces"),
        ("prune50-int8:rate=3", "for example rate=3x"),
        ("prune50-int8:rate=0x", "times the usual learning rate"),
        ("prune50-int8:rate=0.0001x", "times the usual learning rate"),
        ("prune50-int8:rate=3x,rate=2x", "rate is said twice"),
        ("int8:rate=3x", "nothing in it trains"),
        ("prune50-int8:epochs=0x", "or epochs=3x for three times the usual ones"),
        ("prune50-int8:epochs=x3", "or epochs=3x for three times the usual ones"),
        ("prune50-int8:epochs=3x,epochs=5", "epochs is said twice"),
        ("int8:epochs=3x", "nothing in it trains"),
        ("prune50-int8:epoch=3", "did you mean 'epochs'"),
        ("cluster16-prune50-int8", "put `cluster` last"),
        ("prune50-factorize50-int8", "put `factorize` before"),
        ("prune50-student50-int8", "put it before all other stages"),
        ("qat-prune50-int8", "write qat just before int8"),
        ("qat-float16", "trains int8 and int16x8 files, not float16\n  mend: leave it out"),
        ("qat-int8:batch=4", "batch of 1\n  mend: leave the batch out"),
        ("int8:batch=0", "a whole number from 1, of"),
        ("student50-int8:one-shot", "have to be trained"),
        ("cluster16-int8:by-sensitivity", "by-sensitivity is for channels and prune"),
        ("int8:by-sensitivity", "by-sensitivity is for channels and prune"),
    ],
)
def test_a_wrong_step_is_refused_with_the_mend(phrase: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(phrase)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_what_it_is_for(name: str) -> None:
    assert Recipe.parse(name).description == PRESETS[name]


def test_the_help_tells_every_step_and_format() -> None:
    from edgekit.cli.recipes import command

    told = command.help or ""
    for word in (*STEPS, "small", "qat", *SCHEMES):
        assert word in told, word


def test_the_help_names_every_option() -> None:
    assert command.help is not None
    assert not {option for option in _OPTIONS if option not in command.help}
