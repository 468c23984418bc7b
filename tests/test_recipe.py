import json
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest

from edgekit import strict_toml
from edgekit.compress import compress_model
from edgekit.errors import ModelError, RecipeError
from edgekit.phrase import PRESETS
from edgekit.pipeline import optimize
from edgekit.recipe import Recipe, checked
from edgekit.stages.convert import Convert
from edgekit.stages.fine_tune import FineTune
from edgekit.stages.numerics import Quantize
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.training import Training
from edgekit.target import load_target

INVALID = Path(__file__).parent / "invalid_recipes"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_own_toml_and_fits_the_schema(name: str) -> None:
    recipe = Recipe.parse(name)
    assert strict_toml.loads(recipe.to_toml(), Recipe, RecipeError) == recipe
    jsonschema.validate(json.loads(msgspec.json.encode(recipe)), strict_toml.json_schema(Recipe))


def test_a_phrase_says_everything_a_file_can() -> None:
    recipe = Recipe.parse("int8:io=uint8,per-tensor,engine=litert,calibration=50,batch=4,seed=7")
    assert recipe.quantize == Quantize(
        "int8", granularity="per-tensor", io="uint8", engine="litert", calibration_samples=50
    )
    assert (recipe.convert.batch, recipe.seed, recipe.slug) == (
        4,
        7,
        "int8-io-uint8-per-tensor-engine-litert-calibration-50-batch-4-seed-7",
    )


def test_the_target_decides_what_is_left_open_and_nothing_else() -> None:
    host = load_target("host")
    resolved = Recipe.parse("int8:per-tensor").resolve(host).quantize
    assert "auto" not in msgspec.to_builtins(resolved).values()
    assert (resolved.granularity, resolved.dense_granularity) == ("per-tensor", "per-tensor")
    assert Recipe.parse("int8:io=uint8").resolve(host).quantize.io == "uint8"
    again = Recipe.parse("int8").resolve(host)
    assert again.resolve(host) == again


@pytest.mark.parametrize(
    ("phrase", "engine"),
    [
        ("int8", "converter"),
        ("float16", "litert"),
        ("int16x8", "litert"),
        ("dynamic-int8", "litert"),
        ("dynamic-int8:per-tensor", "converter"),
        ("float16:engine=converter", "converter"),
    ],
)
def test_the_engine_is_the_one_that_does_it_well_and_soon(phrase: str, engine: str) -> None:
    assert Recipe.parse(phrase).resolve(load_target("host")).quantize.engine == engine


def test_a_target_refuses_what_it_cannot_run() -> None:
    with pytest.raises(RecipeError, match="cannot run 'float32'"):
        Recipe.parse("float32").resolve(load_target("coral-usb"))


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("int9", "did you mean 'int8'"),
        ("int8:io=unit8", "did you mean 'uint8'"),
        ("int8:perchannel", "or 'per-channel'?"),
        ("int8:calibration=none", "whole number"),
        ("int8:calibration=0", "whole number"),
        ("int8:seed=\u00b2", "whole number"),
        ("float32:batch=9999999999", "at most 9 digits"),
        ("int8:per-tensor,per-channel", "granularity is said twice"),
        ("int8:keep-float=ADD,keep-float=MUL", "said twice"),
        ("int8:", "unknown option ''"),
        ("int8:keep-float=" + "+".join(["ADD"] * 60), "write it as a TOML file"),
        ("float32:batch=999999999", "<= 65536"),
        ("int8:io=int16", "use float32 or int8 or uint8"),
        ("float32:per-tensor", "takes no quantization option"),
        ("int16x8:engine=converter,calibration=mse", "use engine=litert"),
        ("qat-int16x8:engine=converter", "use engine=litert"),
        ("", "unknown recipe ''"),
        ("missing.toml", "No such file"),
    ],
)
def test_a_wrong_phrase_is_refused_with_the_mend(phrase: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(phrase)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.toml")), ids=lambda path: path.stem)
def test_an_invalid_file_is_refused_at_its_line(path: Path) -> None:
    """The first line of each file is a comment with the line and the words that the error must hold."""
    line, _, words = path.read_text().splitlines()[0].removeprefix("# ").partition(" ")
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(path)
    assert f"{path}" in str(caught.value)
    assert words in str(caught.value)
    assert line == "-" or f"{path}:{line}:" in str(caught.value)


@pytest.mark.parametrize(
    "stage", [FineTune(Training(epochs=0)), FineTune(Training(batch_size=0)), PruneChannels(retain=50)]
)
def test_a_recipe_built_in_python_is_held_to_its_bounds(stage: FineTune | PruneChannels) -> None:
    with pytest.raises(RecipeError, match="recipe 'mine': Expected"):
        checked(Recipe("mine", (stage, Convert())))
    sound = Recipe.parse("channels50-int8")
    assert checked(sound) == sound


def test_a_slug_fits_a_file_name_and_tells_long_names_apart() -> None:
    slugs = [
        Recipe.parse(f"int8:keep-float={'+'.join(['FULLY_CONNECTED'] * 9)}+{last}").slug for last in ("ADD", "MUL")
    ]
    assert len(set(slugs)) == 2
    assert all(len(slug) <= 100 for slug in slugs)


def test_a_file_may_begin_with_the_mark_of_windows_editors(tmp_path: Path) -> None:
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + Recipe.parse("int8").to_toml().encode())
    assert Recipe.parse(tmp_path / "marked.toml") == Recipe.parse("int8")


CODE = {
    "student": 'stage = "distill"\nstudent = "evil.py:f"',
    "teacher": 'stage = "distill"\nwidth = 0.5\nteachers = ["a.keras", "evil:f"]',
    "loss": 'stage = "fine_tune"\ntraining = { loss = "evil:f" }',
}


@pytest.mark.parametrize("where", CODE)
def test_python_that_a_recipe_file_names_is_not_run_unless_the_file_is_trusted(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(): pass\n")
    (tmp_path / "r.toml").write_text(f'name = "r"\n[[stages]]\n{CODE[where]}\n[[stages]]\nstage = "convert"\n')
    recipe = Recipe.parse(tmp_path / "r.toml")
    recipe.refuse_code(trust=True)
    np.savez(tmp_path / "d.npz", x=np.zeros((20, 4)), y=np.arange(20) % 2)
    board = 'extends = "host"\nname = "board"\ntitle = "Board"\n[numerics]\nrecommended = "r.toml"\n'
    (tmp_path / "board.toml").write_text(board + '[sources]\nnumerics = "us"\n')
    for call in (
        lambda: optimize("none.keras", out=tmp_path / "out", data="d.npz", targets=[tmp_path / "board.toml"]),
        lambda: optimize("none.keras", out=tmp_path / "out", data="d.npz", recipes=[tmp_path / "r.toml"]),
        lambda: compress_model("none.keras", tmp_path / "r.toml", data="d.npz"),
    ):
        with pytest.raises(RecipeError, match="no code that a file names is run"):
            call()
    assert not (tmp_path / "ran").exists()
    for call in (
        lambda: optimize("none.keras", out=tmp_path / "out", data="d.npz", recipes=[recipe]),
        lambda: compress_model("none.keras", recipe, data="d.npz"),
    ):  # built in Python, so what it names is the caller's own
        with pytest.raises(ModelError, match=r"none\.keras"):
            call()


@pytest.mark.parametrize("name", PRESETS)
def test_no_phrase_names_code(name: str) -> None:
    assert Recipe.parse(name).code == ()


def test_a_hostile_file_is_refused_without_a_crash() -> None:
    with pytest.raises(RecipeError, match="nested too deeply"):
        strict_toml.loads("stages = " + "[" * 100_000, Recipe, RecipeError)
