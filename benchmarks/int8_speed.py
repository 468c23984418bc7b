"""Is int8 faster: `python benchmarks/int8_speed.py FOLDER`, where FOLDER keeps the files that are made.

Thirteen architectures of keras.applications, random weights, 96x96: edgekit's int8 file against those of the TFLite
converter, of litert-quantizer, and, where it takes the architecture, of tfmot (tensorflow-model-optimization), each by
its own defaults and its own calibration on the same samples, and against the float32 file. All interpreters of an
architecture take turns, call by call, in several processes. Writes results/int8_speed.md; what is measured is kept in
FOLDER/rows.json, so that a repeated call goes on. Exit code 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from applications import NAMES
from int8_files import prepare
from msgspec import Struct

from edgekit.forecast.xnnpack import forecast_xnnpack
from edgekit.report.table import render_table
from edgekit.surgery.edit import Edit
from edgekit.surgery.rewrite import rewrite
from edgekit.tflite.graph import read_graph
from edgekit.units import format_seconds
from edgekit.versions import versions

HERE = Path(__file__).resolve().parent
PEERS = ("converter", "litert-quantizer", "tfmot")
GEOMETRIC_MEAN, LEAST_RATIO = 1.4, 0.98
CALLS, PROCESSES = 3, 5

Array = np.ndarray[Any, Any]


class Row(Struct, frozen=True):
    """One architecture on so many threads: medians in seconds and ratios of pairs, by variant; pieces; noise in dB."""

    name: str
    threads: int
    seconds: dict[str, float]
    ratios: dict[str, float]
    pieces: dict[str, int]
    rewritten: str
    noise: dict[str, float]

    @property
    def best_peer(self) -> float:
        """How many times as long the faster of the peers takes."""
        return min(self.ratios[peer] for peer in PEERS if peer in self.ratios)

    @property
    def holds(self) -> bool:
        """Whether no peer is faster, nor the float file."""
        return min(self.best_peer, self.ratios["float32"]) >= LEAST_RATIO


class Kept:
    """Rows that were measured, in a file, each under all that it was measured on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = msgspec.json.decode(path.read_bytes(), type=dict[str, Row]) if path.exists() else {}

    def row(self, name: str, files: Mapping[str, bytes], threads: int, rounds: int, samples: Array | None) -> Row:
        """The row of these files, measured unless it is here; other bytes by changed rules are measured anew."""
        all_files = {**files, "edgekit": rewrite(files["before"]).file}
        digests = (hashlib.sha256(file).hexdigest()[:16] for _, file in sorted(all_files.items()))
        key = " ".join([name, *digests, str(threads), str(rounds), *(["noise"] if samples is not None else [])])
        if key not in self.rows:
            self.rows[key] = compared(name, files, threads, rounds, samples)
            self.path.write_bytes(msgspec.json.encode(self.rows))
        return self.rows[key]


def turns(files: Mapping[str, bytes], threads: int, rounds: int) -> list[dict[str, list[float]]]:
    """What `turns_here` gives in each of several processes, which share the rounds.

    What is fixed within a process, such as where its memory lies, is no property of a file: edgekit's MobileNetV2 and
    the converter's are the same operators and run the same instructions (callgrind: 18,126,842 and 18,127,148 a call),
    and six processes of two threads on a busy machine had them at 0.97 to 1.09 of each other.
    """
    found, share = [], -(-rounds // PROCESSES)
    for seed in range(PROCESSES):
        with get_context("spawn").Pool(1) as child:
            found.append(child.apply(turns_here, (dict(files), threads, share, seed)))
    return found


def turns_here(files: Mapping[str, bytes], threads: int, rounds: int, seed: int) -> dict[str, list[float]]:
    """Seconds of a call of each file in this process, round by round; loaded and called in a new order each time.

    In its turn a file is called twice unseen, then three times: by then its values are back in the cache, and the
    threads of the one before sleep. On one thread the time is that of the processor, which other work disturbs
    less; on more it is that of the clock.
    """
    clock, rng = time.process_time if threads == 1 else time.perf_counter, np.random.default_rng(seed)
    interpreters = {name: _loaded(files[name], threads) for name in rng.permutation([*files])}
    found: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(rounds):
        for name in rng.permutation([*files]):
            interpreters[name].invoke()
            interpreters[name].invoke()
            began = clock()
            for _ in range(CALLS):
                interpreters[name].invoke()
            found[name].append((clock() - began) / CALLS)
    return found


def _loaded(file: bytes, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file, num_threads=threads)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        rng = np.random.default_rng(0)
        whole = detail["dtype"] != np.float32
        values = rng.integers(-128, 128, detail["shape"]) if whole else rng.uniform(-1, 1, detail["shape"])
        interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
    return interpreter


def compared(name: str, files: Mapping[str, bytes], threads: int, rounds: int, samples: Array | None) -> Row:
    """Measure the variants of one architecture; noise is left out without samples."""
    done = rewrite(files["before"])
    variants = {**files, "edgekit": done.file}
    found = turns(variants if done.applied else files, threads, rounds)
    for one in found:
        one.setdefault("edgekit", one["before"])  # the same bytes
    seconds = {key: float(np.median([np.median(one[key]) for one in found])) for key in variants}
    return Row(
        name,
        threads,
        seconds,
        {key: _ratio([(one[key], one["edgekit"]) for one in found]) for key in variants},
        {key: forecast_xnnpack(read_graph(file)).partitions for key, file in variants.items()},
        str(done),
        {} if samples is None else noises(variants, samples),
    )


def _ratio(processes: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    """The median over processes of the median over their rounds: what lasts longer than a round slows both."""
    return float(np.median([np.median(np.divide(a, b)) for a, b in processes]))


def noises(files: Mapping[str, bytes], samples: Array) -> dict[str, float]:
    """Signal over quantization noise, in dB, of what goes into the last SOFTMAX, before the rewriting and after it."""
    answers = {key: _logits(files[key], samples) for key in ("float32", "before", "edgekit")}
    signal = answers["float32"]
    return {
        key: float(10 * np.log10((signal**2).sum() / ((answers[key] - signal) ** 2).sum()))
        for key in ("before", "edgekit")
    }


def _logits(file: bytes, samples: Array) -> Array:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=_before_softmax(file))
    interpreter.allocate_tensors()
    (first,), (last,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for sample in samples:
        interpreter.set_tensor(first["index"], _stored(sample[None], first))
        interpreter.invoke()
        values = interpreter.get_tensor(last["index"]).astype(np.float64)
        scale, zero = last["quantization"]
        found.append((values - zero) * scale if scale else values)
    return np.array(found)


def _stored(values: Array, detail: Mapping[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    return np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8) if scale else values.astype(np.float32)


def _before_softmax(file: bytes) -> bytes:
    """The graph up to the input of its last SOFTMAX: the probabilities of a thousand classes are all zero in int8."""
    edit = Edit(file)
    last = [each for each in edit.graph.operators if edit.name(each) == "SOFTMAX"][-1]
    wanted = {int(last.inputs[0])}
    kept = []
    for operator in reversed(edit.graph.operators):
        if wanted.intersection(map(int, operator.outputs)):
            kept.append(operator)
            wanted.update(map(int, operator.inputs))
    edit.graph.operators, edit.graph.outputs = kept[::-1], np.array([last.inputs[0]], np.int32)
    edit.tree.signatureDefs = []
    return edit.done()


def report(rows: Sequence[Row]) -> str:
    """The page of results."""
    parts = ["# int8 against int8, and against float32", "", _setting(), ""]
    for threads in sorted({row.threads for row in rows}):
        mine = [row for row in rows if row.threads == threads]
        mean = geometric_mean(row.best_peer for row in mine)
        parts += [f"## {threads} thread{'s' if threads > 1 else ''}", "", "```", _table(mine), "```", ""]
        own = min(row.ratios["float32"] for row in mine)
        parts += [
            f"Best peer over edgekit: geometric mean {mean:.2f}, least {min(row.best_peer for row in mine):.2f}. "
            f"Its own float32 file over edgekit: least {own:.2f}.",
            "",
        ]
    first = [row for row in rows if row.threads == rows[0].threads]
    parts += ["## What was rewritten, and what it did to the values", "", *_rewriting(first), ""]
    return "\n".join(parts)


def geometric_mean(values: Iterable[float]) -> float:
    """The n-th root of the product."""
    return float(np.exp(np.mean(np.log([*values]))))


def _setting() -> str:
    tools = versions()
    named = ", ".join(f"{name} {tools[name]}" for name in ("ai-edge-litert", "litert-quantizer", "tensorflow"))
    return (
        f"`python benchmarks/int8_speed.py FOLDER` on the build host (x86-64, {os.cpu_count()} cores), {named}. "
        "Random weights with normalization statistics of the samples, 96x96, batch 1. Calls in turns of "
        "random order; medians of processor time on one thread, of wall time on two, over "
        "five processes. `before` is edgekit's file before it was rewritten."
    )


def _table(rows: Sequence[Row]) -> str:
    shown = ("float32", *PEERS, "before", "edgekit")
    head = ["architecture", *shown, "best peer / edgekit", "float32 / edgekit", "pieces before", "after"]
    return render_table(
        head,
        [
            [
                row.name,
                *(format_seconds(row.seconds[key]) if key in row.seconds else "-" for key in shown),
                f"{row.best_peer:.2f}",
                f"{row.ratios['float32']:.2f}",
                str(row.pieces["before"]),
                str(row.pieces["edgekit"]),
            ]
            for row in rows
        ],
    )


def _rewriting(rows: Sequence[Row]) -> list[str]:
    """A line for each architecture."""
    found = []
    for row in rows:
        noise = f" (SQNR {row.noise['before']:.1f} dB before, {row.noise['edgekit']:.1f} dB after)" if row.noise else ""
        found.append(f"- {row.name}{noise}: {row.rewritten or 'nothing'}")
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Make what is missing, measure, write the page; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files are kept")
    parser.add_argument("--only", nargs="*", default=NAMES, choices=NAMES, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, nargs="*", default=(1, 2))
    parser.add_argument("--output", type=Path, default=HERE / "results" / "int8_speed.md")
    options = parser.parse_args(words)
    rows, kept = [], Kept(options.folder / "rows.json")
    for name in options.only:
        files, samples = prepare(name, options.folder)
        for threads in options.threads:
            shown = samples if threads == options.threads[0] else None
            rows.append(kept.row(name, files, threads, options.rounds, shown))
            print(f"{name}, {threads} threads: {rows[-1].ratios}", file=sys.stderr, flush=True)
        options.output.write_text(report(rows))
    means = [geometric_mean(row.best_peer for row in rows if row.threads == threads) for threads in options.threads]
    return int(min(means) < GEOMETRIC_MEAN or not all(row.holds for row in rows))


if __name__ == "__main__":
    sys.exit(main())
