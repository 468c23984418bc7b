"""Devices side by side: one run at a time on each, those that vanish are waited for, unlike ones are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_device import FakeDevice

from edgekit.bench.plan import Plan
from edgekit.device.find import find_device
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Completed
from edgekit.errors import DeviceBusy, DeviceError, InputError, RunError
from edgekit.search import pool as pool_module
from edgekit.search.pool import Pool, called, unlike

PLAN = Plan(min_runs=1, max_runs=1, min_seconds=0, max_seconds=1)
SECONDS = 0.2


class Bench:
    """Pretend devices that take `SECONDS` for a run; `away` do not answer, `failing` end every run."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.failing: set[str] = set()
        self.busy: dict[str, threading.Lock] = {}
        self.runs: list[str] = []
        self.said: list[str] = []

    def pool(self, *names: str) -> Pool:
        for name in names:
            self.busy.setdefault(name, threading.Lock())
        return Pool(names, self.say, lambda name: Pretend(self, name))

    def say(self, text: str) -> None:
        self.said.append(text)

    def lines(self, word: str) -> list[str]:
        return [text for text in self.said if word in text]


class Pretend(FakeDevice):
    """One of them."""

    def __init__(self, bench: Bench, name: str) -> None:
        super().__init__(lambda request: Completed(0, "", ""), name)
        self.bench = bench

    def __enter__(self) -> Pretend:
        if self.name in self.bench.away:
            raise DeviceError(f"{self.name} does not answer")
        if not self.bench.busy[self.name].acquire(blocking=False):
            raise DeviceBusy(f"{self.name}: another run has the device")
        super().__enter__()
        return self

    def __exit__(self, *rest: Any) -> None:
        super().__exit__(None, None, None)
        self.bench.busy[self.name].release()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    found = Bench()

    def measured(file: bytes, plan: Plan, device: FakeDevice) -> Any:
        if device.name in found.failing:
            found.failing.discard(device.name)
            raise DeviceError(f"{device.name}: the connection broke")
        time.sleep(SECONDS)
        found.runs.append(device.name)
        return device.name

    monkeypatch.setattr(pool_module, "measure", measured)
    monkeypatch.setattr(pool_module, "_BUSY_SECONDS", 0.01)
    monkeypatch.setattr(pool_module, "_GONE_SECONDS", (0.05, 0.1))
    return found


def _at_once(*works: Callable[[], object]) -> float:
    threads = [threading.Thread(target=work) for work in works]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - begun


def test_two_devices_are_measured_side_by_side_and_one_never_twice_at_once(bench: Bench) -> None:
    pools = [bench.pool("a", "b") for _ in range(2)]
    works = [lambda pool=pool: [pool.measure(b"", PLAN) for _ in range(3)] for pool in pools]
    assert _at_once(*works) < 6 * SECONDS
    assert sorted(set(bench.runs)) == ["a", "b"]
    assert len(bench.runs) == 6
    alone = [bench.pool("a") for _ in range(2)]
    assert _at_once(*(lambda pool=pool: pool.measure(b"", PLAN) for pool in alone)) >= 2 * SECONDS


def test_a_device_that_vanishes_is_left_out_and_taken_back(bench: Bench) -> None:
    pool = bench.pool("a", "b")
    bench.away = {"a"}
    assert [str(pool.measure(b"", PLAN)) for _ in range(3)] == ["b"] * 3
    assert bench.lines("a does not answer") == ["a does not answer; going on with b"]
    bench.away = set()
    time.sleep(0.15)
    assert "a" in [str(pool.measure(b"", PLAN)) for _ in range(2)]
    assert bench.lines("is back") == ["a is back"]


def test_where_all_are_gone_the_first_to_return_is_waited_for(bench: Bench) -> None:
    pool = bench.pool("a", "b")
    bench.away = {"a", "b"}
    back = threading.Timer(0.3, lambda: bench.away.discard("b"))
    back.start()
    assert str(pool.measure(b"", PLAN)) == "b"
    assert len(bench.lines("no device is left")) == 1
    assert bench.lines("no device answers")


def test_waiting_ends_with_the_time(bench: Bench) -> None:
    def over(text: str) -> None:
        if "waiting" in text and "no device answers" in text:
            raise TimeoutError

    bench.away = {"a"}
    with pytest.raises(TimeoutError):
        Pool(["a"], over, bench.pool("a")._find).measure(b"", PLAN)


def test_a_broken_run_is_repeated_elsewhere_but_not_for_ever(bench: Bench) -> None:
    bench.failing = {"a"}
    pool = bench.pool("a", "b")
    pool._next = 0
    assert str(pool.measure(b"", PLAN)) == "b"

    class Always(set):  # type: ignore[type-arg]
        def discard(self, element: object) -> None:
            """It goes on failing."""

    bench.failing = Always({"a", "b"})
    with pytest.raises(RunError, match="devices failed 3 times while they measured it") as caught:
        pool.measure(b"", PLAN)
    assert not isinstance(caught.value, DeviceError)


def test_where_none_answers_at_the_beginning_it_is_an_error(bench: Bench) -> None:
    bench.away = {"a", "b"}
    with pytest.raises(DeviceError, match="does not answer"):
        bench.pool("a", "b").greet()
    bench.away = {"a"}
    bench.pool("a", "b").greet()


def test_an_address_that_is_none_is_told_at_once() -> None:
    with pytest.raises(InputError):
        Pool(["ssh://a b"], lambda text: None)


def test_unlike_devices_are_told_from_a_tenth_on() -> None:
    assert unlike({"a": 0.010}) == ""
    assert unlike({"a": 0.010, "b": 0.0109}) == ""
    assert "11.1 ms on b, 11% more than on a" in unlike({"a": 0.010, "b": 0.0111})


def test_each_device_is_timed_and_this_machine_named_by_its_host(float_file: bytes) -> None:
    pool = Pool(["local"], lambda text: None)
    found = pool.each(float_file, PLAN)
    assert list(found) == [called("local")]
    assert called("local") != "local"
    assert found[called("local")] > 0


def test_this_machine_is_had_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    busy = pytest.raises(DeviceBusy, match="another run measures")
    with find_device("local", wait=0.0), LocalDevice(), busy, LocalDevice(wait=0.2):
        pass
    with LocalDevice(wait=0.0), LocalDevice():
        pass
