"""Does a search find more than presets and chance: `python benchmarks/search.py FOLDER --minutes 30 --seeds 3`.

For each task and seed a float network is trained, every preset of the host is made from it, and it is searched twice
at the same time: by `edgekit search`, and by plain random search (recipes drawn blindly, each trained to the end, that
is for its usual epochs, while a search trains the best of them for longer), in two processes side by side, so that
what else the machine does befalls both. All is judged on the test part, which no search has seen. The floor is one
point, and 5,000 samples that choose and 10,000 that judge have told losses of one network that were half a point
apart: so of Fashion-MNIST 10,000 choose, and 52,000 judge, all that nothing was trained with; of spoken digits 900
choose and 900 judge, which is what there is. FOLDER has what is under way; results/search.json has a row for each pair
that is done, and a repeated call, on another day too, does the others (`--again`: all). results/search.md is written
after each. Exit code 1 if a bound is missed.

Hypervolume is what a front dominates between itself and a point that is as bad as is accepted: the floor, and size,
latency and working memory of the float32 file, each of which counts as 1 (Zitzler and Thiele 1999).
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
from compression import SHARED, trained_case
from msgspec import Struct
from msgspec.structs import replace
from tasks import Parts, fashion, spoken

from edgekit.bench.statistics import summarize
from edgekit.pipeline import optimize
from edgekit.report.table import render_markdown
from edgekit.run import Run
from edgekit.search.found import Found
from edgekit.search.run import search_recipes
from edgekit.search.space import PRESETS
from edgekit.search.trials import Sampler
from edgekit.versions import versions

HERE = Path(__file__).resolve().parent
TASKS: dict[str, Callable[[Path], Parts]] = {
    "fashion": partial(fashion, validation=10_000, whole=True),
    "spoken": partial(spoken, test=15, validation=15),
}
PARTS = "fashion-10000-52000-spoken-900-900"
"""How many samples choose, and how many judge."""
FLOOR = 0.01
LEAST_RATIO = 1.2
_SAME_SPEED = 1.05  # measured times that differ by less are the same
_AHEAD = FLOOR / 2  # accuracy that counts

Vector = tuple[float, ...]


class Judged(Struct, frozen=True):
    """A file on the test part: its recipe, the accuracy it loses, bytes, seconds, working memory."""

    recipe: str
    loss: float
    size: float
    seconds: float
    memory: float

    def beats(self, other: Judged, slack: float = 0.0) -> bool:
        """Whether it is at least as good in size, speed and, but for `slack`, in accuracy."""
        cheaper = self.size <= other.size and self.seconds <= other.seconds * _SAME_SPEED
        return cheaper and self.loss <= other.loss + slack


class Row(Struct, frozen=True):
    """One task and seed: recipes tried, hypervolumes, and presets that the front does not beat.

    `ahead` are those of them that lose more than half a point less than every file of the front that costs no more.
    """

    task: str
    seed: int
    tried: int
    tried_blindly: int
    volume: float
    volume_blindly: float
    presets: int
    unbeaten: tuple[str, ...]
    ahead: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many times the hypervolume of random search."""
        return self.volume / self.volume_blindly if self.volume_blindly else float("inf")

    @property
    def holds(self) -> bool:
        """Whether both bounds do."""
        return self.ratio >= LEAST_RATIO and not self.ahead


class Results(Struct, frozen=True):
    """The pairs that are done, all with the same settings."""

    minutes: float
    network: str
    rows: tuple[Row, ...] = ()
    parts: str = ""

    def row(self, task: str, seed: int) -> Row | None:
        """The row of a task and seed, if it is done."""
        return next((one for one in self.rows if (one.task, one.seed) == (task, seed)), None)

    def keep(self, path: Path) -> None:
        """Write rows and page."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        path.with_suffix(".md").write_text(markdown(self), encoding="utf-8")


def begun(path: Path, minutes: float, network: str) -> Results:
    """What earlier calls have found with the same settings, or nothing yet."""
    found = msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else None
    same = found is not None and (found.minutes, found.network, found.parts) == (minutes, network, PARTS)
    return found if found and same else Results(minutes, network, parts=PARTS)


def hypervolume(vectors: Sequence[Vector], bound: Vector) -> float:
    """What the vectors dominate below `bound`, all to be made small, by slicing the last objective."""
    inside = [one for one in vectors if all(x < most for x, most in zip(one, bound, strict=True))]
    if not inside:
        return 0.0
    if len(bound) == 1:
        return bound[0] - min(one[0] for one in inside)
    cuts = [*sorted({one[-1] for one in inside}), bound[-1]]
    return sum(
        (high - low) * hypervolume([one[:-1] for one in inside if one[-1] <= low], bound[:-1])
        for low, high in itertools.pairwise(cuts)
    )


def searched(model: Path, data: Path, out: Path, minutes: float, seed: int, sampler: Sampler) -> Found:
    """The search, made or found again."""
    if (out / "front.json").exists():
        found = msgspec.json.decode((out / "front.json").read_bytes(), type=Found)
        if found.finished:
            return found
    said = lambda text: print(f"  {sampler}: {text}", flush=True) if text.startswith("trial ") else None  # noqa: E731
    return search_recipes(
        model, data=data, out=out, max_drop=FLOOR, time=60 * minutes, seed=seed, sampler=sampler, say=said
    )


def presets(model: Path, data: Path, out: Path) -> list[Judged]:
    """Every preset that the host takes, on the test part."""
    if (out / "run.json").exists():
        run = msgspec.json.decode((out / "run.json").read_bytes(), type=Run)
    else:
        run = optimize(model, data=data, out=out, recipes=list(PRESETS))
    found = []
    for manifest in run.artifacts:
        assert manifest.verification
        measured = summarize(run.measurements[manifest.sha256])
        loss, seconds = -manifest.verification.differences[0].value, measured.p50_seconds.value
        found.append(Judged(manifest.recipe.name, loss, manifest.file_bytes, seconds, measured.arena_bytes or 0))
    return found


def front_of(found: Found) -> list[Judged]:
    """The front on the test part."""
    points = [(kept.point.recipe, kept.test, kept.point.cost) for kept in found.front if kept.test]
    return [
        Judged(recipe, test.value, cost.file_bytes, cost.latency or 0, cost.arena_bytes or 0)
        for recipe, test, cost in points
    ]


def compared(task: str, seed: int, work: Path, minutes: float, network: str) -> Row:
    """One row of the table."""
    model, data = work / f"{task}-{network}-{seed}.keras", work / f"{task}.npz"
    if not data.exists():
        np.savez(data, **TASKS[task](SHARED / "sets"))
    trained_case(task, network, seed, work)
    print(f"{task}, seed {seed}", flush=True)
    fixed = presets(model, data, work / f"presets-{task}-{seed}")
    base = next(one for one in fixed if one.recipe == "float32")
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        ways: list[tuple[str, Sampler]] = [("search", "tpe"), ("random", "random")]
        both = [pool.submit(searched, model, data, work / f"{w}-{task}-{seed}", minutes, seed, s) for w, s in ways]
        ours, blind = (one.result() for one in both)
    front, other = front_of(ours), front_of(blind)
    unbeaten, ahead = (
        tuple(one.recipe for one in fixed if one.loss <= FLOOR and not any(f.beats(one, slack) for f in front))
        for slack in (0.0, _AHEAD)
    )
    volumes = [volume(points, base) for points in (front, other)]
    return Row(task, seed, len(ours.tried), len(blind.tried), *volumes, len(fixed), unbeaten, ahead)


def volume(points: Sequence[Judged], base: Judged) -> float:
    """The hypervolume of a front, each objective as a share of what is accepted."""
    vectors = [
        (one.loss / FLOOR, one.size / base.size, one.seconds / base.seconds, one.memory / base.memory) for one in points
    ]
    return hypervolume(vectors, (1.0, 1.0, 1.0, 1.0))


def markdown(results: Results) -> str:
    """The page of results."""
    header = ("task", "seed", "tried", "at random", "hypervolume", "at random", "ratio", "not beaten", "ahead")
    cells = [
        (
            row.task,
            str(row.seed),
            str(row.tried),
            str(row.tried_blindly),
            f"{row.volume:.4f}",
            f"{row.volume_blindly:.4f}",
            f"{row.ratio:.2f}",
            f"{len(row.unbeaten)} of {row.presets}" + (f": {', '.join(row.unbeaten)}" if row.unbeaten else ""),
            f"{len(row.ahead)}" + (f": {', '.join(row.ahead)}" if row.ahead else ""),
        )
        for row in sorted(results.rows, key=lambda row: (row.task, row.seed))
    ]
    tools = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        f"# Search against presets and chance\n\n{results.network}, {results.minutes:g} minutes each, both at once on "
        f"{os.cpu_count()} cores, floor {FLOOR:g} of accuracy, on the test part. "
        f"`python benchmarks/search.py FOLDER --minutes {results.minutes:g}`.\n\n"
        f"{render_markdown(header, cells)}\n\nA preset within the floor is beaten by a file of the front that loses "
        f"no more, is no larger and, within {_SAME_SPEED - 1:.0%}, no slower; one that is not is ahead if it still is "
        f"where {100 * _AHEAD:g} points of accuracy do not count. Bounds: none is ahead, and a ratio of {LEAST_RATIO}. "
        f"Of Fashion-MNIST 10,000 samples choose and 52,000 judge, of spoken digits 900 and 900.\n\n{tools}\n"
    )


def main() -> None:
    """Compare, write the page, and say whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--network", default="ds-cnn")
    parser.add_argument("--again", action="store_true", help="forget the pairs that are done")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "search.json", help="the page is beside it")
    asked = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit("no folder of shared data: set EDGEKIT_SHARED_DATA")
    work = asked.folder / PARTS
    work.mkdir(parents=True, exist_ok=True)
    results = Results(asked.minutes, asked.network, parts=PARTS)
    results = results if asked.again else begun(asked.out, asked.minutes, asked.network)
    for seed, task in itertools.product(range(asked.seeds), asked.tasks):
        if results.row(task, seed) is None:
            row = compared(task, seed, work, asked.minutes, asked.network)
            results = replace(results, rows=(*results.rows, row))
            results.keep(asked.out)
    print(markdown(results))
    sys.exit(not all(row.holds for row in results.rows))


if __name__ == "__main__":
    main()
