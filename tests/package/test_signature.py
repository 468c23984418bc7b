"""Signatures: minisign's format both ways, the same bytes every time, and nothing else passes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import InputError, OutputError
from edgekit.package.folder import SIGNATURE
from edgekit.package.signature import PASSPHRASE, check_signature, new_key, sign, sign_folder

DATA = b'{"kind": "edgekit package"}\n'
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "a.key", tmp_path / "a.pub", None)
    return tmp_path / "a.key"


def minisign(*words: object, cwd: Path, typed: str = "") -> str:
    """The C tool, which is the reference."""
    if shutil.which("minisign") is None:
        pytest.skip("no minisign here: apt install minisign")
    command = ["minisign", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, input=typed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_signature_is_valid_for_its_bytes_and_key_and_the_same_each_time(key: Path) -> None:
    made = sign(DATA, key)
    assert sign(DATA, key) == made
    found = check_signature(DATA, made, str(key.with_suffix(".pub")))
    assert (found.state, found.comment) == ("valid", "file:manifest.json\thashed")
    line = key.with_suffix(".pub").read_text().splitlines()[1]
    assert check_signature(DATA, made, line) == found


def test_every_changed_byte_is_noticed(key: Path) -> None:
    """In the data; in the signature, whatever is not the comment that says of itself that it is not trusted."""
    made, public = sign(DATA, key), str(key.with_suffix(".pub"))
    changed = [bytes([*DATA[:place], DATA[place] ^ 1, *DATA[place + 1 :]]) for place in range(len(DATA))]
    assert {check_signature(data, made, public).state for data in changed} == {"invalid"}
    assert check_signature(DATA, made.replace(b"\n", b"\r\n"), public).state == "valid"
    start = made.index(b"\n") + 1
    for place in range(start, len(made) - 1):
        spoilt = bytes([*made[:place], made[place] ^ 1, *made[place + 1 :]])
        assert check_signature(DATA, spoilt, public).state == "invalid", place


def test_bits_that_base64_does_not_use_are_noticed(tmp_path: Path) -> None:
    """Two of the last character's six bits are no part of the signature: a reader may take four texts for one."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    public = new_key(tmp_path / "a.key", tmp_path / "a.pub", None)
    made = sign(DATA, tmp_path / "a.key")
    place = made.index(b"=\n") - 1
    for bits in (1, 2, 3):
        sibling = alphabet[alphabet.index(made[place]) + bits]
        spoilt = bytes([*made[:place], sibling, *made[place + 1 :]])
        assert check_signature(DATA, spoilt, public).state == "invalid"


def test_another_key_is_named(key: Path, tmp_path: Path) -> None:
    other = new_key(tmp_path / "b.key", tmp_path / "b.pub", None)
    found = check_signature(DATA, sign(DATA, key), other)
    assert found.state == "invalid"
    assert found.key_id in found.problem


def test_a_key_that_is_given_as_a_line_is_read_from_no_file(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made the package could have put a file of that name beside it, with a key of their own."""
    monkeypatch.chdir(tmp_path)
    line = "/"
    while "/" in line:
        line = new_key(tmp_path / "mine.key", tmp_path / "mine.pub", None)
        (tmp_path / "mine.key").unlink()
        (tmp_path / "mine.pub").rename(tmp_path / "mine")
    (tmp_path / line).write_bytes(key.with_suffix(".pub").read_bytes())
    assert check_signature(DATA, sign(DATA, key), line).state == "invalid"


def test_without_a_key_nothing_is_claimed(key: Path) -> None:
    assert check_signature(DATA, sign(DATA, key), None).state == "unchecked"
    assert check_signature(DATA, None, None).state == "absent"
    assert check_signature(DATA, b"\n\n\n\n", None).state == "invalid"


def test_a_passphrase_is_needed_and_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "p.key"
    public = new_key(secret, tmp_path / "p.pub", "right")
    monkeypatch.delenv(PASSPHRASE, raising=False)
    with pytest.raises(InputError, match="passphrase"):
        sign(DATA, secret)
    with pytest.raises(InputError, match="wrong password"):
        sign(DATA, secret, lambda: "wrong")
    asked = sign(DATA, secret, lambda: "right")
    monkeypatch.setenv(PASSPHRASE, "right")
    assert sign(DATA, secret) == asked
    assert check_signature(DATA, asked, public).state == "valid"


def test_a_secret_key_is_for_its_owner_and_is_never_replaced(key: Path, tmp_path: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        new_key(key, tmp_path / "new.pub", None)
    with pytest.raises(OutputError, match="exists"):
        new_key(tmp_path / "new.key", key.with_suffix(".pub"), None)
    assert key.read_bytes() == before
    assert not (tmp_path / "new.key").exists()
    assert not (tmp_path / "new.pub").exists()


@pytest.mark.parametrize("content", [b"", b"no key", b"untrusted comment: x\nRWQ=\n", b"\xff" * 200, None])
def test_what_is_no_key_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError):
        sign(DATA, path)
    with pytest.raises(InputError):
        check_signature(DATA, None, str(path))


def test_halves_of_two_keys_are_refused(key: Path, tmp_path: Path) -> None:
    import base64

    new_key(tmp_path / "b.key", tmp_path / "b.pub", None)
    one, other = (base64.b64decode(path.read_bytes().splitlines()[1]) for path in (key, tmp_path / "b.key"))
    mixed = one[:94] + other[94:126] + one[126:]  # the public half of the other
    (tmp_path / "m.key").write_bytes(b"untrusted comment: x\n" + base64.b64encode(mixed) + b"\n")
    with pytest.raises(InputError):
        sign(DATA, tmp_path / "m.key")


def test_a_folder_is_signed_once(key: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(DATA)
    assert sign_folder(tmp_path, key)
    assert not sign_folder(tmp_path, key)
    assert (tmp_path / SIGNATURE).read_bytes() == sign(DATA, key)
    with pytest.raises(InputError, match="manifest"):
        sign_folder(tmp_path / "nowhere", key)


def test_the_tool_in_c_takes_ours_and_makes_what_we_take(key: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(DATA)
    (tmp_path / SIGNATURE).write_bytes(sign(DATA, key))
    assert "file:manifest.json\thashed" in minisign("-V", "-p", "a.pub", "-m", "manifest.json", cwd=tmp_path)
    minisign("-G", "-W", "-p", "c.pub", "-s", "c.key", cwd=tmp_path)
    (tmp_path / SIGNATURE).write_bytes(sign(DATA, tmp_path / "c.key"))
    minisign("-V", "-p", "c.pub", "-m", "manifest.json", cwd=tmp_path)
    minisign("-S", "-s", "a.key", "-m", "manifest.json", "-x", "c.minisig", cwd=tmp_path)
    found = check_signature(DATA, (tmp_path / "c.minisig").read_bytes(), str(tmp_path / "a.pub"))
    assert found.state == "valid"
    assert found.key_id in (tmp_path / "a.pub").read_text()


@pytest.mark.slow
def test_the_tool_in_c_and_we_read_each_others_protected_keys(tmp_path: Path) -> None:
    """A gibibyte of memory and seconds: what `minisign -G` asks of a passphrase."""
    (tmp_path / "manifest.json").write_bytes(DATA)
    minisign("-G", "-p", "c.pub", "-s", "c.key", cwd=tmp_path, typed="pass\npass\n")
    made = sign(DATA, tmp_path / "c.key", lambda: "pass")
    assert check_signature(DATA, made, str(tmp_path / "c.pub")).state == "valid"
    new_key(tmp_path / "p.key", tmp_path / "p.pub", "pass")
    minisign("-S", "-s", "p.key", "-m", "manifest.json", cwd=tmp_path, typed="pass\n")
    assert check_signature(DATA, (tmp_path / SIGNATURE).read_bytes(), str(tmp_path / "p.pub")).state == "valid"


def test_keygen_makes_a_pair(tmp_path: Path, edgekit_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    assert edgekit_cli("keygen", "k", "--no-passphrase").stdout.strip() in (tmp_path / "k.pub").read_text()
    assert check_signature(DATA, sign(DATA, tmp_path / "k.key"), str(tmp_path / "k.pub")).state == "valid"
    monkeypatch.setenv(PASSPHRASE, "a secret of mine")
    done = edgekit_cli("keygen", "p")
    assert done.returncode == 0
    assert "a secret of mine" not in done.stdout + done.stderr
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(InputError, match=PASSPHRASE):
        sign(DATA, tmp_path / "p.key")
