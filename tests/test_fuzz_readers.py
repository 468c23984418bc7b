"""Whatever the bytes, a reader gives a value or an error with its mend: nothing else is raised, and nothing hangs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, Reader

from edgekit.errors import EdgekitError

SECONDS = 5
WORDS = (
    *(b"\0", b"\xff", b"-", b"../..", b"/", b"\\", b"nan", b"inf", b"1e999", b"-1", b"0", b"9" * 5000, b"4294967296"),
    *(b"9223372036854775808", b"null", b"true", b'"', b"'''", b"[" * 3000, b"{" * 3000, b"]", b"=", b",", b"\n", b"\r"),
    *(b"a" * 5000, b"\xc2\xb2", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\\u0000", b"\\ud800", b"{}", b"[]", b"PK\x03\x04"),
)


@st.composite
def damaged(draw: st.DrawFn, seed: bytes) -> bytes:
    """The bytes with up to four things done to them; now and then any bytes at all."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    copy = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(copy) - 1, 0)))
        length = draw(st.integers(0, 24))
        kind = draw(st.integers(0, 4))
        if kind == 0 and copy:
            copy[place] = draw(st.integers(0, 255))
        elif kind == 1:
            copy[place : place + length] = draw(st.sampled_from(WORDS))
        elif kind == 2:
            del copy[place : place + length]
        elif kind == 3:
            copy[place:place] = copy[place : place + length]
        else:
            del copy[place:]
    return bytes(copy)


def obey(reader: Reader, folder: Path, data: bytes) -> None:
    path, begun = folder / reader.file, time.process_time()
    path.write_bytes(data)
    refused: EdgekitError | None = None
    try:
        reader.read(path)
    except EdgekitError as error:
        refused = error
    assert refused is None or (refused.problem and refused.mend), refused
    assert time.process_time() - begun < SECONDS


def fuzz(name: str, folder: Path, examples: int) -> None:
    reader = READERS[name]
    seeds = reader.seeds()

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def law(data: st.DataObject) -> None:
        obey(reader, folder, data.draw(damaged(data.draw(st.sampled_from(seeds)))))

    for seed in seeds:
        obey(reader, folder, seed)
    law()


@pytest.mark.parametrize("name", READERS)
def test_whatever_the_bytes(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_whatever_the_bytes_for_long(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, 2_000)
