"""Running Coral's compiler, tried with a small program that prints what the real one is known to print.

The real compiler was not at hand when these tests were written: its messages are those of its documentation and of
public issues, and its result is a file with one `edgetpu-custom-op`.
"""

from __future__ import annotations

import os
import stat
import sys
import time
import zipfile
from pathlib import Path

import pytest
from edgetpu_files import Of, Step, chain, file_of

from edgekit.errors import MissingDependency, ModelError, OutputError, RunError
from edgekit.forecast.edgetpu import edgetpu_log, forecast_edgetpu
from edgekit.forecast.edgetpu_compiler import Compilation, Difference, LogRow, compare, compile_edgetpu, parse_log
from edgekit.tflite.metadata import read_metadata

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the program of these tests is a script")

IMAGE = Of((1, 8, 8, 8))
SUMMARY = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 2876 ms.

Input model: model.tflite
Input size: 7.31MiB
Output model: model_edgetpu.tflite
Output size: 7.52MiB
On-chip memory used for caching model parameters: 6.89MiB
On-chip memory remaining for caching model parameters: 1.00KiB
Off-chip memory used for streaming uncached model parameters: 175.00KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 3
Operation log: model_edgetpu.log

Operator                       Count      Status

RELU                           1          Mapped to Edge TPU
LEAKY_RELU                     1          Operation not supported
RELU                           1          More than one subgraph is not supported
Compilation child process completed within timeout period.
Compilation succeeded!
"""
ROWS = (
    LogRow("RELU", 1, "Mapped to Edge TPU"),
    LogRow("LEAKY_RELU", 1, "Operation not supported"),
    LogRow("RELU", 1, "More than one subgraph is not supported"),
)
WRITES = """
out = pathlib.Path(arguments[arguments.index("-o") + 1])
stem = pathlib.Path(arguments[-1]).stem
shutil.copyfile(here / "compiled.tflite", out / f"{stem}_edgetpu.tflite")
print((here / "summary.txt").read_text())
"""
CRASHES_TWICE = """
count = here / "count"
count.write_text(str(int(count.read_text() if count.exists() else 0) + 1))
if int(count.read_text()) < 3:
    print("Edge TPU Compiler version 14.1.317412892\\n\\nInternal compiler error. Aborting!")
    sys.exit(1)
"""


def compiled() -> bytes:
    """What a compiler makes of RELU, LEAKY_RELU, RELU."""
    tensors = {"in": IMAGE, "a": IMAGE, "b": IMAGE, "out": IMAGE}
    steps = [
        Step("edgetpu-custom-op", ("in",), ("a",), custom=True),
        Step("LEAKY_RELU", ("a",), ("b",)),
        Step("RELU", ("b",), ("out",)),
    ]
    return file_of(tensors, steps, ("in",), ("out",))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    tensors = {"in": IMAGE, "a": IMAGE, "b": IMAGE, "out": IMAGE}
    steps = [Step("RELU", ("in",), ("a",)), Step("LEAKY_RELU", ("a",), ("b",)), Step("RELU", ("b",), ("out",))]
    path.write_bytes(file_of(tensors, steps, ("in",), ("out",)))
    return path


def program(folder: Path, body: str) -> str:
    """An executable that does this, with its files beside it."""
    (folder / "compiled.tflite").write_bytes(compiled())
    (folder / "summary.txt").write_text(SUMMARY)
    path = folder / "compiler"
    head = f"#!{sys.executable}\nimport os, pathlib, shutil, subprocess, sys, time\n"
    path.write_text(head + "here, arguments = pathlib.Path(__file__).parent, sys.argv[1:]\n" + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_answer_of_the_compiler_is_read(model: Path, tmp_path: Path) -> None:
    found = compile_edgetpu(model, tmp_path / "out", [program(tmp_path, WRITES)])
    assert found == Compilation(
        path=tmp_path / "out" / "model_edgetpu.tflite",
        version="16.0.384591198",
        left={"LEAKY_RELU": 1, "RELU": 1},
        partitions=1,
        rows=ROWS,
        on_chip_bytes=round(6.89 * 2**20),
        remaining_bytes=1024,
        streamed_bytes=175 * 1024,
    )
    assert found.path.read_bytes() == compiled()


def test_the_log_file_goes_before_what_is_printed(model: Path, tmp_path: Path) -> None:
    body = (
        WRITES + '(out / f"{stem}_edgetpu.log").write_text("Operator Count Status\\n\\nRELU 3 Mapped to Edge TPU\\n")'
    )
    found = compile_edgetpu(model, tmp_path / "out", [program(tmp_path, body)])
    assert found.rows == (LogRow("RELU", 3, "Mapped to Edge TPU"),)


def test_options_are_the_documented_flags_and_the_folder_can_be_mounted(model: Path, tmp_path: Path) -> None:
    body = WRITES + '(here / "said").write_text(" ".join(arguments))'
    words = [program(tmp_path, body), "-v", "{folder}:{folder}", "image"]
    compile_edgetpu(model, tmp_path / "out", words, min_runtime_version=13, several_subgraphs=True, scratch=tmp_path)
    said = (tmp_path / "said").read_text().split()
    folder = said[1].partition(":")[0]
    assert said == ["-v", f"{folder}:{folder}", "image", "-s", "-a", "-m", "13", "-o", folder, f"{folder}/model.tflite"]
    assert Path(folder).parent == tmp_path
    assert not Path(folder).exists()


def test_a_crash_that_vanishes_is_retried(model: Path, tmp_path: Path) -> None:
    found = compile_edgetpu(model, tmp_path / "out", [program(tmp_path, CRASHES_TWICE + WRITES)])
    assert found.attempts == 3
    assert found.left == {"LEAKY_RELU": 1, "RELU": 1}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (CRASHES_TWICE + WRITES, "crashed 2 times: Internal compiler error. Aborting!"),
        ("os.kill(os.getpid(), 11)", "crashed 2 times: it said nothing"),
        ("sys.exit(139)", "crashed 2 times"),
        ('print("Compilation failed!"); sys.exit(1)', "crashed 2 times: Compilation failed!"),
    ],
)
def test_a_crash_each_time_is_an_error_with_the_last_words(model: Path, tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(RunError, match=words) as caught:
        compile_edgetpu(model, tmp_path / "out", [program(tmp_path, body)], attempts=2)
    assert "scale" in caught.value.mend
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ("Invalid model: model.tflite\nModel not quantized", "int8"),
        (
            "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
            "dynamic-sized tensors.\nCompilation failed: Model failed in Tflite interpreter.\nCompilation failed!",
            "fixed batch",
        ),
        ("Compilation failed: Compilation failed due to large activation tensors in model.", "smaller input"),
        ("ERROR: Didn't find op for builtin opcode 'DEPTH_TO_SPACE' version '2'", "older TensorFlow"),
    ],
)
def test_what_the_compiler_refuses_with_a_reason_is_told_at_once(
    model: Path, tmp_path: Path, said: str, mend: str
) -> None:
    body = f'(here / "runs").open("a").write("x"); print({said!r}); sys.exit(1)'
    with pytest.raises(ModelError) as caught:
        compile_edgetpu(model, tmp_path / "out", [program(tmp_path, body)])
    assert said.splitlines()[0].removeprefix("Invalid model: ") in caught.value.problem
    assert mend in caught.value.mend
    assert (tmp_path / "runs").read_text() == "x"


@pytest.mark.parametrize("code", [125, 126, 127])
def test_a_container_that_does_not_start_is_not_blamed_on_the_file(model: Path, tmp_path: Path, code: int) -> None:
    said = "docker: Cannot connect to the Docker daemon.\\nRun 'docker run --help' for more information"
    with pytest.raises(RunError, match=rf"does not start the compiler \(exit code {code}\): docker: Cannot connect"):
        compile_edgetpu(model, tmp_path / "out", [program(tmp_path, f'print("{said}"); sys.exit({code})')])


def test_a_folder_that_cannot_be_written_is_told_before_the_compiler_works(model: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder that you may write to"):
        compile_edgetpu(model, model / "out", [program(tmp_path, '(here / "runs").touch()' + WRITES)])
    assert not (tmp_path / "runs").exists()


def test_success_without_a_file_is_no_success(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"makes no model_edgetpu.tflite: done \(exit code 0\)"):
        compile_edgetpu(model, tmp_path / "out", [program(tmp_path, 'print("done")')])


def test_time_that_runs_out_ends_the_compiler_and_its_children(model: Path, tmp_path: Path) -> None:
    script = tmp_path / "slow"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/child\nsleep 600\n")
    script.chmod(0o755)
    with pytest.raises(RunError, match=r"not done after 3.00 s"):
        compile_edgetpu(model, tmp_path / "out", [str(script)], timeout_seconds=3)
    assert _gone(int((tmp_path / "child").read_text()))


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_where_there_is_no_compiler_the_mend_says_where_to_get_it(model: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="no-such-compiler is not on the PATH") as caught:
        compile_edgetpu(model, tmp_path / "out", ["no-such-compiler"])
    assert "coral.ai/docs/edgetpu/compiler" in caught.value.mend
    with pytest.raises(MissingDependency):
        compile_edgetpu(model, tmp_path / "out", [])
    with pytest.raises(ModelError, match="no such file"):
        compile_edgetpu(tmp_path / "absent.tflite", tmp_path / "out", [program(tmp_path, WRITES)])


def test_a_result_is_replaced_only_when_asked_for(model: Path, tmp_path: Path) -> None:
    words = [program(tmp_path, WRITES)]
    (tmp_path / "model_edgetpu.tflite").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        compile_edgetpu(model, tmp_path, words)
    assert (tmp_path / "model_edgetpu.tflite").read_bytes() == b"mine"
    assert compile_edgetpu(model, tmp_path, words, overwrite=True).path.read_bytes() == compiled()


def test_a_result_that_is_no_model_is_a_model_error(model: Path, tmp_path: Path) -> None:
    words = [program(tmp_path, WRITES)]
    (tmp_path / "compiled.tflite").write_bytes(b"garbage that is not a model")
    with pytest.raises(ModelError, match="not a TFLite file"):
        compile_edgetpu(model, tmp_path / "out", words)
    assert not (tmp_path / "out").exists()


def _compilation(left: dict[str, int], rows: tuple[LogRow, ...] = ()) -> Compilation:
    return Compilation(Path("model_edgetpu.tflite"), "16.0", left, 1, rows)


def test_forecast_and_compiler_that_agree_do_not_part() -> None:
    forecast = forecast_edgetpu(chain("RELU", "LEAKY_RELU", "RELU"))
    assert compare(forecast, _compilation({"LEAKY_RELU": 1, "RELU": 1})) == ()


def test_where_they_part_operators_are_named_with_the_words_of_the_log() -> None:
    forecast = forecast_edgetpu(chain("RELU", "LEAKY_RELU", "RELU", "TANH"))
    rows = (LogRow("TANH", 1, "Mapped to Edge TPU"), LogRow("RELU", 2, "Operation version not supported"))
    assert compare(forecast, _compilation({"LEAKY_RELU": 1, "RELU": 2}, rows)) == (
        Difference("RELU", 1, 2, (2,), ("Operation version not supported",)),
        Difference("TANH", 1, 0, (3,), ("Mapped to Edge TPU",)),
    )


def test_our_log_is_read_as_the_compilers_own() -> None:
    forecast = forecast_edgetpu(chain("RELU", "LEAKY_RELU", "RELU"))
    assert parse_log(edgetpu_log(forecast)) == parse_log(SUMMARY) == ROWS
    assert parse_log("Edge TPU Compiler version 16.0\nRELU 1 Mapped to Edge TPU\n") == ()


def test_files_packed_behind_the_model_are_behind_the_compiled_one(model: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("labels.txt", "ant\nbee\n")
    found = compile_edgetpu(model, tmp_path / "out", [program(tmp_path, WRITES)])
    assert read_metadata(found.path.read_bytes()).files == {"labels.txt": b"ant\nbee\n"}
