"""Golden vectors: what the interpreter computes, the same every time, and kept exactly by every format."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from edgekit.bench.run import infer
from edgekit.errors import InputError, OutputError
from edgekit.package.golden import check_vectors, golden_vectors
from edgekit.package.golden_file import GoldenVectors, load_vectors, read_vectors
from edgekit.real_inputs import RealInputs

FLOAT = tiny_models.negative((1, 4))
Cli = Callable[..., subprocess.CompletedProcess[str]]


def _int8() -> bytes:
    graph = tiny_models.Graph()
    x = graph.tensor("x", (1, 2, 8), tiny_models.INT8, 0.5, 3)
    y = graph.tensor("y", (1, 2, 8))
    graph.operator(tiny_models.DEQUANTIZE, [x], [y])
    return graph.bytes([x], [y])


def _same(one: GoldenVectors, other: GoldenVectors) -> bool:
    pairs = zip((*one.inputs, *one.outputs), (*other.inputs, *other.outputs), strict=True)
    return one.head == other.head and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def vectors() -> GoldenVectors:
    return golden_vectors(FLOAT)


def test_outputs_are_those_of_the_operator(vectors: GoldenVectors) -> None:
    np.testing.assert_array_equal(vectors.outputs[0], -vectors.inputs[0])
    assert vectors.inputs[0].shape == (3, 4)
    assert len(np.unique(vectors.inputs[0])) == 12


def test_the_values_of_a_seed_are_these_and_will_stay(vectors: GoldenVectors) -> None:
    np.testing.assert_array_equal(vectors.inputs[0][0], np.float32([0.09762701, 0.43037874, 0.20552675, 0.08976637]))
    assert not np.array_equal(golden_vectors(FLOAT, seed=1).inputs[0], vectors.inputs[0])


def test_a_quantized_input_takes_its_whole_range_and_is_dequantized_by_the_file() -> None:
    made = golden_vectors(_int8(), count=64)
    assert made.inputs[0].dtype == np.int8
    assert (made.inputs[0].min(), made.inputs[0].max()) == (-128, 127)
    np.testing.assert_array_equal(made.outputs[0], (made.inputs[0].astype(np.float32) - 3) * 0.5)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("model", [FLOAT, _int8()], ids=["float", "int8"])
def test_a_saved_file_is_read_back_exactly_and_is_the_same_every_time(
    suffix: str, model: bytes, tmp_path: Path
) -> None:
    made = golden_vectors(model, count=2)
    for name in ("a", "b"):
        made.save(tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert _same(load_vectors(tmp_path / f"a{suffix}"), made)


def test_numpy_reads_the_npz(vectors: GoldenVectors) -> None:
    with np.load(io.BytesIO(vectors.to_npz())) as arrays:
        assert set(arrays) == {"head", "input0", "output0"}
        np.testing.assert_array_equal(arrays["output0"], vectors.outputs[0])


def test_raw_bytes_are_little_endian_and_in_the_archive(vectors: GoldenVectors, tmp_path: Path) -> None:
    vectors.save(tmp_path / "v.zip")
    with zipfile.ZipFile(tmp_path / "v.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist() if name != "vectors.json"} == vectors.raw()
    values = np.frombuffer(vectors.raw()["sample2/output0.bin"], "<f4")
    np.testing.assert_array_equal(values, vectors.outputs[0][2])


def test_samples_of_the_user_are_taken_as_they_are() -> None:
    given = np.arange(20, dtype=np.float32).reshape(5, 4)
    made = golden_vectors(FLOAT, 2, data=RealInputs("mine.npz", (given,)))
    np.testing.assert_array_equal(made.outputs[0], -given[:2])
    assert (made.head.data, made.head.seed, made.head.samples) == ("mine.npz", None, 2)


def test_a_real_network_passes_with_xnnpack_and_one_of_other_weights_does_not(tiny_cnn: Path) -> None:
    model = (tiny_cnn / "tiny.tflite").read_bytes()
    made = golden_vectors(model)
    assert check_vectors(model, made).passed
    outputs = infer(model, made.inputs).outputs[0]
    assert made.worst([outputs])[0] <= 1
    assert made.worst([outputs + 0.01])[0] > 1


def test_a_dequantized_output_may_differ_by_a_quantum_of_its_integers() -> None:
    (tensor,) = golden_vectors(_int8()).head.outputs
    assert tensor.tolerance == pytest.approx(0.5, rel=0.02)


def test_files_of_the_field_pass_with_the_kernels_of_xnnpack(shared_data: Path) -> None:
    """On random samples those of two of these differ by up to 4 and 9 quanta."""
    for name in ("coral_pairs/mobilenet_v1_0.25_128_quant", "mlperf_tiny_ic/pretrainedResnet_quant"):
        model = (shared_data / "models" / f"{name}.tflite").read_bytes()
        made = golden_vectors(model)
        assert made.head.xnnpack_compared
        assert check_vectors(model, made).passed
        assert made.worst([np.roll(made.outputs[0], 1)])[0] > 1


def test_what_is_off_by_more_than_a_quantum_fails(vectors: GoldenVectors) -> None:
    shifted = replace(vectors, outputs=(vectors.outputs[0] + np.float32(0.01),))
    found = check_vectors(FLOAT, shifted)
    assert not found.passed
    assert found.worst[0] == pytest.approx(0.01 / vectors.head.outputs[0].tolerance, rel=0.01)
    assert found.same_file
    with pytest.raises(InputError, match="golden ones have"):
        vectors.worst([np.zeros((3, 5), np.float32)])


def _text_model() -> bytes:
    graph = tiny_models.Graph()
    x, y = graph.tensor("x", (1, 4), tiny_models.STRING), graph.tensor("y", (1, 4), tiny_models.STRING)
    graph.operator(tiny_models.RESHAPE, [x], [y])
    return graph.bytes([x], [y])


@pytest.mark.parametrize(
    ("model", "words", "problem"),
    [
        (FLOAT, {"count": 0}, "0 golden vectors"),
        (_text_model(), {}, "no numbers can be made up for the input 'x', string"),
        (tiny_models.negative((1, -1)), {}, "no numbers can be made up"),
    ],
    ids=["none", "text", "open"],
)
def test_what_cannot_be_made_is_refused(model: bytes, words: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        golden_vectors(model, **words)


def test_golden_vectors_that_claim_more_than_their_bytes_can_hold_are_not_inflated(vectors: GoldenVectors) -> None:
    npz = bytearray(vectors.to_npz())
    place = npz.index(b"PK\x01\x02") + 24
    npz[place : place + 4] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(InputError, match="claims more than its bytes can hold"):
        read_vectors(bytes(npz), "v.npz")


def test_a_file_that_is_none_is_refused(vectors: GoldenVectors, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no format"):
        vectors.save(tmp_path / "v.txt")
    short = json.loads(vectors.to_json())
    short["outputs"] = []
    large = json.loads(golden_vectors(_int8(), 1).to_json())
    large["inputs"][0][0][0] = 128
    other = replace(vectors, inputs=(vectors.inputs[0][:2],)).to_npz()
    npz = vectors.to_npz()
    place = npz.index(b"PK\x01\x02") + 8
    encrypted = npz[:place] + b"\1" + npz[place + 1 :]
    for text in (b"", b"PK\x03\x04", b"{}", other, encrypted, *(json.dumps(one).encode() for one in (short, large))):
        (tmp_path / "v.json").write_bytes(text)
        with pytest.raises(InputError, match="no golden vectors"):
            load_vectors(tmp_path / "v.json")


def test_the_command_makes_and_checks(edgekit_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(FLOAT)
    (tmp_path / "other.tflite").write_bytes(tiny_models.negative((1, 4), 2))
    made = edgekit_cli("vectors", "m.tflite", "-o", "v.json", "--count", "2")
    assert not made.returncode, made.stderr
    assert "2 samples, random, seed 0, run by" in made.stdout
    checked = edgekit_cli("vectors", "m.tflite", "--check", "v.json")
    assert (checked.returncode, checked.stdout[:6]) == (0, "passed"), checked.stderr
    failed = edgekit_cli("vectors", "other.tflite", "--check", "v.json", "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["same_file"] is False
    assert edgekit_cli("vectors", "m.tflite").returncode == 2
    assert "exists already" in edgekit_cli("vectors", "m.tflite", "-o", "v.json").stderr
