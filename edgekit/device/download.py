"""A program from an https address, taken only by the SHA-256 that is pinned to it, and kept in this user's cache.

Addresses are `https://HOST/PATH#sha256=HEX`. A redirect may lead to another host, never to plain http.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from edgekit.device.cache import cache_folder, writing
from edgekit.device.remote import sha256_of
from edgekit.errors import InputError, MissingDependency

MOST_BYTES = 2**28
_CHUNK = 2**18
_ONE_AT_A_TIME = threading.Lock()  # phones that are opened together may have the same tool
_STALL_SECONDS, _MOST_SECONDS = 30.0, 900.0
_PINNED = re.compile(r"(https://[^\s#]+)#sha256=([0-9A-Fa-f]{64})")


def tool_file(
    word: str | Path, say: Callable[[str], None] = lambda text: None, check: Callable[[], None] = lambda: None
) -> Path:
    """The file of a program that is named by a path or by a pinned https address, downloaded at the first call.

    `check` is called before and at each piece; what it raises ends the download. Raises InputError for an address
    without a digest or with other bytes behind it, MissingDependency if it cannot be reached, OutputError if the cache
    cannot be written.
    """
    if isinstance(word, Path) or "://" not in word:
        return Path(word).expanduser()
    url, digest = parse_pinned(word)
    kept = cache_folder() / "tools" / digest
    with _ONE_AT_A_TIME:
        check()
        if not (kept.is_file() and sha256_of(kept) == digest):
            say(f"downloading {url}")
            _download(url, digest, kept, check)
    return kept


def parse_pinned(text: str) -> tuple[str, str]:
    """(address, SHA-256) of `https://...#sha256=HEX`. Raises InputError for anything else."""
    found = _PINNED.fullmatch(text)
    if found is not None:
        return found[1], found[2].lower()
    if not text.startswith("https://"):
        raise InputError(f"{text!r}: programs are taken by https:// only", "give an https address, or a path")
    raise InputError(
        f"{text!r} pins no checksum: whatever lies there would run on your phone",
        "download it once, look at it, and write URL#sha256=HEX with the 64 digits that `sha256sum FILE` prints",
    )


def _download(url: str, digest: str, kept: Path, check: Callable[[], None]) -> None:
    """Put the file in its place, whole and with its digest, or not at all."""
    with writing(kept.parent) as folder, tempfile.TemporaryDirectory(dir=folder) as partial:
        file = Path(partial, digest)
        found = _save(_pieces(url), url, file, check)
        if found != digest:
            raise InputError(
                f"{url} has SHA-256 {found}, not the pinned {digest}; it was thrown away",
                "it was changed, or cut short: find out why, and pin the new digest if you trust it",
            )
        os.replace(file, kept)


def _save(pieces: Iterator[bytes], url: str, path: Path, check: Callable[[], None]) -> str:
    """Write the pieces; their SHA-256. Raises InputError beyond MOST_BYTES, and what `check` does."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in pieces:
            check()
            size += len(piece)
            if size > MOST_BYTES:
                raise InputError(f"{url} has more than {MOST_BYTES} bytes", "see whether it is the program you mean")
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _pieces(url: str) -> Iterator[bytes]:
    """The bytes at an address. Raises MissingDependency if it cannot be reached or takes too long."""
    deadline = time.monotonic() + _MOST_SECONDS
    try:
        with urllib.request.build_opener(_HttpsOnly).open(url, timeout=_STALL_SECONDS) as response:
            while piece := response.read1(_CHUNK):
                yield piece
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not done after {_MOST_SECONDS:g} s")
    except (OSError, http.client.HTTPException, ValueError) as cause:
        reason = cause.reason if type(cause) is urllib.error.URLError else cause
        raise MissingDependency(
            f"{url} cannot be downloaded: {reason or type(cause).__name__}",
            "see to the network, or download it elsewhere and give its path",
        ) from cause


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects as long as nobody on the way can read or change what comes."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Raises InputError for an address that is not https."""
        if not newurl.lower().startswith("https://"):
            raise InputError(f"{req.full_url} leads to {newurl!r}, which is not https", "give the address of the file")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
