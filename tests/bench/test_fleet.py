"""The same work on several devices at once."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest
from fake_device import FakeDevice

from edgekit.bench.fleet import on_all
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Device
from edgekit.errors import DeviceError, RunError


def fakes(count: int) -> list[Device]:
    return [FakeDevice(lambda request: b"", f"board{index}") for index in range(count)]


def test_all_work_at_the_same_time_and_stay_in_order() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def work(device: Device) -> str:
        meeting.wait()
        return device.name

    found = on_all(fakes(3), work)
    assert [(one.device, one.value, one.error) for one in found] == [(f"board{n}", f"board{n}", None) for n in range(3)]


def test_what_fails_on_one_does_not_stop_the_others() -> None:
    def work(device: Device) -> str:
        if device.name == "board1":
            raise RunError("it broke", "mend it")
        return device.scratch

    found = on_all(fakes(3), work)
    assert [one.error is None for one in found] == [True, False, True]
    assert not any(os.path.exists(one.value) for one in found if one.value)


def test_a_fault_of_the_program_is_not_taken_for_one_of_a_device() -> None:
    with pytest.raises(ZeroDivisionError):
        on_all(fakes(2), lambda device: 1 / 0)


def test_cancelled_from_another_thread_a_run_ends_and_no_other_starts() -> None:
    with LocalDevice() as device:
        threading.Timer(0.3, device.cancel).start()
        started = time.monotonic()
        assert device.run([sys.executable, "-c", "import time; time.sleep(60)"]).returncode == -9
        assert time.monotonic() - started < 20
        with pytest.raises(DeviceError, match="cancelled"):
            device.run(["true"])
