"""What a linker put where: the map file of GNU ld (`-Wl,-Map=app.map`) or of LLVM's lld, as a value.

GNU ld writes an output section at the start of a line and an input section one place further in, with name, address,
size and object file; a long name has the rest on the next line. lld writes columns (VMA, LMA, size, alignment), then
eight places more for each level. lld's map does not have the regions of the linker script's MEMORY.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from edgekit.errors import InputError

FILL = "*fill*"
_GNU, _GNU_MEMORY = "Linker script and memory map", "Memory Configuration"
_LLD = re.compile(r"\s*VMA\s+LMA\s+Size\s+Align\s+Out\s+In\s+Symbol\s*$")
_WRAPPED = re.compile(r"^( ?[^\s*]\S*)\n[ \t]+(0x[0-9a-f]+[ \t]+0x[0-9a-f]+)\b", re.MULTILINE)
_OUTPUT = re.compile(r"(\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)(?:\s+load address 0x([0-9a-f]+))?\s*$")
_PIECE = re.compile(r" (\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s*(.*)$")
_COLUMNS = re.compile(r"\s*([0-9a-f]+)\s+([0-9a-f]+)\s+([0-9a-f]+)\s+\d+ (\s*)(.*)$")
_HEX = re.compile(r"0x[0-9a-f]+")
_IN = re.compile(r"(.*):\((.*)\)$")
_NOT_LOADED = re.compile(
    r"\.(z?debug|comment|note\.GNU|stab|symtab|strtab|shstrtab|line|xt\.|xtensa|gnu\.build)|\.\w+\.attributes$"
)


class Memory(Struct, frozen=True):
    """A region of the linker script's MEMORY block; `attributes` such as `xrw`, or empty."""

    name: str
    origin: int
    length: int
    attributes: str


class Piece(Struct, frozen=True):
    """An input section, or what fills a gap (`*fill*`, of no object): the bytes of it that are in the output."""

    section: str
    object: str
    size: int


class Section(Struct, frozen=True):
    """An output section in the memory of the device; `load` is where its first bytes lie in the image."""

    name: str
    address: int
    size: int
    load: int
    pieces: tuple[Piece, ...]


class LinkMap(Struct, frozen=True):
    """The regions, none where the map does not have any, and the sections that take memory."""

    memories: tuple[Memory, ...]
    sections: tuple[Section, ...]


class _Raw(Struct, frozen=True):
    """An input section as the map has it; strings that were merged away still have their size, beside what follows."""

    section: str
    object: str
    address: int
    size: int


def read_link_map(path: Path) -> LinkMap:
    """Read a map file. Raises InputError for what is none of GNU ld or lld, or has no sections."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as cause:
        raise InputError(f"{path}: {cause.strerror}", "give the map file of the linker: -Wl,-Map=app.map") from None
    if _LLD.match(text.partition("\n")[0]):
        found = LinkMap((), tuple(_lld(text.splitlines()[1:])))
    elif _GNU in text:
        head, _, body = text.partition(_GNU)
        found = LinkMap(tuple(_memories(head)), tuple(_gnu(_WRAPPED.sub(r"\1 \2", body).splitlines())))
    else:
        raise InputError(f"{path}: no map file of GNU ld or LLVM lld", "let the linker write one: -Wl,-Map=app.map")
    if not found.sections:
        raise InputError(f"{path}: a map file without sections", "link again; the linker was probably interrupted")
    return found


def _memories(head: str) -> Iterator[Memory]:
    for line in head.partition(_GNU_MEMORY)[2].splitlines():
        words = line.split()
        if len(words) >= 3 and all(map(_HEX.fullmatch, words[1:3])) and words[0] != "*default*":
            yield Memory(words[0], int(words[1], 16), int(words[2], 16), "".join(words[3:]))


def _gnu(lines: Iterable[str]) -> Iterator[Section]:
    raw: list[_Raw] = []
    output: tuple[str, int, int, int] | None = None
    for line in lines:
        if found := _OUTPUT.match(line):
            yield from _section(output, raw)
            address = int(found[2], 16)
            load = int(found[4], 16) if found[4] else address
            raw, output = [], (found[1], address, int(found[3], 16), load)
        elif output and (found := _PIECE.match(line)):
            raw.append(_Raw(found[1], found[4], int(found[2], 16), int(found[3], 16)))
    yield from _section(output, raw)


def _lld(lines: Iterable[str]) -> Iterator[Section]:
    raw: list[_Raw] = []
    output: tuple[str, int, int, int] | None = None
    for line in lines:
        if not (columns := _COLUMNS.match(line)):
            continue
        address, load, size = (int(columns[place], 16) for place in (1, 2, 3))
        if not columns[4] and " = " not in columns[5]:
            yield from _section(output, raw)
            raw, output = [], (columns[5], address, size, load)
        elif output and len(columns[4]) == 8 and (found := _IN.match(columns[5])):
            raw.append(_Raw(found[2], found[1], address, size))
    yield from _section(output, raw)


def _section(output: tuple[str, int, int, int] | None, raw: list[_Raw]) -> Iterator[Section]:
    """The section, if it takes memory. Bytes of it that no input section has are the linker's own."""
    if output is None or not output[2] or _NOT_LOADED.match(output[0]):
        return
    name, address, size, load = output
    inside = sorted((one for one in raw if address <= one.address < address + size), key=lambda one: one.address)
    ends = [*(one.address for one in inside[1:]), address + size]
    kept = [min(one.size, end - one.address) for one, end in zip(inside, ends, strict=False)]
    pieces = [Piece(one.section, one.object, size) for one, size in zip(inside, kept, strict=True) if size]
    if left := size - sum(kept):
        pieces.append(Piece(FILL, "", left))
    yield Section(name, address, size, load, tuple(pieces))
