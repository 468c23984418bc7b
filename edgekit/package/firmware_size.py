"""How much flash and RAM firmware takes, by memory region, and how much of it is the model: from the linker's map.

What is told apart: the model and the self-test of a package by the names of their objects and symbols; the arena, the
operator resolver, heap and stack by their names; TensorFlow Lite Micro and its kernels by their objects and namespace.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Literal

from msgspec import Struct

from edgekit.errors import GateError, InputError, did_you_mean
from edgekit.package.folder import read_manifest
from edgekit.package.link_map import FILL, LinkMap, Memory, Piece, Section
from edgekit.units import format_bytes

Kind = Literal["flash", "ram"]

ARENA, RESOLVER, MICRO, STACK, REST = (
    "arena",
    "operator resolver",
    "TensorFlow Lite Micro",
    "heap and stack",
    "the rest",
)
_PARTS = (ARENA, RESOLVER, MICRO, STACK, REST)
KINDS: tuple[Kind, ...] = ("flash", "ram")
_NAMED = 4
_FLASH_NAME = re.compile(r"flash|rom|xip|nvm|mram|code|text", re.IGNORECASE)
_RAM_NAME = re.compile(r"(?<!prog)ram|tcm|ccm", re.IGNORECASE)
_ZEROED = re.compile(r"\.?[st]?bss\b|.*[._]bss\b|COMMON|\.?noinit|\.(heap|stack)\b", re.IGNORECASE)
_WRITTEN = re.compile(r"\.?[st]?data\b|.*[._]dram|.*ramfunc|\.RamFunc", re.IGNORECASE)
_STACK = re.compile(r".*[._](heap|stack)", re.IGNORECASE)
_SYMBOL = re.compile(r"\.\w+\.(?:(?:rel(?:\.ro)?(?:\.local)?|startup|unlikely|hot|exit)\.)?(.+)")
_MICRO_OBJECT = re.compile(r"tensorflow|tflite|tflm|microlite|cmsis[-_]?nn|esp[-_]nn|ethos-?u", re.IGNORECASE)
_MICRO_SYMBOL = "6tflite"  # the namespace, as C++ names are mangled
_OBJECT_ENDINGS = {".o", ".obj", ".c", ".cc", ".cpp", ".lo"}


class Region(Struct, frozen=True):
    """A memory: what sections take of it, without the gaps between them; `length_bytes` where the map says it."""

    name: str
    kind: Kind
    used_bytes: int
    length_bytes: int | None


class Use(Struct, frozen=True):
    """Bytes of one input section in one region, and the part of the firmware that it belongs to."""

    region: str
    part: str
    section: str
    object: str
    bytes: int


class Part(Struct, frozen=True):
    """What a part takes of all flash and of all RAM; initialized data is in both."""

    name: str
    flash_bytes: int
    ram_bytes: int


class FirmwareSize(Struct, frozen=True):
    """Where all bytes are. `packages` are the models that were looked for, `outside` sections that are in no region."""

    regions: tuple[Region, ...]
    uses: tuple[Use, ...]
    packages: tuple[str, ...]
    outside: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """What a budget may be given for: flash, ram, and each region that is called otherwise."""
        return (*KINDS, *(one.name for one in self.regions if one.name.lower() not in KINDS))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that take anything; their sums are the sums of the regions."""
        totals: Counter[tuple[str, str]] = Counter()
        kinds = {one.name: one.kind for one in self.regions}
        for use in self.uses:
            totals[use.part, kinds[use.region]] += use.bytes
        names = [f"{name}: {what}" for name in self.packages for what in ("model", "self-test")]
        made = (Part(name, totals[name, "flash"], totals[name, "ram"]) for name in (*names, *_PARTS))
        return tuple(part for part in made if part.flash_bytes or part.ram_bytes)

    def used(self, word: str) -> dict[str, int]:
        """{part: bytes} of flash, of RAM, or of a region, the greatest first."""
        of_kind = word in KINDS
        chosen = {one.name for one in self.regions if word == (one.kind if of_kind else one.name)}
        totals: Counter[str] = Counter()
        for use in self.uses:
            if use.region in chosen:
                totals[use.part] += use.bytes
        return dict(totals.most_common())


def firmware_size(
    found: LinkMap, packages: Sequence[Path] = (), arenas: Sequence[str] = (), kinds: Mapping[str, Kind] | None = None
) -> FirmwareSize:
    """Sort all sections of a map into regions and parts.

    `packages` are folders of `edgekit package`; `arenas` are names of variables (default: what has `arena` in its
    name); `kinds` says of regions what they are where names and attributes mislead. Without regions in the map there
    are two, by the kinds of sections. Raises InputError for a folder that is no package and for unknown regions.
    """
    names = tuple(map(_package_name, packages))
    memories = found.memories or (Memory("flash", 0, 0, "r"), Memory("ram", 0, 0, "rw"))
    if unknown := [name for name in kinds or {} if name not in {one.name for one in memories}]:
        raise InputError(f"no region {unknown[0]!r}", did_you_mean(unknown[0], (one.name for one in memories)))
    kind_of = {one.name: (kinds or {}).get(one.name) or _kind(one) for one in memories}
    uses = tuple(
        Use(region, _part(piece, section, names, arenas, kind_of[region]), piece.section, piece.object, piece.size)
        for section in found.sections
        for region in _regions(section, found.memories, kind_of)
        for piece in section.pieces
    )
    regions = tuple(
        Region(
            one.name, kind_of[one.name], sum(use.bytes for use in uses if use.region == one.name), one.length or None
        )
        for one in memories
    )
    outside = tuple(one.name for one in found.sections if not _regions(one, found.memories, kind_of))
    return FirmwareSize(regions, uses, names, outside)


def refuse_over(size: FirmwareSize, budgets: Mapping[str, int]) -> None:
    """Raise GateError where flash, RAM or a region is over its budget, naming the parts that take most of it."""
    over = [said for word, most in budgets.items() if (said := _over(word, size.used(word), most))]
    if over:
        raise GateError("over budget: " + "; ".join(over), "make the greatest parts smaller, or raise the budget")


def _over(word: str, parts: Mapping[str, int], most: int) -> str:
    total = sum(parts.values())
    greatest = ", ".join(f"{name} {format_bytes(count)}" for name, count in list(parts.items())[:_NAMED])
    return f"{word} {format_bytes(total)} of {format_bytes(most)} ({greatest})" if total > most else ""


def _package_name(folder: Path) -> str:
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("for") != "firmware" or not isinstance(manifest.get("identifier"), str):
        raise InputError(f"{folder}: no firmware package", "give a folder that `edgekit package --for firmware` wrote")
    return str(manifest["identifier"])


def _kind(memory: Memory) -> Kind:
    """By name where it tells one of the two, else by whether it can be written."""
    flash, ram = _FLASH_NAME.search(memory.name), _RAM_NAME.search(memory.name)
    if bool(flash) != bool(ram):
        return "flash" if flash else "ram"
    return "ram" if "w" in memory.attributes else "flash"


def _regions(section: Section, memories: Sequence[Memory], kind_of: Mapping[str, Kind]) -> list[str]:
    """Where a section takes memory: in the RAM where it runs, and where its bytes lie in the image.

    Flash that code runs from may be seen through a window at another address than it is loaded to.
    """
    zeroed = _zeroed(section)
    if not memories:
        return ["ram"] if zeroed else ["flash", "ram"] if _WRITTEN.match(section.name) else ["flash"]
    runs, loads = _at(section.address, memories), _at(section.load, memories)
    if zeroed or runs == loads or not loads:
        return runs
    return [*(name for name in runs if kind_of[name] == "ram"), *loads]


def _at(address: int, memories: Iterable[Memory]) -> list[str]:
    return [one.name for one in memories if one.origin <= address < one.origin + one.length][:1]


def _zeroed(section: Section) -> bool:
    """Whether it has no bytes in the image. The map does not say so; names do."""
    inputs = [piece.section for piece in section.pieces if piece.section != FILL]
    return (
        all(map(_ZEROED.match, inputs)) if inputs else bool(_ZEROED.match(section.name) or _STACK.match(section.name))
    )


def _part(piece: Piece, section: Section, names: Sequence[str], arenas: Sequence[str], kind: Kind) -> str:
    symbol = found[1] if (found := _SYMBOL.match(piece.section)) else ""
    for name in names:
        if what := _of_package(name, _stem(piece.object), symbol):
            return f"{name}: {what}"
    if kind == "ram" and _is_arena(symbol, arenas):
        return ARENA
    if "resolver" in symbol.lower() or any(f"{name}_register_ops" in symbol for name in names):
        return RESOLVER
    if _MICRO_SYMBOL in symbol or _MICRO_OBJECT.search(piece.object):
        return MICRO
    return STACK if kind == "ram" and (_STACK.match(section.name) or _STACK.match(piece.section)) else REST


def _of_package(name: str, stem: str, symbol: str) -> str:
    """By the object file; with link-time optimization by the symbol."""
    if stem == f"{name}_selftest" or symbol.startswith(f"{name}_selftest"):
        return "self-test"
    symbols = rf"{re.escape(name)}_(data|labels|(in|out)put_\d+_shape)"
    return "model" if stem == name or re.fullmatch(symbols, symbol) else ""


def _is_arena(symbol: str, arenas: Sequence[str]) -> bool:
    """`arena`, or `_ZL5arena` as C++ mangles it; without names everything that is called so but code of the library."""
    if arenas:
        return any(symbol.partition(".")[0] == name or f"{len(name)}{name}" in symbol for name in arenas)
    return "arena" in symbol.lower() and _MICRO_SYMBOL not in symbol


def _stem(name: str) -> str:
    """`build/libapp.a(keyword.c.obj)` -> `keyword`, and `build\\keyword.o` as well."""
    path = PurePath(re.split(r"[/\\(]", name.rstrip(")"))[-1])
    while path.suffix in _OBJECT_ENDINGS:
        path = path.with_suffix("")
    return path.name
