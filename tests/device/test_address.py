"""Addresses: what is taken, and everything odd that is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.device.address import AdbAddress, SshAddress, parse_address
from edgekit.errors import InputError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("local", None),
        ("ssh://raspberrypi.local", SshAddress("raspberrypi.local")),
        ("ssh://pi@192.168.1.7:2222", SshAddress("192.168.1.7", "pi", 2222)),
        ("ssh://pi@[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", "pi", 22)),
        ("ssh://pi", SshAddress("pi")),
        ("adb://", AdbAddress()),
        ("adb://R58M123ABC", AdbAddress("R58M123ABC")),
        ("adb://192.168.1.9:5555", AdbAddress("192.168.1.9:5555")),
        ("adb://usb:1-4.2", AdbAddress("usb:1-4.2")),
        ("adb://transport:3", AdbAddress(transport=3)),
        ("adb://transport_id:3", AdbAddress(transport=3)),
    ],
)
def test_an_address_is_read_and_written(text: str, address: object) -> None:
    assert parse_address(text) == address
    if address is not None:
        assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pi",
        "http://pi",
        "ssh://",
        "ssh://-oProxyCommand=id",
        "ssh://-l@host",
        "ssh://a b",
        "ssh://a;id",
        "ssh://$(id)",
        "ssh://a'b",
        "ssh://h\n",
        "ssh://h\0",
        "ssh://pi@",
        "ssh://@h",
        "ssh://h:0",
        "ssh://h:65536",
        "ssh://h:٣",
        "ssh://h:22/path",
        "ssh://h?x=1",
        "ssh://u@v@h",
        "ssh://[::1",
        "adb://-s",
        "adb://a b",
        "adb://../x",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="device") as error:
        parse_address(text)
    assert error.value.mend


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="password") as error:
        parse_address("ssh://pi:secret@host")
    assert "secret" not in str(error.value)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_no_text_gives_a_word_that_a_program_takes_for_an_option(text: str) -> None:
    for scheme in ("ssh://", "adb://"):
        try:
            address = parse_address(scheme + text)
        except InputError:
            continue
        words = (address.host, address.user) if isinstance(address, SshAddress) else (address.serial,)
        assert not any(word.startswith("-") or set(word) & set(" '\"$`;&|\\\n\0/") for word in words if word)
