"""The page of `bench_peers.py`, made from results/peers.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from peers_plan import SUBJECTS, TOOLS
from peers_results import (
    LEAST_DEARER,
    LEAST_LARGER,
    LEAST_SLOWER,
    OURS,
    TECHNIQUES,
    Arena,
    Clocks,
    Loss,
    Results,
    Row,
    losses,
    lost_arenas,
)
from tasks import ANYWHERE

from edgekit.units import format_bytes, format_count, format_seconds

QUIET = 0.1
_FILES = ("technique", "tool", "accuracy", "file", "deflated", "latency", "time of the tool", "judging", "memory")
_CLOCKS = ("file", "bare loop", "`edgekit benchmark`", "LiteRT's tool", "as it prints", "edgekit / bare", "tool / bare")
_ARENAS = (
    *("network", "made by", "edgekit plans", "TFLM: head", "TFLM: smallest arena"),
    *("vela: SRAM", "edgekit: MACs", "vela: MACs", "vela: cycles (estimate)"),
)


def page(found: Results) -> str:
    """All of it: first what is lost, then the numbers."""
    parts = [
        "# Peers, side by side",
        "",
        _setting(found),
        "",
        *_disturbed(found),
        *_missing(found.rows),
        "## Where edgekit loses",
        "",
        *_lost([*losses(found.rows), *lost_arenas(found.arenas)], found.rows),
        "## Where a peer fails",
        "",
        *_failing(found.rows),
    ]
    for subject in dict.fromkeys(row.subject for row in found.rows):
        parts += [f"## {subject}", "", *_files([row for row in found.rows if row.subject == subject]), ""]
    parts += ["## One file, three clocks", "", *_clocked(found.clocks)] if found.clocks else []
    parts += ["## Memory of a microcontroller", "", *_micro(found.arenas)] if found.arenas else []
    return "\n".join(parts)


def _setting(found: Results) -> str:
    machine = found.machine
    tools = ", ".join(f"{name} {number}" for name, number in found.versions.items())
    return (
        "Made by `make bench-peers`; what is compared, and how, is in [the method](../README.md#peers-side-by-side). "
        "A time of edgekit has the judging of the file in it, which no peer does; it is told apart. "
        f"{machine.processor or machine.architecture}, {machine.usable_cores} cores, {machine.system}, "
        f"Python {machine.python}, {tools}."
    )


def _disturbed(found: Results) -> Iterator[str]:
    """What other work had of the cores; a warning above a tenth."""
    making, judging = [row.made.others for row in found.rows], [*found.judging_others.values()]
    timing = [one.others for one in found.clocks]
    shares = [f"{word} {max(part):.0%}" for word, part in zip(_WHEN, (making, judging, timing), strict=True) if part]
    if not shares:
        return
    told = f"Other work had of the cores, at the most: {', '.join(shares)}."
    if max([*making, *judging, *timing]) > QUIET:
        told = f"**Disturbed.** {told} Times and latencies of this page are those of a busy machine."
    yield from (told, "")


_WHEN = ("while a tool made a file", "while files were judged", "while clocks were compared")


def _missing(rows: Sequence[Row]) -> Iterator[str]:
    """What was not run of the networks that are here, and of those that every machine has."""
    have = {row.key for row in rows}
    always = [one.name for one in SUBJECTS if one.task in ANYWHERE]
    for subject in dict.fromkeys([*always, *(row.subject for row in rows)]):
        gaps = []
        for technique, tools in TOOLS.items():
            without = [tool for tool in tools if (subject, technique, tool) not in have]
            some = f" ({', '.join(without)})" if len(without) < len(tools) else ""
            gaps += [f"{TECHNIQUES[technique]}{some}"] if without else []
        if gaps:
            nothing = gaps == [*TECHNIQUES.values()]
            yield from (f"Not run: {subject}{'' if nothing else ': ' + '; '.join(gaps)}.", "")


def _lost(found: Sequence[Loss], rows: Sequence[Row]) -> Iterator[str]:
    peers = [row for row in rows if row.tool != OURS and not row.made.failure]
    if not found:
        yield from ("Nowhere, by what was measured here." if peers else "No peer made anything.", "")
        return
    yield from (
        "Where it fails; and what a peer does better, on how many of the networks where both made a file, and where by "
        f"the most: any lower accuracy, {_percent(LEAST_LARGER)} more bytes, {_percent(LEAST_SLOWER)} more latency in "
        f"every process, {_percent(LEAST_DEARER)} more time or memory of the tool.",
        "",
        *_table(
            ("technique", "what", "networks", "the worst"),
            ((TECHNIQUES[one.technique], one.what, f"{one.times} of {one.of}", _plain(one.worst)) for one in found),
        ),
        "",
    )


def _percent(ratio: float) -> str:
    return f"{ratio - 1:.0%}"


def _failing(rows: Sequence[Row]) -> Iterator[str]:
    failed = [row for row in rows if row.made.failure and row.tool != OURS]
    if not failed:
        yield from ("Nowhere.", "")
        return
    ways: dict[tuple[str, str, str], list[str]] = {}
    for row in failed:
        ways.setdefault((row.tool, row.technique, row.made.failure), []).append(row.subject)
    lines = (
        (tool, TECHNIQUES[technique], "; ".join(subjects), _plain(words))
        for (tool, technique, words), subjects in ways.items()
    )
    yield from (*_table(("tool", "technique", "networks", "what it says"), lines), "")


def _files(rows: Sequence[Row]) -> Iterator[str]:
    order = {key: place for place, key in enumerate(TECHNIQUES)}
    return _table(_FILES, map(_cells, sorted(rows, key=lambda row: order[row.technique])))


def _cells(row: Row) -> tuple[str, ...]:
    made, judged = row.made, row.judged
    start = (TECHNIQUES[row.technique], f"**{OURS}**" if row.tool == OURS else row.tool)
    if made.failure:
        return (*start, "fails", *[""] * (len(_FILES) - 3))
    sizes = (
        (
            f"{judged.accuracy:.2%}",
            format_bytes(judged.file_bytes),
            format_bytes(judged.deflated_bytes),
            format_seconds(judged.seconds),
        )
        if judged
        else ("",) * 4
    )
    judging = format_seconds(made.judging_seconds) if made.judging_seconds else ""
    return (*start, *sizes, format_seconds(made.seconds), judging, format_bytes(made.peak_bytes))


def _clocked(found: Sequence[Clocks]) -> Iterator[str]:
    yield from (
        "edgekit's full int8 file, timed by processes that take turns; medians of the rounds, one thread. LiteRT's "
        "tool (`ai_edge_litert.tools.benchmark_litert_model`) tells no memory, and rounds to 10 us.",
        "",
        *_table(_CLOCKS, map(_clock_cells, found)),
        "",
    )


def _clock_cells(one: Clocks) -> tuple[str, ...]:
    bare, ours, tool = (float(np.median(side)) if side else None for side in (one.bare, one.edgekit, one.tool))
    assert bare is not None
    ratios = (f"{side / bare:.3f}" if side else "" for side in (ours, tool))
    printed = f"{1e3 * tool:.2f} ms" if tool else "fails"
    return (one.subject, format_seconds(bare), format_seconds(ours), format_seconds(tool), printed, *ratios)


def _micro(found: Sequence[Arena]) -> Iterator[str]:
    yield from (
        "Each full int8 file. edgekit plans without running it; TensorFlow Lite Micro (the package tflite-micro, "
        "64-bit) runs it and records: the head is what is planned, the smallest arena has its structures, too. Vela "
        "compiles for an Ethos-U55 of 128 MACs; its cycles are its own estimate, and edgekit has none. "
        + _planned(found),
        "",
        *_table(_ARENAS, map(_arena_cells, found)),
        "",
        *(f"- {one.subject}, {one.tool}: {_plain(words)}" for one in found for words in _refusals(one)),
        "",
    )


def _planned(found: Sequence[Arena]) -> str:
    known = [one for one in found if one.head_bytes is not None]
    exact = sum(one.planned_bytes == one.head_bytes for one in known)
    return f"The plan is the recorded head to the byte for {exact} of {len(known)} files that TFLM runs."


def _refusals(one: Arena) -> Iterator[str]:
    yield from (f"{who}: {said}" for who, said in (("TFLM", one.micro_failure), ("vela", one.vela_failure)) if said)


def _arena_cells(one: Arena) -> tuple[str, ...]:
    name = one.tool if one.technique == "int8" else f"{one.tool}, {TECHNIQUES[one.technique]}"
    micro = [f"{size:,} B" if size is not None else "fails" for size in (one.head_bytes, one.smallest_bytes)]
    sram = format_bytes(one.vela_sram_bytes) if one.vela_sram_bytes is not None else "fails"
    counts = [format_count(count) for count in (one.macs, one.vela_macs, one.vela_cycles)]
    return (one.subject, name, f"{one.planned_bytes:,} B", *micro, sram, *counts)


def _plain(words: str) -> str:
    """Words of others inside a table: no bar parts the cell, and no bracket makes a tag or a link."""
    words = " ".join(words.split())
    for sign, harmless in (("|", "\\|"), ("<", "&lt;"), ("[", "\\["), ("`", "'"), ("*", "\\*")):
        words = words.replace(sign, harmless)
    return words


def _table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield from ("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows))
