"""A pinned program over https: from a server of our own, with a certificate made here, as a user's command takes it."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit.device import download
from edgekit.device.adb import AdbPhone
from edgekit.device.download import parse_pinned, tool_file
from edgekit.device.find import find_device
from edgekit.errors import EdgekitError, InputError, MissingDependency, OutputError

TOOL = b"\x7fELF" + bytes(range(256)) * 4000
PIN = hashlib.sha256(TOOL).hexdigest()


@dataclass
class Server:
    """What lies at which path: bytes, or where a redirect leads; `cut` bodies end early. It keeps what was asked."""

    url: str = ""
    files: dict[str, bytes | str] = field(default_factory=lambda: {"/tool": TOOL})
    asked: list[str] = field(default_factory=list)
    cut: bool = False

    def pinned(self, path: str = "/tool", digest: str = PIN) -> str:
        return f"{self.url}{path}#sha256={digest}"


def handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            found = server.files.get(self.path)
            if isinstance(found, bytes):
                self.send_response(200)
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found[:1000] if server.cut else found)
            else:
                self.send_response(404 if found is None else 302)
                self.send_header("Location", found or "")
                self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here: apt install openssl")
    folder = tmp_path_factory.mktemp("certificate")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    made = [f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run(["openssl", *words.split(), "-keyout", *made], check=True, capture_output=True)
    return folder


@pytest.fixture
def server(certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "localhost")
    served = Server()
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(served))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    served.url = f"https://localhost:{listening.server_port}"
    yield served
    listening.shutdown()
    thread.join()
    listening.server_close()


def kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("*"))


def test_a_tool_is_downloaded_once_and_kept_under_its_digest(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        file = tool_file(server.pinned(), said.append)
        assert file.read_bytes() == TOOL
    assert file == tmp_path / "cache/edgekit/tools" / PIN
    assert server.asked == ["/tool"]
    assert said == [f"downloading {server.url}/tool"]
    assert list(file.parent.iterdir()) == [file]


def test_a_kept_tool_that_decayed_is_downloaded_again(server: Server) -> None:
    tool_file(server.pinned()).write_bytes(b"\x7fELF, damaged")
    assert tool_file(server.pinned()).read_bytes() == TOOL


def test_other_bytes_than_pinned_are_refused_and_thrown_away(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"has SHA-256 {PIN}, not the pinned {'0' * 64}"):
        tool_file(server.pinned(digest="0" * 64))
    assert not [path for path in kept(tmp_path) if path.is_file()]


def test_redirects_are_followed_to_https_only(server: Server, tmp_path: Path) -> None:
    server.files |= {"/moved": f"{server.url}/tool", "/plain": f"{server.url.replace('https', 'http')}/tool"}
    assert tool_file(server.pinned("/moved")).read_bytes() == TOOL
    tool_file(server.pinned()).unlink()
    with pytest.raises(InputError, match="not https"):
        tool_file(server.pinned("/plain"))
    server.files["/file"] = "file:///etc/passwd"
    with pytest.raises(MissingDependency, match="not allowed"):
        tool_file(server.pinned("/file"))
    assert not [path for path in kept(tmp_path) if path.is_file()]


def test_a_file_without_end_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="more than 1000 bytes"):
        tool_file(server.pinned())
    assert not [path for path in kept(tmp_path) if path.is_file()]


def test_a_server_that_says_too_little_or_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.cut = True
    with pytest.raises(InputError, match="not the pinned"):
        tool_file(server.pinned())
    with pytest.raises(MissingDependency, match="404"):
        tool_file(server.pinned("/nothing"))
    monkeypatch.setattr(download, "_MOST_SECONDS", -1.0)
    with pytest.raises(MissingDependency, match="not done after"):
        tool_file(server.pinned())
    assert not [path for path in kept(tmp_path) if path.is_file()]


def test_a_certificate_that_nobody_signed_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with pytest.raises(MissingDependency, match="CERTIFICATE_VERIFY_FAILED"):
        tool_file(server.pinned())
    assert not server.asked


def test_nobody_there(server: Server) -> None:
    with pytest.raises(MissingDependency, match="cannot be downloaded") as error:
        tool_file(f"https://localhost:1/tool#sha256={PIN}")
    assert "give its path" in error.value.mend


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("https://example.org/tool", "sha256sum"),
        ("https://example.org/tool#sha256=12ab", "sha256sum"),
        (f"https://example.org/tool#sha256={'g' * 64}", "sha256sum"),
        (f"http://example.org/tool#sha256={PIN}", "https"),
        (f"ftp://example.org/tool#sha256={PIN}", "https"),
    ],
)
def test_an_address_without_a_pin_is_refused(text: str, mend: str) -> None:
    with pytest.raises(InputError) as error:
        parse_pinned(text)
    assert mend in error.value.mend


def test_capital_digits_are_the_same_pin() -> None:
    assert parse_pinned(f"https://example.org/a?b=c#sha256={PIN.upper()}") == ("https://example.org/a?b=c", PIN)


def test_a_cache_that_cannot_be_made_is_named(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"file/edgekit/tools cannot be written: Not a directory") as error:
        tool_file(server.pinned())
    assert "XDG_CACHE_HOME" in error.value.mend
    assert not server.asked


def test_the_option_and_the_devices_file_take_an_address(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEKIT_DEVICES", str(tmp_path / "devices.toml"))
    (tmp_path / "devices.toml").write_text(f'[p]\naddress = "adb://P"\nbenchmark_model = "{server.pinned()}"\n')
    for device in (find_device("p"), find_device("adb://P", benchmark_model=server.pinned())):
        assert isinstance(device, AdbPhone)
        assert device.tool is not None
        assert device.tool.read_bytes() == TOOL
    assert isinstance(find_device("adb://P", benchmark_model=server.pinned("/nothing", "0" * 64)), AdbPhone)
    assert server.asked == ["/tool"], "nothing is fetched before the phone is opened"
    with pytest.raises(EdgekitError, match="pins no checksum"):
        find_device("adb://P", benchmark_model=f"{server.url}/tool")
