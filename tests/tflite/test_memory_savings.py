"""What the arena could be; and the command that shows what it is."""

from __future__ import annotations

import json
from pathlib import Path
from time import process_time

import pytest
import tiny_models
from click.testing import CliRunner
from hypothesis import given
from test_memory_plan import contents_of, graphs, operator
from toys import Toy

from edgekit.cli.memory import command
from edgekit.errors import OutputError
from edgekit.tflite.inspect import ModelContents, TensorInfo
from edgekit.tflite.memory_plan import plan_memory
from edgekit.tflite.memory_savings import _lean_order, savings


@given(graphs())
def test_savings_never_cost_and_the_order_is_one(contents: ModelContents) -> None:
    now, found = plan_memory(contents, "micro").arena_bytes, savings(contents, "micro")
    assert found.in_place_bytes <= now
    assert found.reordered_bytes <= now
    order = _lean_order(contents, "micro")
    assert sorted(op.index for op in order) == [op.index for op in contents.operators]
    known = {*contents.input_indices}
    for op in order:
        assert {*op.inputs} <= known
        known |= {*op.outputs}


def test_a_chain_of_additions_needs_one_tensor_in_place() -> None:
    tensors = [TensorInfo(f"t{i}", (1, 160), "int8") for i in range(4)]
    contents = contents_of(tensors, tuple(operator(number, (number,)) for number in range(3)), (0,), (3,))
    assert plan_memory(contents, "micro").arena_bytes == 320
    assert savings(contents, "micro").in_place_bytes == 160


def test_an_output_is_not_written_over_by_what_reads_it() -> None:
    tensors = [TensorInfo(f"t{i}", (1, 160), "int8") for i in range(3)]
    contents = contents_of(tensors, (operator(0, (0,)), operator(1, (1,))), (0,), (1, 2))
    assert savings(contents, "micro").in_place_bytes == 320


def test_a_branch_that_ends_small_goes_first() -> None:
    """t1 and t2 are large, each read once; written one after the other they live together, else one at a time."""
    tensors = [TensorInfo(f"t{i}", (1, size), "int8") for i, size in enumerate((16, 960, 960, 16, 16, 16))]
    inputs = {0: (0,), 1: (0,), 2: (1,), 3: (2,), 4: (3, 4)}
    contents = contents_of(tensors, tuple(operator(number, read) for number, read in inputs.items()), (0,), (5,))
    assert plan_memory(contents, "micro").arena_bytes >= 1920
    assert savings(contents, "micro").reordered_bytes < 1100


def test_an_operator_that_writes_over_its_own_input_is_survived() -> None:
    tensors = [TensorInfo(f"t{i}", (1, 160), "int8") for i in range(3)]
    contents = contents_of(tensors, (operator(0, (0,)), operator(0, (0, 1)), operator(1, (1,))), (0,), (2,))
    assert savings(contents, "micro").in_place_bytes <= plan_memory(contents, "micro").arena_bytes


def test_the_command_says_what_is_not_counted(tmp_path: Path) -> None:
    toy = Toy()
    x, y = toy.tensor([1, 8]), toy.tensor([1, 8])
    toy.operator("WHILE", [x], [y], "WhileOptions")
    (tmp_path / "m.tflite").write_bytes(toy.bytes([x], [y]))
    done = CliRunner().invoke(command, [str(tmp_path / "m.tflite")], catch_exceptions=False)
    assert "note: the graphs that WHILE x1 (#0) calls are not counted" in done.output


def test_three_thousand_operators_take_a_moment() -> None:
    """A quadratic search takes 6 seconds and more."""
    tensors = [TensorInfo(f"t{i}", (1, 160), "int8") for i in range(3001)]
    contents = contents_of(tensors, tuple(operator(number, (number,)) for number in range(3000)), (0,), (3000,))
    begin = process_time()
    assert savings(contents, "micro").reordered_bytes == 320
    assert process_time() - begin < 3


def test_the_command_tells_and_draws(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative((1, 512)))
    words = [str(tmp_path / "m.tflite"), "-o", str(tmp_path / "plan.html")]
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    assert "TFLite Micro  4.00 KiB" in done.stdout
    assert "NEG #0" in done.stdout
    text = (tmp_path / "plan.html").read_text()
    assert text.count("<svg") == 2
    assert "<script" not in text
    assert isinstance(CliRunner().invoke(command, words).exception, OutputError), "the page exists"


def test_the_command_gives_json(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative((1, 512)))
    told = json.loads(CliRunner().invoke(command, [str(tmp_path / "m.tflite"), "--json"]).stdout)
    assert [one["runtime"] for one in told["plans"]] == ["litert", "micro"]
    assert told["plans"][1]["plan"]["arena_bytes"] == 4096


def test_a_page_has_a_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    done = CliRunner().invoke(command, [str(tmp_path / "m.tflite"), "-o", str(tmp_path / "m.tflite")])
    assert isinstance(done.exception, OutputError)


@pytest.mark.parametrize("name", ["<b>", "a&b"])
def test_names_are_escaped(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.tflite").write_bytes(tiny_models.negative())
    words = [str(tmp_path / f"{name}.tflite"), "-o", str(tmp_path / "plan.html")]
    assert CliRunner().invoke(command, words).exit_code == 0
    assert f"{name}.tflite" not in (tmp_path / "plan.html").read_text()
