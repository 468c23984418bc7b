"""How a model runs is said in the same words to compare, profile and evaluate, and each does what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from click.testing import CliRunner
from fake_device import FakeDevice
from test_delegation import negative_and_sum

from edgekit.bench.plan import Delegate, plan_for
from edgekit.bench.profile import profile
from edgekit.bench.run import measure
from edgekit.cli import cli
from edgekit.compare import compare_models
from edgekit.device.adb import AdbDevice, AdbPhone
from edgekit.device.find import find_device
from edgekit.device.protocol import Completed
from edgekit.errors import EdgekitError, InputError, RunError
from edgekit.evaluate import evaluate_model

AGENT = Path(__file__).parents[2] / "benchmarks" / "agent" / "agent.py"
WORDS = ("--threads", "3", "--cpus", "0,2-3", "--no-xnnpack", "--runtime", "tflite-runtime")
DELEGATE = ("--delegate", "d.so", "--delegate-option", "a=b")
REQUEST = {
    "threads": 3,
    "cpus": [0, 2, 3],
    "xnnpack": False,
    "runtime": "tflite-runtime",
    "delegate": {"library": "d.so", "options": {"a": "b"}},
}
NEGATIVE, POSITIVE = "negative.tflite", "digits.tflite"


@pytest.fixture(scope="module")
def folder(digits: Path, int8_file: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("options")
    (path / NEGATIVE).write_bytes(negative_and_sum())
    (path / POSITIVE).write_bytes(int8_file)
    (path / "digits.npz").symlink_to(digits / "digits.npz")
    (path / "digits.keras").symlink_to(digits / "digits.keras")
    return path


COMMANDS = {
    "benchmark": ("benchmark", NEGATIVE, "--runs", "3"),
    "compare": ("compare", NEGATIVE, NEGATIVE, "--processes", "6", "--samples", "2"),
    "profile": ("profile", NEGATIVE),
    "evaluate": ("evaluate", POSITIVE, "--data", "digits.npz", "--samples", "20"),
}


def run(folder: Path, *words: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(cli, list(words))
    if isinstance(done.exception, EdgekitError):
        raise done.exception
    return done


@pytest.mark.parametrize("name", COMMANDS)
def test_every_word_reaches_the_agent(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice(lambda request: Completed(-11, "", ""))
    for place in (f"edgekit.cli.{name}", "edgekit.device.find"):  # the command first: it may import the other's
        monkeypatch.setattr(f"{place}.find_device", lambda *_, **__: device, raising=False)
    with pytest.raises(RunError, match="SIGSEGV"):
        run(folder, *COMMANDS[name], "--device", "ssh://pi", *WORDS, *DELEGATE, monkeypatch=monkeypatch)
    assert device.requests[0].items() >= REQUEST.items()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cpus", "4000"], "4000"),
        (["--delegate", "gpu"], "inside of benchmark_model"),
        (["--delegate", "none.so"], "none.so"),
    ],
)
def test_what_cannot_be_is_refused_alike(
    name: str, words: list[str], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EdgekitError, match=said) as error:
        run(folder, *COMMANDS[name], *words, monkeypatch=monkeypatch)
    assert error.value.mend


def test_a_profile_names_what_took_each_operator(library: str, folder: Path) -> None:
    found = profile(folder / NEGATIVE, plan_for(delegate=Delegate(library)))
    assert [(one.operator, one.delegate) for one in found.operators] == [
        ("NEG", library),
        ("NEG", library),
        ("ADD", "XNNPACK"),
        ("NEG", library),
    ]
    assert [(one.delegate, one.delegated) for one in found.delegations] == [(library, 3), ("XNNPACK", 1)]


def test_a_comparison_runs_both_by_the_delegate_and_says_what_it_took(
    library: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*COMMANDS["compare"], "--delegate", library, "--no-xnnpack")
    assert f"B: {library} took 3 of 4 operators" in run(folder, *words, monkeypatch=monkeypatch).stdout
    plan = plan_for(delegate=Delegate(library, {"fail": "1"}))
    with pytest.raises(RunError, match="refused"):
        compare_models(folder / NEGATIVE, folder / NEGATIVE, plan, processes=6, samples=1)


def test_a_keras_model_is_not_evaluated_as_if_the_words_meant_something(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="TensorFlow runs it"):
        run(folder, "evaluate", "digits.keras", "--data", "digits.npz", "--threads", "2", monkeypatch=monkeypatch)


def test_the_host_beside_a_device_runs_without_its_delegate_and_cores(folder: Path) -> None:
    def script(request: dict[str, Any]) -> Completed | bytes:
        asked = Path(request["response"]).with_name("asked.json")
        asked.write_text(json.dumps({**request, "delegate": None, "cpus": []}))
        subprocess.run([sys.executable, str(AGENT), str(asked)], check=True)
        return Path(request["response"]).read_bytes()

    plan = plan_for(cpus=(4000,), delegate=Delegate("of_the_board.so"))
    with FakeDevice(script, "board") as device:
        found = evaluate_model(folder / POSITIVE, folder / "digits.npz", device=device, plan=plan, samples=20)
    assert found.agreement is not None
    assert found.agreement.same
    assert {request["delegate"]["library"] for request in device.requests} == {"of_the_board.so"}


def test_what_benchmark_model_cannot_do_asks_for_python_on_the_phone(tmp_path: Path) -> None:
    assert isinstance(find_device("adb://X", benchmark_model=tmp_path), AdbPhone)
    assert isinstance(find_device("adb://X", benchmark_model=tmp_path, native=False), AdbDevice)


def test_the_runtime_that_the_device_is_to_have_runs_the_model() -> None:
    class Named(FakeDevice):
        runtime = "tflite-runtime"

    with Named(lambda request: Completed(-11, "", "")) as device:
        for plan in (plan_for(), plan_for(runtime="ai-edge-litert")):
            with pytest.raises(RunError):
                measure(tiny_models.negative(), plan, device)
    assert [request["runtime"] for request in device.requests] == ["tflite-runtime", "ai-edge-litert"]
