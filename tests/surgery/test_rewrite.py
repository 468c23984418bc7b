"""The whole pass: what it says, for whom, twice, and on files that are not what they seem."""

from __future__ import annotations

import struct

import msgspec
import numpy as np
import pytest
from rewriting import answers, every_integer, names, partitions
from test_convolutions import depthwise
from test_islands import surrounded
from toys import Toy

from edgekit.errors import EdgekitError, ModelError
from edgekit.surgery.edit import Edit
from edgekit.surgery.rewrite import Applied, rewrite, rules_for
from edgekit.surgery.rules import RULES
from edgekit.target import load_target, target_names
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import inspect_model
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata


def test_it_says_what_was_done_and_why() -> None:
    done = rewrite(surrounded("GELU", "GELU", "HARD_SWISH"))
    assert str(done) == "2 GELU as float32 between casts, 1 HARD_SWISH as ADD and MUL"
    assert done.applied[1] == Applied(
        "hard-swish-as-product", "HARD_SWISH", 1, "ADD and MUL", "XNNPACK has no int8 HARD_SWISH"
    )


def test_a_rewritten_file_is_not_rewritten_again_and_the_bytes_are_always_the_same() -> None:
    file = surrounded("GELU", "HARD_SWISH", "RELU")
    once = rewrite(file)
    assert rewrite(once.file).file is once.file
    assert rewrite(file) == once


def test_names_and_types_of_inputs_and_outputs_stay() -> None:
    for file in (surrounded("GELU"), depthwise((7, 7), kind="int8")):
        before, after = inspect_model(file), inspect_model(rewrite(file).file)
        assert (before.inputs, before.outputs) == (after.inputs, after.outputs)
        assert before.signatures == after.signatures


def test_nothing_unread_is_left_and_every_name_is_free() -> None:
    file = rewrite(depthwise((7, 7), kind="int8")).file
    graph = read_graph(file)
    used = {index for op in graph.operators for index in (*op.inputs, *op.outputs)}
    assert used == set(range(len(graph.tensors)))
    assert len({tensor.name for tensor in graph.tensors}) == len(graph.tensors)
    assert len(file) < 2 * len(depthwise((7, 7), kind="int8")) + 8192


@pytest.mark.parametrize("name", target_names())
def test_only_targets_that_run_xnnpack_first_have_rules(name: str) -> None:
    target = load_target(name)
    plain = target.family not in ("microcontroller",) and target.runtime.delegates[:1] == ("xnnpack",)
    assert bool(rules_for(target)) == (plain and target.runtime.packages[0] == "ai-edge-litert")


def test_accelerators_and_microcontrollers_have_none() -> None:
    for name in ("coral-usb", "cortex-m4", "android-gpu", "android-nnapi"):
        assert rules_for(load_target(name)) == ()
    assert rules_for(load_target("host")) == RULES


def test_without_rules_nothing_happens() -> None:
    file = surrounded("GELU")
    assert rewrite(file, ()).file is file


def test_what_cuts_nothing_is_left_alone() -> None:
    """Without an operator before and behind it that XNNPACK takes there is no piece to keep whole."""
    toy = Toy()
    a, b = (toy.tensor((1, 8), "int8") for _ in range(2))
    toy.operator("HARD_SWISH", [a], [b])
    file = toy.bytes([a], [b])
    assert rewrite(file).file is file


def test_more_pieces_never_come_out_than_went_in() -> None:
    for middle in (("GELU",), ("SIGN", "GELU"), ("GELU", "SIGN", "RELU"), ("HARD_SWISH", "SIGN", "HARD_SWISH")):
        file = surrounded(*middle)
        assert partitions(rewrite(file).file) <= partitions(file)


def test_the_second_graph_of_a_file_stays_as_it_is() -> None:
    edit = Edit(surrounded("GELU"))
    edit.tree.subgraphs.append(Edit(surrounded("ABS")).graph)
    for operator in edit.tree.subgraphs[1].operators:
        operator.opcodeIndex = 0
    file = edit.done()
    after = Edit(rewrite(file).file)
    assert len(after.tree.subgraphs) == 2
    assert len(after.tree.subgraphs[1].operators) == 3


@pytest.mark.parametrize("data", [b"", b"no model", b"\x1c\0\0\0TFL3" + b"\xff" * 40])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError):
        rewrite(data)


def _damaged(file: bytes, seed: int) -> bytes:
    rng, data = np.random.default_rng(seed), bytearray(file)
    for place in rng.integers(8, len(data), 6):
        data[place] = rng.integers(0, 256)
    return bytes(data)


@pytest.mark.parametrize("seed", range(150))
def test_damaged_files_are_refused_or_come_out_readable(seed: int) -> None:
    kinds = (surrounded("GELU", "HARD_SWISH"), depthwise((7, 7), kind="int8"), surrounded("RELU"))
    try:
        done = rewrite(_damaged(kinds[seed % 3], seed))
    except EdgekitError:
        return
    read_graph(done.file)


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("name", ["HARD_SWISH", "RELU", "GELU"])
def test_unsound_scales_make_no_unsound_constants(name: str, scale: float) -> None:
    file = rewrite(surrounded(name, grid=(scale, 0))).file
    stored = [t.values() for t in read_graph(file).tensors if t.dtype == "float32" and t.constant]
    assert all(np.isfinite(values).all() for values in stored if values is not None)


def test_a_record_survives_being_stored() -> None:
    done = rewrite(surrounded("GELU"))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(done), type=type(done)) == done


def test_metadata_of_the_file_stays() -> None:
    edit = Edit(surrounded("GELU"))
    entry, buffer = edit.fb.MetadataT(), edit.fb.BufferT()
    buffer.data = np.frombuffer(struct.pack("<q", 42), np.uint8)
    edit.tree.buffers.append(buffer)
    entry.name, entry.buffer = b"answer", len(edit.tree.buffers) - 1
    edit.tree.metadata = [entry]
    after = Edit(rewrite(edit.done()).file).tree
    assert bytes(after.buffers[after.metadata[0].buffer].data) == struct.pack("<q", 42)


def test_the_rewritten_file_runs_without_xnnpack_too() -> None:
    """A phone may have it switched off: the file is then slower, and right."""
    x = every_integer((1, 8, 8, 4))
    for middle in ("GELU", "HARD_SWISH", "RELU"):
        file = rewrite(surrounded(middle)).file
        plain, fast = answers(file, x, xnnpack=False)[0], answers(file, x)[0]
        assert np.abs(plain - fast).max() <= 1, names(file)


def test_label_files_are_packed_behind_the_rewritten_file() -> None:
    files = {"labels.txt": b"ant\nbee\n"}
    done = rewrite(write_metadata(surrounded("GELU"), FileMetadata(files=files)))
    assert done.applied
    assert read_metadata(done.file).files == files
