"""A device behind a real sshd: keys, host keys, and a measurement."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from conftest import Sshd

from edgekit.bench.plan import plan_for
from edgekit.bench.run import infer, measure
from edgekit.device.address import SshAddress
from edgekit.device.ssh import SshDevice
from edgekit.errors import DeviceError


def test_a_model_is_measured_and_run(sshd: Sshd) -> None:
    import numpy as np

    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    with sshd.device() as device:
        assert len(measure(tiny_models.negative(), plan_for(runs=5), device).steady_ns) == 5
        np.testing.assert_array_equal(infer(tiny_models.negative(), [x], device=device).outputs[0], -x)
    assert not list((sshd.folder / "cache" / "runs").iterdir())


def test_a_large_file_is_pushed_whole_and_once(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 40_000)
    for _ in range(2):
        with sshd.device() as device:
            device.pull(device.push(path, keep=True), tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == path.read_bytes()


def changed(sshd: Sshd, tmp_path: Path, old: str, new: str) -> Path:
    config = tmp_path / "config"
    config.write_text(sshd.config.read_text().replace(old, new))
    return config


def refusal(config: Path) -> DeviceError:
    with pytest.raises(DeviceError) as error, SshDevice(SshAddress("board"), config=config):
        pass
    return error.value


def test_a_key_that_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    config = changed(sshd, tmp_path, f"{sshd.folder}/key", f"{sshd.folder}/stranger")
    fault = refusal(config)
    assert "refused this user or key" in fault.problem
    assert f"ssh-copy-id -F {config} board" in fault.mend


def test_a_host_key_that_is_unknown_or_changed(sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    config = changed(sshd, tmp_path, f"{sshd.folder}/known_hosts", str(known))
    assert "not known here yet" in refusal(config).problem
    stranger = " ".join((sshd.folder / "stranger.pub").read_text().split()[:2])
    known.write_text(f"[127.0.0.1]:{sshd.port} {stranger}\n")
    assert "another one than before" in refusal(config).problem


def test_a_port_where_nobody_listens(sshd: Sshd, tmp_path: Path) -> None:
    assert "takes no ssh connection" in refusal(changed(sshd, tmp_path, f"Port {sshd.port}", "Port 1")).problem


def test_a_name_that_does_not_exist(sshd: Sshd, tmp_path: Path) -> None:
    fault = refusal(changed(sshd, tmp_path, "HostName 127.0.0.1", "HostName no-such-host.invalid"))
    assert "no host of this name" in fault.problem
