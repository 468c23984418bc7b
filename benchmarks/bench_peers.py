"""edgekit and its peers, side by side: `make bench-peers`.

Each tool makes its files of the same trained networks and the same data, in a process of its own, which is watched;
a tool that fails is a row. Then one judge takes all files of a network in turns. What is done is kept in
results/peers.json, so a repeated call goes on where the last one ended, unless code or packages have changed. Writes
results/peers.md. `--subject` and `--technique` do a part; benchmarks/README.md says what is compared.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
from job import Making
from making import REFUSED
from peers_judge import arenas, clocks, judged
from peers_page import page
from peers_plan import BATCH, RATE, RECIPES, SCRIPTS, SEED, SUBJECTS, TOOLS, Subject, training_of
from peers_results import OURS, TECHNIQUES, Made, Results, Row
from suite import describe
from tasks import ANYWHERE, task
from watched import Watched, watched

from edgekit.stages.training import Training
from edgekit.versions import PACKAGES, SECOND_ENGINE, versions

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("EDGEKIT_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
MOST_SECONDS = 900.0


@dataclass(frozen=True)
class Bench:
    """Where data, float models and files are, and what must be the same for them to be used again."""

    folder: Path

    def float_model(self, subject: Subject) -> Making:
        """The trained float model, made unless it is there. Raises RuntimeError if it cannot be."""
        job = self._job(subject, "float", "", Training(subject.first, BATCH, RATE), "")
        if not Path(job.model).exists():
            done = _run("make_float.py", job)
            if done.code != 0:
                raise RuntimeError(f"{subject.name} does not train: {_last(done.stderr)}")
        return job

    def file(self, row: Row) -> Path:
        """Where the file of a row is."""
        return self.folder / ("-".join(row.key).replace(" ", "_") + ".tflite")

    def make(self, subject: Subject, technique: str, tool: str) -> Row:
        """Let a tool make its file, or fail."""
        recipe = RECIPES[technique].format(later=subject.later, student=subject.student)
        row = Row(subject.name, technique, tool, Made())
        job = self._job(subject, technique, tool, training_of(recipe), recipe, self.file(row))
        done = _run(SCRIPTS[tool], job)
        return replace(row, made=made(done))

    def _job(
        self, subject: Subject, technique: str, tool: str, training: Training, recipe: str, out: Path | None = None
    ) -> Making:
        task(subject.task, SHARED, self.folder)
        stem = self.folder / subject.name.replace(" ", "_")
        return Making(
            network=subject.network,
            data=str(self.folder / f"{subject.task}.npz"),
            epochs=training.epochs,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            seed=SEED,
            weights=f"{stem}.npz",
            technique=technique,
            tool=tool,
            recipe=recipe,
            model=f"{stem}.keras",
            out=str(out or ""),
        )


def made(done: Watched) -> Made:
    """What a tool's process has told, or how it failed."""
    results = [line.removeprefix("result ") for line in done.stdout.splitlines() if line.startswith("result ")]
    if done.code == 0 and results:
        told: dict[str, Any] = msgspec.json.decode(results[-1])
        peak = max(done.peak_bytes, told.pop("peak_bytes"))
        return Made(peak_bytes=peak, others=done.others, **told)
    return Made(failure=failure(done), others=done.others)


def failure(done: Watched) -> str:
    """Why a process gave no file: the line that it ended with, its signal, or the clock."""
    if done.code is None:
        return f"it was not done after {done.seconds:.0f} s"
    if done.code < 0:
        return f"it was killed by signal {-done.code}"
    return _last(done.stdout if done.code == REFUSED and done.stdout.strip() else done.stderr)


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _run(script: str, job: Making) -> Watched:
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return watched([sys.executable, HERE / "peers" / script, job.word()], MOST_SECONDS, env)


def fingerprint() -> str:
    """A digest of all that decides what is in a file or how long it takes: code and packages."""
    code = [
        *HERE.glob("peers/*.py"),
        *(HERE / f"{name}.py" for name in ("networks", "tasks", "int8_files", "variants", "peers_plan")),
    ]
    digest = hashlib.sha256(repr(sorted(_packages().items())).encode())
    for path in sorted([*code, *HERE.parent.glob("edgekit/**/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _packages() -> dict[str, str]:
    return versions((*PACKAGES, *SECOND_ENGINE, "tflite-micro", "ethos-u-vela", "scikit-learn"))


def begun(notes: Path) -> Results:
    """What earlier calls have found with the same code and packages, or nothing yet."""
    now = fingerprint()
    if notes.exists():
        found = msgspec.json.decode(notes.read_bytes(), type=Results)
        if found.fingerprint == now:
            return found
        print("code or packages have changed: all is made anew", file=sys.stderr)
    described = describe()
    return Results(now, _packages(), described.machine, described.conditions)


def with_files(
    found: Results, bench: Bench, subjects: Sequence[Subject], techniques: Sequence[str]
) -> Iterator[Results]:
    """The results after each file that was missing."""
    for subject, technique in product(subjects, techniques):
        for tool in TOOLS[technique]:
            if (subject.name, technique, tool) not in {row.key for row in found.rows}:
                bench.float_model(subject)
                row = bench.make(subject, technique, tool)
                print(", ".join(row.key), row.made, file=sys.stderr, flush=True)
                found = replace(found, rows=(*found.rows, row))
                yield found


def with_judgements(found: Results, bench: Bench, subjects: Sequence[Subject]) -> Iterator[Results]:
    """The results after each network that has files without a judgement; all of its files take turns anew."""
    for subject in subjects:
        mine = [row for row in found.rows if row.subject == subject.name and not row.made.failure]
        if any(row.judged is None for row in mine):
            files = {row: bench.file(row) for row in mine}
            done, others = judged(files, task(subject.task, SHARED, bench.folder))
            rows = {row.key: row for row in done}
            shares = {**found.judging_others, subject.name: others}
            found = replace(found, rows=tuple(rows.get(row.key, row) for row in found.rows), judging_others=shares)
            yield found


def with_clocks(found: Results, bench: Bench) -> Iterator[Results]:
    """The results after each full int8 file of edgekit that was not timed by all clocks."""
    for row in found.rows:
        if row.judged and row.key[1:] == ("int8", OURS) and row.subject not in {one.subject for one in found.clocks}:
            found = replace(found, clocks=(*found.clocks, clocks(row.subject, bench.file(row))))
            yield found


def with_arenas(found: Results, bench: Bench) -> Iterator[Results]:
    """The results after each full int8 file whose memory on a microcontroller was not looked at."""
    for row in found.rows:
        known = {(one.subject, one.technique, one.tool) for one in found.arenas}
        if row.judged and row.technique in ("int8", "qat") and row.key not in known:
            found = replace(found, arenas=(*found.arenas, arenas(row, bench.file(row))))
            yield found


def main(words: Sequence[str] | None = None) -> int:
    """Do what is missing; results and page are written after each step."""
    chosen, subjects = asked(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no tool is left behind
    chosen.output.mkdir(parents=True, exist_ok=True)
    notes = chosen.output / "peers.json"
    techniques = chosen.technique or [*TECHNIQUES]
    found = begun(notes)
    found = forgotten(found, subjects, techniques) if chosen.again else found
    bench = Bench(chosen.work / found.fingerprint)
    bench.folder.mkdir(parents=True, exist_ok=True)
    found = replace(found, rows=tuple(row for row in found.rows if row.made.failure or bench.file(row).exists()))
    phases: tuple[Callable[[Results], Iterator[Results]], ...] = (
        lambda known: with_files(known, bench, subjects, techniques),
        lambda known: with_judgements(known, bench, subjects),
        lambda known: with_clocks(known, bench),
        lambda known: with_arenas(known, bench),
    )
    for phase in phases:
        for step in phase(found):
            found = step
            kept(found, notes)
    kept(found, notes)
    return 0


def forgotten(found: Results, subjects: Sequence[Subject], techniques: Sequence[str]) -> Results:
    """The results without those of some networks and techniques."""
    gone = {*product([one.name for one in subjects], techniques)}
    return replace(
        found,
        rows=tuple(row for row in found.rows if row.key[:2] not in gone),
        clocks=tuple(one for one in found.clocks if (one.subject, "int8") not in gone),
        arenas=tuple(one for one in found.arenas if (one.subject, one.technique) not in gone),
    )


def kept(found: Results, notes: Path) -> None:
    """Write the results and the page of them."""
    found.save(notes)
    notes.with_suffix(".md").write_text(page(found), encoding="utf-8")


def asked(words: Sequence[str] | None) -> tuple[argparse.Namespace, list[Subject]]:
    """The command line, and the networks that it means."""
    possible = [one.name for one in SUBJECTS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--subject", action="append", choices=possible, metavar="NAME", help=f"only this one: {'; '.join(possible)}"
    )
    parser.add_argument("--technique", action="append", choices=TECHNIQUES, help="only this one")
    parser.add_argument("--again", action="store_true", help="forget what was found of these")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "peers", help="for data, models and files")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of peers.json and peers.md")
    chosen = parser.parse_args(words)
    here = [one for one in SUBJECTS if one.task in ANYWHERE or "EDGEKIT_SHARED_DATA" in os.environ]
    subjects = [one for one in SUBJECTS if one.name in chosen.subject] if chosen.subject else here
    if not (SHARED / "sets").is_dir() and (absent := [one.name for one in subjects if one.task not in ANYWHERE]):
        parser.error(f"no data for {absent[0]!r}: EDGEKIT_SHARED_DATA names no folder with sets/ in it")
    return chosen, subjects


if __name__ == "__main__":
    sys.exit(main())
