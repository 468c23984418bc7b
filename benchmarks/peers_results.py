"""What `bench_peers.py` found, as it is kept in results/peers.json; and where edgekit loses by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from edgekit.bench.result import Conditions, Machine
from edgekit.intervals import tango
from edgekit.units import format_bytes, format_seconds

OURS = "edgekit"
TECHNIQUES = {
    "float32": "float32",
    "dynamic-int8": "int8 weights",
    "int8": "full int8",
    "qat": "full int8, trained",
    "zeros": "80 % zeros, full int8",
    "values": "16 values a layer, full int8",
    "student": "student of half the width, float32",
}
LEAST_LARGER, LEAST_SLOWER, LEAST_DEARER = 1.01, 1.02, 1.1


class Made(Struct, frozen=True):
    """How a tool's process went: what it failed by (empty if it did not), seconds on its clock, its most memory.

    `judging_seconds` of them went into judging the file; `others` is the share of the cores that other work had.
    """

    failure: str = ""
    seconds: float = 0.0
    judging_seconds: float = 0.0
    peak_bytes: int = 0
    others: float = 0.0


class Judged(Struct, frozen=True):
    """A file under the one judge: a bit for each test sample that it has right, sizes, median seconds by process."""

    right: bytes
    samples: int
    file_bytes: int
    deflated_bytes: int
    latency: tuple[float, ...]

    def hits(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether each sample is right, `[samples]`."""
        return np.unpackbits(np.frombuffer(self.right, np.uint8))[: self.samples].astype(bool)

    @property
    def accuracy(self) -> float:
        """Share of the test part that is right."""
        return float(self.hits().mean())

    @property
    def seconds(self) -> float:
        """Median over the processes."""
        return float(np.median(self.latency))


class Row(Struct, frozen=True):
    """One tool, one technique, one network on one task; `judged` once all files of the network are there."""

    subject: str
    technique: str
    tool: str
    made: Made
    judged: Judged | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What no two rows share."""
        return self.subject, self.technique, self.tool


class Clocks(Struct, frozen=True):
    """One file timed by a bare loop, by `edgekit benchmark` and by LiteRT's tool: median seconds, round by round."""

    subject: str
    bare: tuple[float, ...]
    edgekit: tuple[float, ...]
    tool: tuple[float, ...]
    others: float


class Arena(Struct, frozen=True):
    """A file's memory on a microcontroller in bytes, and its work: as edgekit plans, and as its makers' tools say.

    `planned_bytes` and `macs` are edgekit's, from the file alone; `head_bytes` and `smallest_bytes` are recorded by
    TensorFlow Lite Micro; the rest are vela's estimates. A tool that does not take the file has words instead.
    """

    subject: str
    technique: str
    tool: str
    planned_bytes: int
    macs: int
    head_bytes: int | None = None
    smallest_bytes: int | None = None
    micro_failure: str = ""
    vela_sram_bytes: int | None = None
    vela_macs: int | None = None
    vela_cycles: int | None = None
    vela_failure: str = ""


class Results(Struct, frozen=True):
    """Everything; `fingerprint` is of the code and the packages that made it."""

    fingerprint: str
    versions: dict[str, str]
    machine: Machine
    conditions: Conditions
    rows: tuple[Row, ...] = ()
    clocks: tuple[Clocks, ...] = ()
    arenas: tuple[Arena, ...] = ()
    judging_others: dict[str, float] = {}
    format_version: int = 1

    def save(self, path: Path) -> None:
        """Write it in one step."""
        partial = path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        partial.replace(path)


class Loss(Struct, frozen=True):
    """Something that a peer does better: on how many of the subjects, and where by the most, in words."""

    technique: str
    what: str
    times: int
    of: int
    worst: str


def lost_arenas(arenas: Sequence[Arena]) -> Iterator[Loss]:
    """Files of peers that need a smaller arena between operators than edgekit's."""
    for technique in TECHNIQUES:
        here = [one for one in arenas if one.technique == technique]
        pairs = []
        for ours in (one for one in here if one.tool == OURS):
            peers = [one for one in here if one.subject == ours.subject and one.tool != OURS]
            pairs += [(ours, min(peers, key=lambda one: one.planned_bytes))] if peers else []
        worse = [(a.planned_bytes / b.planned_bytes, a, b) for a, b in pairs if a.planned_bytes > b.planned_bytes]
        if worse:
            _, ours, peer = max(worse, key=lambda one: one[0])
            words = f"{ours.subject}: {ours.planned_bytes:,} B against {peer.planned_bytes:,} B ({peer.tool})"
            yield Loss(technique, "arena", len(worse), len(pairs), words)


class _Worse(Struct, frozen=True):
    by: float
    words: str


Compare = Callable[[Row, Row], _Worse | None]


def losses(rows: Sequence[Row]) -> Iterator[Loss]:
    """Where edgekit fails, and all that some peer does better, by technique, in the order of the tables."""
    for technique in TECHNIQUES:
        ours = [row for row in rows if row.technique == technique and row.tool == OURS]
        if failing := [row for row in ours if row.made.failure]:
            words = f"{failing[0].subject}: {failing[0].made.failure}"
            yield Loss(technique, "edgekit fails", len(failing), len(ours), words)
        for what, compare in COMPARED.items():
            found = [_worst(row, [one for one in rows if _peer_of(row, one)], compare) for row in ours]
            held = [one for one in found if one is not None]
            worse = [one for one in held if one.words]
            if worse:
                yield Loss(technique, what, len(worse), len(held), max(worse, key=lambda one: one.by).words)


def _peer_of(row: Row, other: Row) -> bool:
    return (other.subject, other.technique) == (row.subject, row.technique) and other.tool != OURS


def _worst(ours: Row, peers: Sequence[Row], compare: Compare) -> _Worse | None:
    """The peer that is the most ahead, without words if none is; None where nothing can be compared."""
    made = [peer for peer in peers if not peer.made.failure]
    if not made or ours.made.failure:
        return None
    found = [one for peer in made if (one := compare(ours, peer)) is not None]
    return max(found, key=lambda one: one.by, default=_Worse(0.0, ""))


def _said(ours: Row, peer: Row, mine: str, its: str, more: str = "") -> str:
    return f"{ours.subject}: {mine} against {its} ({peer.tool}){more}"


def _less_accurate(ours: Row, peer: Row) -> _Worse | None:
    if ours.judged is None or peer.judged is None or ours.judged.accuracy >= peer.judged.accuracy:
        return None
    a, b = peer.judged.hits(), ours.judged.hits()
    low, high = tango(int((~a & b).sum()), int((a & ~b).sum()), len(a))
    sure = "" if high < 0 else ": within the noise of these samples"
    more = f", {100 * (b.mean() - a.mean()):+.2f} [{100 * low:+.2f}, {100 * high:+.2f}] points{sure}"
    return _Worse(float(a.mean() - b.mean()), _said(ours, peer, f"{b.mean():.2%}", f"{a.mean():.2%}", more))


def _slower(ours: Row, peer: Row) -> _Worse | None:
    if ours.judged is None or peer.judged is None:
        return None
    pairs = list(zip(ours.judged.latency, peer.judged.latency, strict=True))
    ratio = float(np.median([mine / its for mine, its in pairs]))
    if ratio < LEAST_SLOWER or not all(mine > its for mine, its in pairs):
        return None
    words = (format_seconds(ours.judged.seconds), format_seconds(peer.judged.seconds))
    return _Worse(ratio, _said(ours, peer, *words))


def _more(of: Callable[[Row], float | None], shown: Callable[[float], str], least: float) -> Compare:
    def compare(ours: Row, peer: Row) -> _Worse | None:
        mine, its = of(ours), of(peer)
        if not mine or not its or mine < least * its:
            return None
        return _Worse(mine / its, _said(ours, peer, shown(mine), shown(its)))

    return compare


COMPARED: dict[str, Compare] = {
    "accuracy": _less_accurate,
    "file": _more(lambda row: row.judged.file_bytes if row.judged else None, format_bytes, LEAST_LARGER),
    "deflated": _more(lambda row: row.judged.deflated_bytes if row.judged else None, format_bytes, LEAST_LARGER),
    "latency": _slower,
    "time of the tool": _more(lambda row: row.made.seconds, format_seconds, LEAST_DEARER),
    "the same without judging": _more(
        lambda row: row.made.seconds - row.made.judging_seconds, format_seconds, LEAST_DEARER
    ),
    "memory of the tool": _more(lambda row: row.made.peak_bytes, format_bytes, LEAST_DEARER),
}
