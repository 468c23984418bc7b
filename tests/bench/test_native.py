"""What `benchmark_model` prints, read into a value or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner

from edgekit.bench.native import conditions, describe_phone, flags, measure_native, parse, read_output
from edgekit.bench.plan import plan_for
from edgekit.bench.result import Results
from edgekit.cli.benchmark import command
from edgekit.cli.benchmark_gates import refuse_for_phones
from edgekit.device.adb import AdbPhone
from edgekit.device.address import AdbAddress
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Completed
from edgekit.errors import DeviceError, InputError, RunError

# Lines as releases of the tool print them: 2.17 and newer with percentiles, 2.4 to 2.16 without, old ones without INFO.
NEW = """INFO: STARTING!
INFO: Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate w/ 3 \
delegate kernels.
INFO: Initialized session in 6.395ms.
INFO: Running benchmark for at least 5 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=153 first=2761 curr=2885 min=2605 max=18080 avg=3243.58 std=2165 p5=2630 median=2761 p95=5331

INFO: count=337 first=2881 curr=2703 min=2605 max=20356 avg=2942.27 std=1190 p5=2647 median=2781 p95=3169

INFO: Inference timings in us: Init: 6395, First inference: 2761, Warmup (avg): 3243.58, Inference (avg): 2942.27
INFO: Note: ... is only APPROXIMATE to the actual memory footprint of the model at runtime.
INFO: Memory footprint delta from the start of the tool (MB): init=39.4531 overall=40.8281
"""
OLD = """count=1 curr=3512391

count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Peak memory footprint (MB): init=4.92969 overall=138.809
"""


def test_a_new_release_is_read_whole() -> None:
    found = parse(NEW, "phone")
    assert found.init_seconds == pytest.approx(6.395e-3)
    assert found.first_seconds == pytest.approx(2.761e-3)
    assert (found.warm_up.runs, found.steady.runs) == (153, 337)
    assert found.steady.mean_seconds == pytest.approx(2.94227e-3)
    assert found.steady.median_seconds == pytest.approx(2.781e-3)
    assert found.steady.p95_seconds == pytest.approx(3.169e-3)
    assert found.approximate_overall_bytes == int(40.8281 * 2**20)
    assert (found.delegate, found.delegate_partitions) == ("XNNPACK", 3)


def test_an_old_release_leaves_out_what_it_does_not_say() -> None:
    found = parse(OLD, "phone")
    assert found.warm_up.runs == 1
    assert found.warm_up.mean_seconds == pytest.approx(3.512391)
    assert found.steady.mean_seconds == pytest.approx(2.95034)
    assert found.steady.median_seconds is None
    assert found.approximate_init_bytes == int(4.92969 * 2**20)
    assert (found.delegate, found.delegate_partitions) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        NEW.replace("Inference timings", "x"),
        NEW.replace("count=153", "x=153"),
        NEW + "count=3 curr=1\n",
        NEW.replace("count=337", "count=0"),
        NEW.replace("count=337", "count=1.5"),
        NEW.replace("count=337", "count=999999999999999"),
        NEW.replace("avg=2942.27", "avg=9e99"),
        NEW.replace("Init: 6395", "Init: ..."),
        NEW.replace("overall=40.8281", "overall=9e99"),
    ],
)
def test_an_output_that_does_not_fit_is_not_believed(text: str) -> None:
    with pytest.raises(DeviceError) as error:
        parse(text, "phone")
    assert error.value.mend


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Completed(None, "", ""), "no answer"),
        (Completed(-11, "", ""), "killed by signal 11"),
        (Completed(1, "ERROR: Failed to allocate tensors!\x1b[2J\n", ""), "Failed to allocate"),
        (Completed(126, "", "sh: benchmark_model: not executable: 64-bit ELF file"), "does not start"),
        (Completed(1, "", ""), "said nothing"),
    ],
)
def test_every_end_of_the_tool_is_an_error(done: Completed, words: str) -> None:
    with pytest.raises(RunError, match=words) as error:
        read_output(done, "m.tflite", "phone", 5.0)
    assert error.value.mend
    assert "\x1b" not in str(error.value)


def test_the_flags_are_those_of_the_plan() -> None:
    words = flags("/data/m", plan_for(runs=7, threads=2, xnnpack=False))
    assert {"--graph=/data/m", "--num_threads=2", "--use_xnnpack=false", "--num_runs=7", "--min_secs=0"} <= set(words)


class Telling:
    """A device whose every command prints the same."""

    def __init__(self, text: str) -> None:
        self.text = text

    def run(self, argv: object, timeout: float | None = None) -> Completed:
        return Completed(0, self.text, "")


def test_what_a_phone_says_of_itself_is_checked() -> None:
    phone = describe_phone(Telling("model=Pixel\x1b[2J 8\nandroid=14\ncores=9\nmemory=MemTotal: 7654321 kB\nkernel=6"))  # type: ignore[arg-type]
    assert (phone.model, phone.android, phone.cores) == ("Pixel [2J 8", "14", 9)
    assert phone.memory_bytes == 7654321 * 1024
    empty = describe_phone(Telling("cores=-1\nmodel=\nmemory=x"))  # type: ignore[arg-type]
    assert (empty.model, empty.cores, empty.memory_bytes) == (None, None, None)
    state = conditions(
        Telling("load=1.25 0\nkhz=1800000\nzone=45000\nzone=-274000\nzone=x\nzone=9999999\ngovernor=sched")
    )  # type: ignore[arg-type]
    assert state.load_average == 1.25
    assert state.frequency_hz == 1_800_000_000
    assert state.temperature_celsius == 45.0
    assert conditions(Telling("zone=")).temperature_celsius is None  # type: ignore[arg-type]


def test_a_tool_that_is_none_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    for tool, words in ((tmp_path / "none", "No such file"), (tmp_path / "m.tflite", "not a program")):
        with pytest.raises(InputError, match=words):
            measure_native(tmp_path / "m.tflite", plan_for(), Telling(""), tool)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="own runtime"):
        measure_native(tmp_path / "m.tflite", plan_for(runtime="ai-edge-litert"), Telling(""), tmp_path)  # type: ignore[arg-type]


def test_results_of_both_kinds_share_a_file() -> None:
    empty = Results(())
    assert Results.from_json(empty.to_json()) == empty
    assert json.loads(empty.to_json())["native"] == []


def test_what_a_phones_tool_cannot_follow_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    phone = AdbPhone(AdbAddress("X"), lambda _: tmp_path / "tool")
    refuse_for_phones([phone], {"--data": False, "--strict": False})
    refuse_for_phones([LocalDevice()], {"--data": True, "--strict": True})
    with pytest.raises(InputError, match="cannot follow --data, --strict"):
        refuse_for_phones([LocalDevice(), phone], {"--data": True, "--retries": False, "--strict": True})
    argv = ["m.tflite", "--device", "adb://X", "--benchmark-model", str(tmp_path / "tool"), "--retries", "2"]
    assert isinstance(CliRunner().invoke(command, argv).exception, InputError)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--fail-if", "p50>1s", "--fail-if", "p90>1s", "--fail-if", "peak>1MiB"],
            "tells nothing for p90>1s, peak>1MiB",
        ),
        (["--precision", "1%"], "adb://X: benchmark_model knows no precision"),
        (["--with-io"], "adb://X: benchmark_model knows no precision"),
        (["--meter", "/m=uW"], "adb://X: benchmark_model knows no precision"),
        (["--cpus", "0"], "adb://X: benchmark_model cannot be held on chosen cores"),
        (["--runtime", "ai-edge-litert"], "adb://X: benchmark_model has its own runtime"),
    ],
)
def test_what_a_phone_can_never_meet_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.setattr("edgekit.cli.benchmark.on_all", lambda *words: pytest.fail("a device was opened"))
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    phone = ["--device", "local", "--device", "adb://X", "--benchmark-model", str(tmp_path / "tool")]
    fault = CliRunner().invoke(command, [str(tmp_path / "m.tflite"), *phone, *words]).exception
    assert isinstance(fault, InputError)
    assert told in fault.problem
    assert fault.mend.endswith(("with p50, load, first or size", "out"))


def test_a_tool_that_no_device_would_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative())
    shown = CliRunner().invoke(command, [str(tmp_path / "m.tflite"), "--benchmark-model", "tool"])
    assert isinstance(shown.exception, InputError)
    assert "is for phones" in str(shown.exception)
