"""Vela: what it takes is read from the file that it makes, what it leaves has a reason, its times are estimates."""

from __future__ import annotations

import importlib.util
import resource
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import tiny_models

from edgekit.errors import InputError, MissingDependency, ModelError, RunError
from edgekit.forecast import vela
from edgekit.forecast.vela import compile_for_ethos_u
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import inspect_model
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata

needs_vela = pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None and shutil.which("vela") is None, reason="vela is not installed"
)
STATES = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}


@needs_vela
def test_an_int8_file_is_one_piece_on_the_npu(shared_data: Path) -> None:
    model = shared_data / "models/mlperf_tiny_ic/pretrainedResnet_quant.tflite"
    made, file = compile_for_ethos_u(model)
    assert made.cpu_operators == ()
    assert (len(made.forecast.left), made.forecast.partitions, made.forecast.unit) == (0, 1, "ethos-u")
    assert made.macs == pytest.approx(inspect_model(model).macs, rel=0.01)
    assert made.estimated_seconds == pytest.approx(made.estimated_cycles / made.clock_hz, rel=1e-5)
    assert 32 * 32 * 16 * 2 < made.sram_bytes < 100_000
    assert [op.name for op in read_graph(file).operators] == ["ethos-u"]


@needs_vela
@pytest.mark.parametrize("accelerator", ["ethos-u55-32", "ethos-u65-512"])
def test_what_is_left_is_what_the_file_of_vela_still_has(shared_data: Path, accelerator: str) -> None:
    model = shared_data / "models/microwakeword/okay_nabu.tflite"
    made, file = compile_for_ethos_u(model, accelerator)
    assert {*made.cpu_operators} == STATES
    kept = Counter(op.name for op in read_graph(file).operators)
    assert kept == Counter([*made.cpu_operators, *["ethos-u"] * made.forecast.partitions])
    reasons = {one.reason for one in made.forecast.left if one.name == "READ_VARIABLE"}
    assert reasons == {"Unsupported opType"}
    assert [one.index for one in made.forecast.placements] == [op.index for op in read_graph(model).operators]


@needs_vela
def test_a_float_file_stays_on_the_cpu_for_a_reason_without_names() -> None:
    made, _ = compile_for_ethos_u(tiny_models.negative((1, 64), operators=2))
    assert len(made.forecast.left) == len(made.forecast.placements)
    assert (made.forecast.partitions, made.estimated_seconds) == (0, 0.0)
    assert len({one.reason for one in made.forecast.left}) == 1
    assert all(one.code == "vela-cpu" and one.mend and one.source for one in made.forecast.left)


@needs_vela
def test_more_units_are_not_estimated_slower(shared_data: Path) -> None:
    model = shared_data / "models/mlperf_tiny_ic/pretrainedResnet_quant.tflite"
    (small, _), (large, _) = (compile_for_ethos_u(model, f"ethos-u55-{macs}") for macs in (32, 256))
    assert large.estimated_cycles < small.estimated_cycles


@needs_vela
def test_an_unknown_system_is_told_in_the_words_of_vela() -> None:
    with pytest.raises(RunError, match="no_such_system"):
        compile_for_ethos_u(tiny_models.negative(), system_config="no_such_system")


@needs_vela
def test_a_long_compilation_ends_with_its_time() -> None:
    with pytest.raises(RunError, match=r"longer than 0\.05 s"):
        compile_for_ethos_u(tiny_models.negative(), seconds=0.05)


@needs_vela
def test_what_cannot_be_compiled_is_refused_before() -> None:
    with pytest.raises(InputError, match="unknown accelerator 'ethos-u55-100'"):
        compile_for_ethos_u(tiny_models.negative(), "ethos-u55-100")
    with pytest.raises(ModelError):
        compile_for_ethos_u(b"12345678" * 4)


def test_a_limit_of_memory_that_is_set_already_is_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [sys.executable, "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_AS))"]
    for hard, memory in ((4 << 30, 4 << 30), (resource.RLIM_INFINITY, 8 << 30), (16 << 30, 8 << 30)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, hard=hard: (-1, hard))
        assert vela._run(told, 60).strip() == f"({memory}, {memory})"


def test_a_system_that_limits_no_memory_compiles_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert vela._run([sys.executable, "-c", "print('compiled')"], 60).strip() == "compiled"


def test_missing_vela_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vela.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(vela.shutil, "which", lambda name: None)
    with pytest.raises(MissingDependency, match=r"edgekit\[firmware\]"):
        compile_for_ethos_u(tiny_models.negative())


@needs_vela
def test_files_packed_behind_the_model_are_behind_the_compiled_one() -> None:
    whole = write_metadata(tiny_models.negative((1, 64)), FileMetadata(files={"labels.txt": b"ant"}))
    assert read_metadata(compile_for_ethos_u(whole)[1]).files == {"labels.txt": b"ant"}
