"""A delta from one version of a file to another: what an update over the air sends instead of the whole file.

A delta is a BSDIFF40 file, which every `bspatch` applies (Colin Percival, https://www.daemonology.net/bsdiff/): steps
that add bytes to those of the old file, bytes to add, and bytes that are new, each packed by bzip2. Weights that move
by a quantum or two give bytes to add that are nearly all 0, 1 or 255. Behind it lie 72 bytes that `bspatch` does not
look at: a mark, and the SHA-256 of the old and of the new file.
"""

from __future__ import annotations

import bz2
import hashlib
import struct
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from io import BytesIO
from itertools import accumulate, pairwise
from typing import BinaryIO, NamedTuple

import numpy as np
from msgspec import Struct

from edgekit.errors import InputError, MissingDependency, ModelError
from edgekit.tflite import flatbuffer

_MAGIC, _MARK = b"BSDIFF40", b"EDGEKIT1"
_HEADER = struct.Struct("<8sQQQ")
_TRAILER = struct.Struct("<8s32s32s")
_STEP = struct.Struct("<QQQ")
_SIGN = 1 << 63  # integers of the format are a sign and a magnitude
_MOST_BYTES = 2**31 - 1  # a flatbuffer ends there, and so does a bspatch with 32-bit sizes
_PIECE_BYTES = 1 << 20


class DeltaHead(Struct, frozen=True):
    """What a delta is for and what it makes; the SHA-256 are hexadecimal."""

    old_sha256: str
    new_sha256: str
    new_bytes: int


class _Step(NamedTuple):
    """Bytes made by adding to the old file, then bytes that are new, then how far to move on in the old file."""

    added: int
    fresh: int
    seek: int


def make_delta(old: bytes, new: bytes) -> bytes:
    """The delta from `old` to `new`; the same bytes every time.

    bsdiff looks for equal runs of bytes, and loses its way where more than half of the weights moved. So it is tried
    against tensor on tensor, byte on byte, and the smaller delta is taken. bsdiff needs about 17 times the memory of
    the old file. Raises InputError above 2 GiB, MissingDependency without bsdiff4.
    """
    if max(len(old), len(new)) > _MOST_BYTES:
        raise InputError("a delta is made of files below 2 GiB", "send the file whole")
    return min((_packed(steps, old, new) for steps in (_by_runs(old, new), _by_tensors(old, new))), key=len)


def read_head(delta: bytes) -> DeltaHead:
    """What a delta is for. Raises InputError for what is none, or is cut short."""
    if not delta.startswith(_MAGIC) or len(delta) < _HEADER.size + _TRAILER.size:
        raise InputError("this is no delta, or only the beginning of one", "give a file that `edgekit diff` wrote")
    mark, old, new = _TRAILER.unpack_from(delta, len(delta) - _TRAILER.size)
    if mark != _MARK:
        raise InputError(
            "the delta does not end in the SHA-256 of its files: it is cut short, or of another tool",
            "copy it again; `bspatch` applies those of other tools",
        )
    new_bytes = _HEADER.unpack_from(delta)[3]
    if new_bytes > _MOST_BYTES:
        raise _damaged("it claims to make a file above 2 GiB")
    return DeltaHead(old.hex(), new.hex(), new_bytes)


def apply_delta(old: bytes, delta: bytes, out: BinaryIO, name: str = "the old file") -> DeltaHead:
    """Write the new file, in pieces of at most 1 MiB, whatever the delta claims; `name` is the old one's in errors.

    Raises InputError for another old file, and for a delta that is damaged or makes another file than it says; what was
    written until then is to be thrown away.
    """
    head = read_head(delta)
    _refuse_other(name, hashlib.sha256(old).hexdigest(), head)
    found = hashlib.sha256()
    for piece in _pieces(old, delta, head.new_bytes):
        found.update(piece)
        out.write(piece)
    if found.hexdigest() != head.new_sha256:
        raise _damaged("the file that it makes has another SHA-256 than it says")
    return head


def _refuse_other(name: str, sha256: str, head: DeltaHead) -> None:
    if sha256 == head.old_sha256:
        return
    if sha256 == head.new_sha256:
        raise InputError(f"{name} is already the file that the delta makes", "there is nothing to do")
    raise InputError(
        f"{name} is not the file that the delta is for: its SHA-256 is {sha256}, and not {head.old_sha256}",
        "give the version that it was made from, or make a delta from this one",
    )


def _by_runs(old: bytes, new: bytes) -> list[_Step]:
    """The steps that bsdiff finds."""
    try:
        from bsdiff4 import core
    except ModuleNotFoundError:
        raise MissingDependency("a delta is made by bsdiff4", "pip install 'edgekit[package]'") from None
    return list(_steps(core.diff(old, new)[0]))


def _by_tensors(old: bytes, new: bytes) -> list[_Step]:
    """Each constant of a TFLite file from the one in its place, and what lies between them where it is as long."""
    lengths = _sections(old), _sections(new)
    starts = [[0, *accumulate(one)] for one in lengths]
    same = SequenceMatcher(None, *lengths, autojunk=False).get_matching_blocks()
    runs = [(starts[0][a], starts[1][b], starts[1][b + size] - starts[1][b]) for a, b, size in same]
    return [
        _Step(size, to_new - (at_new + size), to_old - (at_old + size))
        for (at_old, at_new, size), (to_old, to_new, _) in pairwise([(0, 0, 0), *runs])
    ]


def _sections(data: bytes) -> list[int]:
    """Lengths of the constants of a TFLite file and of what lies between them, in its order; else of the whole."""
    edges = {0, len(data)}
    try:
        root = flatbuffer.open_model(data)
        with flatbuffer.damage_named("model"):
            for index in flatbuffer.Room(len(data)).indices(root.BuffersLength, int):
                if span := flatbuffer.buffer_span(root, index, len(data)):
                    edges |= {span[0], sum(span)}
    except ModelError:  # any file may be sent
        return [len(data)]
    return [end - start for start, end in pairwise(sorted(edges))]


def _packed(steps: Iterable[_Step], old: bytes, new: bytes) -> bytes:
    """The whole delta; a step that makes nothing only moves, which the one before can do as well."""
    made: list[_Step] = []
    difference, fresh = bytearray(), bytearray()
    at_old = at_new = 0
    for step in steps:
        if made and not step.added and not step.fresh:
            made[-1] = made[-1]._replace(seek=made[-1].seek + step.seek)
        else:
            made.append(step)
        middle, end = at_new + step.added, at_new + step.added + step.fresh
        difference += (_bytes(new, at_new, middle) - _bytes(old, at_old, at_old + step.added)).tobytes()
        fresh += new[middle:end]
        at_old, at_new = at_old + step.added + step.seek, end
    control = b"".join(_STEP.pack(*step[:2], step.seek if step.seek >= 0 else -step.seek | _SIGN) for step in made)
    blocks = [bz2.compress(block) for block in (control, difference, fresh)]
    head = _HEADER.pack(_MAGIC, len(blocks[0]), len(blocks[1]), len(new))
    digests = (hashlib.sha256(data).digest() for data in (old, new))
    return b"".join([head, *blocks, _TRAILER.pack(_MARK, *digests)])


def _pieces(old: bytes, delta: bytes, new_bytes: int) -> Iterator[bytes]:
    """The new file. Raises InputError where a step leaves the old file or the claimed size, or makes nothing."""
    control, difference, fresh = _blocks(delta)
    place = made = number = 0
    while made < new_bytes:
        (step,) = _steps(_exactly(control, _STEP.size))
        size = step.added + step.fresh
        if not (0 <= place <= place + step.added <= len(old)) or made + size > new_bytes or (number and not size):
            raise _damaged(f"step {number} leaves the file, or makes nothing")
        for start, end in _cut(step.added):
            more = np.frombuffer(_exactly(difference, end - start), np.uint8)
            yield (_bytes(old, place + start, place + end) + more).tobytes()
        for start, end in _cut(step.fresh):
            yield _exactly(fresh, end - start)
        place, made, number = place + step.added + step.seek, made + size, number + 1


def _blocks(delta: bytes) -> list[bz2.BZ2File]:
    """Control, difference and fresh bytes, unpacked only as far as they are read."""
    _, controls, differences, _ = _HEADER.unpack_from(delta)
    edges = [*accumulate((_HEADER.size, controls, differences)), len(delta) - _TRAILER.size]
    if edges != sorted(edges):
        raise _damaged("its blocks are longer than it is")
    return [bz2.open(BytesIO(delta[start:end])) for start, end in pairwise(edges)]


def _steps(control: bytes) -> Iterator[_Step]:
    for added, fresh, seek in _STEP.iter_unpack(control):
        yield _Step(added, fresh, seek if seek < _SIGN else _SIGN - seek)


def _exactly(block: bz2.BZ2File, size: int) -> bytes:
    try:
        data = block.read(size)
    except (OSError, EOFError) as cause:
        raise _damaged(str(cause)) from None
    if len(data) != size:
        raise _damaged("a block of it ends too early")
    return data


def _cut(size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of pieces that are small enough to be held."""
    for start in range(0, size, _PIECE_BYTES):
        yield start, min(start + _PIECE_BYTES, size)


def _bytes(data: bytes, start: int, end: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(memoryview(data)[start:end], np.uint8)


def _damaged(how: str) -> InputError:
    return InputError(f"the delta is damaged: {how}", "copy it again, and compare checksums")
