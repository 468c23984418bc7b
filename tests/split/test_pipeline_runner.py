"""The runner on its own: order, bounded queues, failures that name their segment, and no edgekit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import old_python
import pytest
from toy_networks import chain, counting, skipping, two_branches, two_inputs

from edgekit.bench.run import infer
from edgekit.split import runner
from edgekit.split.make import Wish, split_model
from edgekit.split.runner import cli
from edgekit.split.runner.contract import Port, load
from edgekit.split.runner.pipeline import Channel, Closed, Pipeline
from edgekit.split.runner.problem import Problem
from edgekit.split.runner.runtime import open_runtime
from edgekit.split.runner.samples import each, read_samples
from edgekit.split.runner.worker import Unit, Worker, parse_unit
from edgekit.split.samples import random_samples
from edgekit.split.write import write_split

RUNTIME = open_runtime("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_split(split_model(two_branches("int8"), Wish(4, branches=True)), tmp_path / "parts")
    return tmp_path / "parts"


def samples_of(folder: Path, count: int) -> list[np.ndarray]:
    return random_samples(load(folder).inputs, count)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [chain, skipping, two_branches, two_inputs, counting])
@pytest.mark.parametrize("depth", [1, 3])
def test_samples_come_out_in_their_order(make: Callable[..., bytes], depth: int, tmp_path: Path) -> None:
    model = make(kind="int8")
    write_split(split_model(model, Wish(4)), tmp_path / "parts")
    arrays = samples_of(tmp_path / "parts", 50)
    with Pipeline(load(tmp_path / "parts"), RUNTIME, depth=depth) as pipeline:
        for _ in range(2):  # a pipeline may be used again
            outputs = list(pipeline.stream(each(arrays)))
    whole = infer(model, arrays).outputs
    for place, expected in enumerate(whole):
        np.testing.assert_array_equal(np.stack([one[place] for one in outputs]).reshape(expected.shape), expected)


def ended(before: int) -> bool:
    """Whether there are no more threads than before; that of the samples is not waited for, as they may come slowly."""
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    return threading.active_count() <= before


def taken(pipeline: Pipeline, array: np.ndarray) -> int:
    """How many samples are taken until nothing moves any more, where one came out and nobody asks for the next."""
    numbers: list[int] = []

    def samples() -> Iterator[list[np.ndarray]]:
        for number in range(10_000):
            numbers.append(number)
            yield [array]

    stream = pipeline.stream(samples())
    next(stream)
    seen = -1
    while seen != len(numbers):
        seen = len(numbers)
        time.sleep(0.2)
    stream.close()
    return seen


def test_no_more_samples_are_taken_than_there_is_room_for(folder: Path) -> None:
    (array,) = samples_of(folder, 1)
    with Pipeline(load(folder), RUNTIME, depth=1) as pipeline:
        assert taken(pipeline, array[0]) < 30


@pytest.mark.parametrize(
    ("seconds", "depth"),
    [(None, 2), (0.0, 2), (0.1, 2), (0.004, 4), (1e-6, 32), (1e-320, 32), (float("nan"), 2), (float("inf"), 2)],
)
def test_as_many_samples_wait_as_take_little_time(seconds: float | None, depth: int, folder: Path) -> None:
    (array,), plan = samples_of(folder, 1), load(folder)
    plan = replace(plan, segments=tuple(replace(one, seconds=seconds) for one in plan.segments))
    with Pipeline(plan, RUNTIME) as by_time, Pipeline(plan, RUNTIME, depth=depth) as by_number:
        assert taken(by_time, array[0]) == taken(by_number, array[0])


def test_a_failing_segment_is_named_and_all_threads_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls = Worker.run, []

    def failing(worker: Worker, given: object) -> object:
        if worker.segment.index == 2:
            calls.append(None)
            if len(calls) == 3:
                raise RuntimeError("out of order")
        return run(worker, given)  # type: ignore[arg-type]

    monkeypatch.setattr(Worker, "run", failing)
    before = threading.active_count()
    found: list[object] = []
    with (
        Pipeline(load(folder), RUNTIME) as pipeline,
        pytest.raises(Problem, match=r"segment 2 \(segment2.tflite\): RuntimeError: out of order"),
    ):
        found.extend(pipeline.stream(each(samples_of(folder, 40))))
    assert len(found) <= 2
    assert ended(before)


def test_what_the_samples_raise_is_raised(folder: Path) -> None:
    def samples() -> Iterator[list[np.ndarray]]:
        yield from each(samples_of(folder, 2))
        raise ZeroDivisionError("the camera is gone")

    with Pipeline(load(folder), RUNTIME) as pipeline, pytest.raises(ZeroDivisionError, match="camera"):
        list(pipeline.stream(samples()))


def test_a_sample_of_a_wrong_shape_names_the_segment(folder: Path) -> None:
    with Pipeline(load(folder), RUNTIME) as pipeline, pytest.raises(Problem, match=r"segment 0 .* is refused"):
        list(pipeline.stream([[np.zeros((1, 9), np.int8)]]))


def test_only_one_stream_at_a_time(folder: Path) -> None:
    with Pipeline(load(folder), RUNTIME) as pipeline:
        first = pipeline.stream(each(samples_of(folder, 5)))
        next(first)
        with pytest.raises(Problem, match="already has a stream"):
            next(pipeline.stream([]))
        assert len(list(first)) == 4


def test_a_channel_holds_its_slots_and_lets_go_when_closed() -> None:
    channel, order = Channel(2), []

    def write() -> None:
        try:
            for number in range(5):
                channel.put(number)
                order.append(number)
        except Closed:
            order.append("closed")

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(0.1)
    assert order == [0, 1]
    assert channel.get() == 0
    channel.close()
    thread.join(5)
    assert order[-1] == "closed"
    with pytest.raises(Closed):
        channel.put(9)


def test_a_stream_that_is_left_ends_all(folder: Path) -> None:
    before = threading.active_count()
    with Pipeline(load(folder), RUNTIME) as pipeline:
        for _ in pipeline.stream(each(samples_of(folder, 100))):
            break
    assert ended(before)


def test_a_segment_runs_on_the_core_it_was_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = max(os.sched_getaffinity(0))
    run, seen = Worker.run, {}

    def looking(worker: Worker, given: object) -> object:
        seen[worker.segment.index] = os.sched_getaffinity(0)
        return run(worker, given)  # type: ignore[arg-type]

    monkeypatch.setattr(Worker, "run", looking)
    everywhere = os.sched_getaffinity(0)
    with Pipeline(load(folder), RUNTIME, [Unit(core=core), Unit(), Unit(), Unit()]) as pipeline:
        list(pipeline.stream(each(samples_of(folder, 2))))
    assert seen[0] == {core}
    assert seen[1] == everywhere == os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("cpu", Unit()),
        ("cpu:3", Unit(core=3)),
        ("edgetpu", Unit(device="")),
        ("edgetpu:1", Unit(device=":1")),
        ("edgetpu:usb:0", Unit(device="usb:0")),
        ("edgetpu:pci", Unit(device="pci")),
    ],
)
def test_units(text: str, unit: Unit) -> None:
    assert parse_unit(text) == unit
    assert unit.edgetpu == text.startswith("edgetpu")


@pytest.mark.parametrize("text", ["gpu", "cpu:", "cpu:x", "edgetpu:usb:0:1", ""])
def test_what_is_no_unit_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="is no unit"):
        parse_unit(text)


def test_what_is_missing_is_named_before_anything_runs(folder: Path) -> None:
    plan = load(folder)
    with pytest.raises(Problem, match="2 units for 4 segments"):
        Pipeline(plan, RUNTIME, [Unit(), Unit()])
    with pytest.raises(Problem, match=r"segment 0 .*core 4000 cannot be used"):
        Pipeline(plan, RUNTIME, [Unit(core=4000), Unit(), Unit(), Unit()])
    with pytest.raises(Problem, match=r"segment 1 .*segment1_edgetpu.tflite is not there"):
        Pipeline(plan, RUNTIME, [Unit(), Unit(device=":0"), Unit(), Unit()])
    (folder / "segment1_edgetpu.tflite").write_bytes((folder / "segment1.tflite").read_bytes())
    with pytest.raises(Problem, match=r"segment 1 .*libedgetpu.so.1 cannot be loaded"):
        Pipeline(plan, RUNTIME, [Unit(), Unit(device=":0"), Unit(), Unit()])


def test_a_system_that_holds_no_thread_on_a_core_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    with pytest.raises(Problem, match="does not hold a thread on a chosen core"):
        Pipeline(load(folder), RUNTIME, [Unit(core=0), Unit(), Unit(), Unit()])


def changed(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        said = json.loads((folder / "plan.json").read_bytes())
        change(said)
        (folder / "plan.json").write_text(json.dumps(said))

    return apply


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no plan": (lambda folder: (folder / "plan.json").unlink(), "No such file"),
    "half a plan": (lambda folder: (folder / "plan.json").write_text('{"segments": ['), "is damaged"),
    "another format": (changed(lambda said: said.update(format_version=2)), "this runner reads 1"),
    "a file elsewhere": (changed(lambda said: said["segments"][0].update(file="../x")), "not in this folder"),
    "a lost edge": (changed(lambda said: said["edges"].pop()), "come from nowhere"),
    "an edge backwards": (changed(lambda said: said["edges"].append(said["edges"][-2] | {"target": 0})), "cannot be"),
    "an edge to no segment": (changed(lambda said: said["edges"][0].update(target=9)), "is damaged"),
    "a changed segment": (lambda folder: (folder / "segment2.tflite").write_bytes(b"other"), "was changed: SHA-256"),
    "a lost segment": (lambda folder: (folder / "segment2.tflite").unlink(), "No such file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, words = DAMAGE[name]
    damage(folder)
    assert cli.main(["info"], folder) == 1
    assert words in capsys.readouterr().err


def test_samples_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    plan, path = load(folder), tmp_path / "x.npy"
    for array, words in (
        (np.zeros((3, 8), np.float32), "takes int8"),
        (np.zeros((3, 9), np.int8), "shape"),
        (np.zeros((0, 8), np.int8), "n at least 1"),
    ):
        np.save(path, array)
        with pytest.raises(Problem, match=words):
            read_samples([path], plan)
    for damaged in (b"no array", b"PK\x03\x04"):
        path.write_bytes(damaged)
        with pytest.raises(Problem, match=r"give a \.npy") as refused:
            read_samples([path], plan)
        assert refused.value.code == 3
    with pytest.raises(Problem, match="2 files for 1 inputs"):
        read_samples([path, path], plan)
    np.save(path, np.zeros((3, 8), np.int8))
    assert read_samples([path], plan)[0].shape == (3, 1, 8)


def run_alone(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The shipped runner by a Python that cannot import edgekit."""
    code = (
        "import sys, runpy; sys.modules['edgekit'] = None; sys.path.insert(0, {0!r}); "
        "sys.argv = ['run.py', *sys.argv[1:]]; runpy.run_path({0!r} + '/run.py', run_name='__main__')"
    )
    command = [sys.executable, "-c", code.format(str(folder)), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_shipped_runner_needs_no_edgekit(folder: Path, tmp_path: Path) -> None:
    (array,) = samples_of(folder, 6)
    np.save(tmp_path / "x.npy", array)
    done = run_alone(folder, "run", tmp_path / "x.npy", "--save", tmp_path / "y.npz")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "y.npz")["output0"]
    np.testing.assert_array_equal(found[:, 0], infer(two_branches("int8"), [array[:, 0]]).outputs[0])
    assert run_alone(folder, "info").stdout.count("segment") == 8


def test_it_goes_on_in_the_environment_that_its_mend_makes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(cli, "enter_environment", calls.append)
    assert cli.main(["info"], folder) == 0
    assert calls == [[str(folder / "run.py"), "info"]]


def test_types_are_told_by_their_names_whatever_numpy_calls_the_class(folder: Path) -> None:
    """numpy 1 calls that of flags `bool_`; `longlong` is a class of another name in each version."""
    worker, port = Worker.__new__(Worker), Port(7, "x", (1,), "int64", None, None)
    assert worker._places([{"shape": [1], "dtype": np.longlong, "index": 3}], (port,)) == [(7, 3)]


def test_the_shipped_runner_measures_beside_the_whole(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", samples_of(folder, 2)[0])
    (tmp_path / "whole.tflite").write_bytes(two_branches("int8"))
    words = ("measure", tmp_path / "x.npy", "--whole", tmp_path / "whole.tflite", "--seconds", 0.1)
    done = run_alone(folder, *words, "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert (min(rows, key=[*rows].index), max(rows, key=[*rows].index)) == ("whole, 1 thread", "pipeline")
    assert len({len(row["stream"]) for row in rows.values()}) == 1
    assert all(seconds > 0 for row in rows.values() for seconds in (*row["stream"], *row["single"]))


def test_ctrl_c_ends_it_clean(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", samples_of(folder, 1)[0])
    (tmp_path / "whole.tflite").write_bytes(two_branches("int8"))
    words = ["measure", tmp_path / "x.npy", "--whole", tmp_path / "whole.tflite", "--seconds", "600"]
    command = [sys.executable, str(folder / "run.py"), *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while threads_of(process.pid) < 5:  # the segments are loaded, and wait or run
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said


def threads_of(process: int) -> int:
    return len(list(Path(f"/proc/{process}/task").iterdir()))


def test_what_runs_on_python_3_9_is_written_in_it() -> None:
    folder = Path(runner.__file__).parent
    assert len([*folder.glob("*.py")]) > 7
    old_python.assert_written_in_it(folder)
