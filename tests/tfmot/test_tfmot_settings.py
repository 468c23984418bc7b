"""What of a recipe the second engine has; what it has not is refused by name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgekit import environment
from edgekit.errors import MissingDependency, RecipeError
from edgekit.recipe import Recipe
from edgekit.stages.cluster import Cluster
from edgekit.stages.convert import Convert
from edgekit.stages.numerics import Quantize
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.training import Training
from edgekit.target import load_target
from edgekit.tfmot import settings


def test_the_engine_is_said_in_a_phrase_or_at_the_top_of_a_file(tmp_path: Path) -> None:
    said = Recipe.parse("prune50-cluster16-qat-int8:engine=tfmot,epochs=7")
    assert said.engine == "tfmot"
    assert said.quantize.engine == "auto"
    path = tmp_path / "recipe.toml"
    path.write_text(said.to_toml())
    assert Recipe.parse(path) == said
    assert 'engine = "tfmot"' in path.read_text().splitlines()
    assert Recipe.parse("prune50-int8:engine=litert").engine == "native"
    assert Recipe.parse("prune50-int8:engine=litert").quantize.engine == "litert"


@pytest.mark.parametrize(
    ("phrase", "problem", "mend"),
    [
        ("channels50-qat-int8:engine=tfmot", "mixing engines: 'tfmot' has no `prune_channels`", "leave engine out"),
        ("prune50-drop10-int8:engine=tfmot", "mixing engines: 'tfmot' has no `drop_layers`", "leave engine out"),
        ("student25-int8:engine=tfmot", "mixing engines: 'tfmot' has no `distill`", "leave engine out"),
        ("factorize50-int8:engine=tfmot", "mixing engines: 'tfmot' has no `factorize`", "leave engine out"),
        ("prune50-int8:one-shot,engine=tfmot", "`one_shot = true` of prune_weights", "leave engine out"),
        ("int8:engine=tfmot", "no step of the recipe does", "add a step"),
        ("qat-int16x8:engine=tfmot", "trains for int8, not for int16x8", "leave engine out"),
        ("qat-int8:engine=tfmto", "unknown engine 'tfmto'", "did you mean 'tfmot'?"),
        ("qat-int8:engine=tfmot,engine=litert", "engine is said twice", "a TOML file may say both"),
        ("qat-int8 engine=tfmot", "a phrase has no spaces", "'qat-int8:engine=tfmot'"),
        ("prune50-tfmot-int8", "tfmot is no step", ":engine=tfmot"),
    ],
)
def test_what_it_has_not_is_refused_by_name(phrase: str, problem: str, mend: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(phrase)
    assert problem in caught.value.problem
    assert mend in caught.value.mend


STRANGE = {
    PruneWeights(threshold=0.1): "threshold",
    PruneWeights(sparsity=0.5, scope="lamp"): "scope",
    PruneWeights(sparsity=0.5, pattern="1x4"): "pattern",
    PruneWeights(sparsity=0.7, policy="xnnpack"): "policy",
    Cluster(granularity="per-channel"): "granularity",
    Cluster(depthwise=True): "depthwise",
    PruneWeights(sparsity=0.5, teacher=0.5): "teacher",
    QuantizeAware(ranges="calibrated"): "ranges",
    QuantizeAware(bits=4): "bits",
    QuantizeAware(teacher=0.5): "teacher",
}


@pytest.mark.parametrize("stage", STRANGE, ids=STRANGE.get)
def test_a_setting_that_would_be_dropped_is_refused(stage: PruneWeights | Cluster | QuantizeAware) -> None:
    before = [] if isinstance(stage, QuantizeAware) else [stage]
    after = [stage] if isinstance(stage, QuantizeAware) else []
    with pytest.raises(ValueError, match=f"`{STRANGE[stage]} = "):
        Recipe("strange", (*before, Convert(), Quantize("int8"), *after), engine="tfmot")


def test_every_setting_is_either_honoured_or_refused() -> None:
    for kind, honoured in settings._HONOURED.items():
        assert honoured <= {field.name for field in msgspec.structs.fields(kind)}
    training = Training(epochs=3, optimizer="sgd", unfreeze=True, monitor="loss", loss="crossentropy", patience=0)
    kept = QuantizeAware(ranges="moving", preserve=False, training=training)
    pruned = PruneWeights(sparsity=0.5, schedule="constant", power=2, begin=0.1, end=0.9, teacher=0, training=training)
    stages = (pruned, Convert(), Quantize("int8"), kept)
    assert Recipe("known", stages, engine="tfmot").trained == (pruned, kept)


def test_dense_layers_get_the_one_scale_that_was_trained_and_convolutions_keep_theirs() -> None:
    host = load_target("host")
    assert Recipe.parse("qat-int8:engine=tfmot").resolve(host).quantize.dense_granularity == "per-tensor"
    assert Recipe.parse("prune50-int8:engine=tfmot").resolve(host) == msgspec.structs.replace(
        Recipe.parse("prune50-int8").resolve(host), engine="tfmot", name="prune50-int8:engine=tfmot"
    )
    with pytest.raises(RecipeError, match="a scale for each channel"):
        Recipe.parse("qat-int8:engine=tfmot,per-tensor").resolve(host)


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="tensorflow-model-optimization and tf_keras") as caught:
        settings.refuse_missing()
    assert caught.value.mend == "pip install 'edgekit[tfmot]'"


def test_the_doctor_looks_for_it() -> None:
    assert any(found.name == "tensorflow-model-optimization" for found in environment.examine())
