"""The rewriting as a stage of a run: a line of the ledger, a word to leave it out, and a warning where int8 loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rewriting import names, partitions

from edgekit.pipeline import optimize
from edgekit.recipe import Recipe
from edgekit.run import Run
from edgekit.source_check import check_model
from edgekit.tf import import_keras


@pytest.fixture(scope="module")
def swish(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with hard-swish between its layers and data for it."""
    folder, keras = tmp_path_factory.mktemp("swish"), import_keras()
    keras.utils.set_random_seed(0)
    x = start = keras.Input((16, 16, 3))
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        x = keras.layers.Activation("hard_swish")(x)
    x = keras.layers.Dense(4, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(start, x).save(folder / "swish.keras")
    rng = np.random.default_rng(0)
    images = rng.normal(0, 2, (240, 16, 16, 3)).astype(np.float32)
    np.savez(folder / "data.npz", x=images, y=rng.integers(0, 4, 240))
    return folder


@pytest.fixture(scope="module")
def runs(swish: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    out = tmp_path_factory.mktemp("runs") / "out"
    run = optimize(
        swish / "swish.keras",
        data=swish / "data.npz",
        targets=["host", "coral-usb"],
        recipes=["int8", "int8:no-rewrite"],
        out=out,
        benchmark=False,
    )
    return run, out


def _file(runs: tuple[Run, Path], name: str) -> bytes:
    manifest = next(one for one in runs[0].artifacts if one.name == name)
    return (runs[1] / name / manifest.file).read_bytes()


def test_the_ledger_says_what_was_rewritten(runs: tuple[Run, Path]) -> None:
    lines = {manifest.name: manifest.history for manifest in runs[0].artifacts}
    assert [line.stage for line in lines["host/int8"]] == ["convert", "quantize", "rewrite"]
    assert lines["host/int8"][-1].detail == "2 HARD_SWISH as ADD and MUL"
    for name in ("host/int8-no-rewrite", "coral-usb/int8", "coral-usb/int8-no-rewrite"):
        assert [line.stage for line in lines[name]] == ["convert", "quantize"]


def test_the_rewritten_file_is_one_piece_and_as_good(runs: tuple[Run, Path]) -> None:
    plain, fast = _file(runs, "host/int8-no-rewrite"), _file(runs, "host/int8")
    assert names(plain).count("HARD_SWISH") == 2
    assert "HARD_SWISH" not in names(fast)
    assert partitions(plain) - partitions(fast) == 2
    first, second = (one.verification for one in runs[0].artifacts if one.target == "host")
    assert first is not None
    assert second is not None
    assert abs(first.agreement.rate - second.agreement.rate) < 0.1


def test_what_is_found_is_found_in_the_rewritten_file(runs: tuple[Run, Path]) -> None:
    found = {one.name: " ".join(each.subject + each.problem for each in one.findings) for one in runs[0].artifacts}
    assert "HARD_SWISH" in found["host/int8-no-rewrite"]
    assert "HARD_SWISH" not in found["host/int8"]


def test_a_check_before_there_is_data_sees_the_rewritten_file(swish: Path) -> None:
    plain = check_model(swish / "swish.keras", "host", recipe="int8:no-rewrite")
    fast = check_model(swish / "swish.keras", "host", recipe="int8")
    assert any("HARD_SWISH" in each.subject for each in plain.findings)
    assert not any("HARD_SWISH" in each.subject for each in fast.findings)


def test_the_word_is_kept_in_a_recipe_file(tmp_path: Path) -> None:
    recipe = Recipe.parse("int8:no-rewrite,batch=2")
    assert (recipe.convert.batch, recipe.convert.rewrite) == (2, False)
    assert Recipe.parse("int8").convert.rewrite
    (tmp_path / "one.toml").write_text(recipe.to_toml())
    assert Recipe.parse(tmp_path / "one.toml") == recipe
