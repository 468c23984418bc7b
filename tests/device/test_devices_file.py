"""The user's devices file: found, read strictly, and turned into devices."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.device.devices_file import devices_path, load_devices
from edgekit.device.find import find_device
from edgekit.device.local import LocalDevice
from edgekit.device.ssh import SshDevice
from edgekit.errors import InputError

GOOD = """
[pi4]
address = "ssh://pi@raspberrypi.local"
python = "~/venv/bin/python"
cache = "~/a folder"
identity = "keys/pi"
wait = 5

[host]
address = "local"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text(GOOD)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/pi").touch()
    monkeypatch.setenv("EDGEKIT_DEVICES", str(path))
    return path


def test_names_become_devices(file: Path) -> None:
    device = find_device("pi4", "tflite-runtime")
    assert isinstance(device, SshDevice)
    assert device.name == "pi4"
    assert device.options.cache == "~/a folder"
    assert device.options.runtime == "tflite-runtime"
    assert find_device("pi4", "auto").options.runtime == "auto"  # type: ignore[attr-defined]
    assert isinstance(find_device("host"), LocalDevice)
    assert find_device("ssh://pi@other").name == "ssh://pi@other"


def test_the_file_that_the_page_on_devices_shows(file: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/devices.md").read_text()
    (shown,) = re.findall(r"```toml\n(\[pi4\].*?)```", page, re.DOTALL)
    file.write_text(shown)
    assert set(load_devices()) == {"pi4", "pixel"}


def test_an_unknown_name_is_answered_with_the_close_one(file: Path) -> None:
    with pytest.raises(InputError, match="no name in") as error:
        find_device("pi5")
    assert "did you mean 'pi4'?" in error.value.mend


def test_an_address_without_its_beginning_is_answered_with_the_whole(file: Path) -> None:
    with pytest.raises(InputError) as error:
        find_device("pi@raspberrypi.local")
    assert "ssh://pi@raspberrypi.local" in error.value.mend


def test_a_key_that_is_not_there_is_an_error_and_no_other_key_is_taken(file: Path, tmp_path: Path) -> None:
    (tmp_path / "keys/pi").unlink()
    with pytest.raises(InputError, match=r"device 'pi4': .*keys/pi: no such file") as error:
        find_device("pi4")
    assert str(file) in error.value.mend


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEKIT_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert devices_path() == tmp_path / "edgekit" / "devices.toml"
    assert load_devices() == {}
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert devices_path() == Path.home() / ".config/edgekit/devices.toml"
    monkeypatch.setenv("EDGEKIT_DEVICES", str(tmp_path / "none.toml"))
    with pytest.raises(InputError, match=r"none\.toml"):
        load_devices()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('address = "ssh://pi@raspberrypi.local"', "adress = 'x'", r":3: unknown key 'adress'"),
        ('address = "local"', "", r":\d+: missing key 'address'"),
        ("wait = 5", "wait = -1", r":7: pi4\.wait"),
        ("wait = 5", "runtime = 'tflite'", r":7: pi4\.runtime"),
        ("~/venv/bin/python", "python; id", r":4: pi4\.python"),
        ("~/venv/bin/python", "-c", r":4: pi4\.python"),
        ("~/a folder", "relative", r":5: pi4\.cache"),
        ("ssh://pi@raspberrypi.local", "ssh://-oProxyCommand=id", r"\[pi4\].*not a host name"),
        ("[host]", "[local]", r"\[local\]: not a name"),
        ("[host]", "['a b']", r"\[a b\]: not a name"),
        ('address = "local"', "address = 'local'\nidentity = 'k'", r"\[host\]: identity is for ssh"),
        ('address = "local"', "address = 'local'\npython = 'py'", r"\[host\]: python is for ssh:// and adb:// only"),
        ('address = "local"', "address = 'local'\nwait = 5", r"\[host\]: wait is for ssh:// and adb:// only"),
        ("[host]", "[host", "not valid TOML"),
        ("[host]", "x = 1\n[host]", "unknown key 'x'"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(file: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match=words) as error:
        load_devices()
    assert str(file) in error.value.problem
    assert error.value.mend
