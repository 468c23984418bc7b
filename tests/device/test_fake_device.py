"""The scripted device: what the script says is what happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_device import FakeDevice

from edgekit.device.protocol import Completed, Device
from edgekit.errors import DeviceError


def played(device: Device, folder: Path) -> Completed:
    (folder / "request.json").write_text(json.dumps({"command": "x", "response": f"{device.scratch}/answer"}))
    return device.run(["python3", "agent.py", device.push(folder / "request.json")])


def test_bytes_are_the_answer(tmp_path: Path) -> None:
    with FakeDevice(lambda request: request["command"].encode()) as device:
        assert played(device, tmp_path).returncode == 0
        device.pull(f"{device.scratch}/answer", tmp_path / "got")
        assert [request["command"] for request in device.requests] == ["x"]
    assert (tmp_path / "got").read_bytes() == b"x"


def test_an_end_without_an_answer_leaves_none(tmp_path: Path) -> None:
    with FakeDevice(lambda request: Completed(-11, "", "boom")) as device:
        assert played(device, tmp_path) == (-11, "", "boom")
        with pytest.raises(DeviceError, match="answer"):
            device.pull(f"{device.scratch}/answer", tmp_path / "got")


def test_it_is_usable_inside_its_block_only() -> None:
    with pytest.raises(DeviceError, match="not open"):
        _ = FakeDevice(lambda request: b"").scratch
