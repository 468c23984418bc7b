"""What a target claims is what the file gets: one test a claim that changes what is made, or what is said of it."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.artifact import Artifact, Manifest
from edgekit.pipeline import optimize
from edgekit.run import Run
from edgekit.target import TABLES
from edgekit.tflite.inspect import ModelSummary, inspect_model

PACKAGE = Path(__file__).parents[1] / "edgekit"
BASE = """
    extends = "host"
    name = "{name}"
    title = "A board"
    [sources]
    memory = "https://example.org"
    runtime = "https://example.org"
    numerics = "https://example.org"
    operators = "https://example.org"
    budget = "https://example.org"
"""
BOARDS = {
    "plain": "",
    "one-scale": 'numerics.granularity = ["per-tensor"]',
    "one-dense-scale": 'numerics.dense_granularity = ["per-tensor"]',
    "bytes": 'numerics.io = ["uint8", "float32"]',
    "litert": 'numerics.engine = "litert"',
    "weights-only": 'numerics.recommended = "dynamic-int8"',
    "small-file": "budget.file_bytes = 1_000",
    "small-flash": "memory.flash_bytes = 1_000",
    "small-ram": "memory.ram_bytes = 1_000",
    "small-arena": 'runtime.packages = ["tflite-micro"]\noperators.table = "tflite-micro"\nbudget.arena_bytes = 1_000',
    "old-runtime": 'runtime.packages = ["tflite-runtime"]',
}
FACTS = {"processor.core", "processor.architecture"}
"""Claims to be read by people; nothing is decided by them."""


def board(folder: Path, name: str, claims: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(textwrap.dedent(BASE).format(name=name).replace("[sources]", f"{claims}\n[sources]"))
    return path


Made = Callable[[str], tuple[Manifest, ModelSummary]]


@pytest.fixture(scope="module")
def run(tiny_cnn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """One network for all boards, each by its recommended recipe."""
    folder = tmp_path_factory.mktemp("boards")
    boards = [board(folder, name, claims) for name, claims in BOARDS.items()]
    out, model, data = folder / "out", tiny_cnn / "tiny.tflite", tiny_cnn / "tiny.npz"
    return optimize(model, data=data, targets=boards, out=out, benchmark=False), out


@pytest.fixture
def made(run: tuple[Run, Path]) -> Made:
    """The manifest and the contents of the file of a board."""

    def of(name: str) -> tuple[Manifest, ModelSummary]:
        (manifest,) = [one for one in run[0].artifacts if one.target == name]
        return manifest, inspect_model(Artifact.load(run[1] / manifest.name).model)

    return of


def scales(summary: ModelSummary, operator: str) -> list[int]:
    """How many scales the weights of each such operator have."""
    ops = [op for op in summary.operators if op.name == operator]
    return [max(summary.tensors[op.inputs[1]].channel_scales, 1) for op in ops]


def test_granularity_is_that_of_the_weights(made: Made) -> None:
    assert scales(made("plain")[1], "CONV_2D") == [24, 32]
    assert scales(made("plain")[1], "FULLY_CONNECTED") == [4]
    assert scales(made("one-scale")[1], "CONV_2D") == [1, 1]


def test_dense_granularity_is_that_of_dense_weights_only(made: Made) -> None:
    assert scales(made("one-dense-scale")[1], "FULLY_CONNECTED") == [1]
    assert scales(made("one-dense-scale")[1], "CONV_2D") == [24, 32]


def test_the_first_io_is_the_type_of_inputs_and_outputs(made: Made) -> None:
    for name, dtype in (("plain", "float32"), ("bytes", "uint8")):
        summary = made(name)[1]
        assert {tensor.dtype for tensor in (*summary.inputs, *summary.outputs)} == {dtype}


def test_the_engine_makes_the_file(made: Made) -> None:
    plain, other = made("plain")[0], made("litert")[0]
    assert (plain.recipe.quantize.engine, other.recipe.quantize.engine) == ("converter", "litert")
    assert other.history[-1].detail.endswith("litert")
    assert other.sha256 != plain.sha256


def test_the_recommended_recipe_is_used_where_none_is_named(made: Made) -> None:
    assert made("plain")[1].numeric == "int8"
    assert made("weights-only")[1].numeric == "dynamic-int8"


def test_what_does_not_fit_is_stopped_by_the_gate(run: tuple[Run, Path]) -> None:
    stopped = {fault.partition("/")[0]: fault for fault in run[0].gates}
    assert stopped.keys() == {"small-file", "small-flash", "small-ram", "small-arena"}
    assert "the budget is 1000 B" in stopped["small-file"]
    assert "the flash is 1000 B" in stopped["small-flash"]
    assert "the memory is 1000 B" in stopped["small-ram"]
    assert "for tensors, and the budget is 1000 B" in stopped["small-arena"]


def test_the_first_package_is_what_verification_is_held_against(run: tuple[Run, Path]) -> None:
    foreign = [warning for warning in run[0].warnings if warning.startswith("verified here with")]
    assert any("tflite-micro is what runs on small-arena" in warning for warning in foreign)
    assert any("tflite-runtime is what runs on old-runtime" in warning for warning in foreign)


def test_channels_are_kept_at_multiples_that_the_target_likes(tiny_cnn: Path, tmp_path: Path) -> None:
    multiples = {"four": 4, "sixteen": 16}
    boards = [board(tmp_path, name, f"numerics.channel_multiple = {each}") for name, each in multiples.items()]
    model, data, out = tiny_cnn / "tiny.keras", tiny_cnn / "tiny.npz", tmp_path / "out"
    recipes = ["channels50-float32:epochs=1"]
    run = optimize(model, data=data, targets=boards, recipes=recipes, out=out, benchmark=False)
    found = {one.target: inspect_model(Artifact.load(out / one.name).model).operators for one in run.artifacts}
    counts = {name: [op.output_shape[-1] for op in ops if op.name == "CONV_2D"] for name, ops in found.items()}
    assert counts["four"] != counts["sixteen"] == [16, 16]
    assert all(count % 4 == 0 for count in counts["four"])


def test_no_claim_is_declared_that_nothing_reads() -> None:
    own = {PACKAGE / name for name in ("cli/targets.py", "target_checks.py", "target_template.py")}
    read = {name for path in PACKAGE.rglob("*.py") if path not in own for name in _read_of_targets(path)}
    claims = {f"{table}.{key}" for table, kind in TABLES.items() for key in kind.__struct_fields__}
    assert claims - read == FACTS


def _read_of_targets(path: Path) -> set[str]:
    """`table.key` of every attribute of a table of a target that a file reads, by the names that it uses for it."""
    tree = ast.parse(path.read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    found = set()
    for node in nodes:
        if isinstance(node.value, ast.Attribute) and node.value.attr in TABLES:
            found.add(f"{node.value.attr}.{node.attr}")
        elif isinstance(node.value, ast.Name) and node.value.id in ("rules", "memory"):
            found.add(f"{'numerics' if node.value.id == 'rules' else 'memory'}.{node.attr}")
    return found
