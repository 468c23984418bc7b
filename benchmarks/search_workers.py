"""Do two workers find a front sooner than one: `python benchmarks/search_workers.py --seeds 10 --seconds 12`.

A trial is a sleep in place of a device and a training, so that the cores of this machine do not bound what is measured:
the storage, the turns at drawing, and that a recipe is drawn before those at hand are known. What a recipe is worth is
a law written here. For each seed a search by one worker and one by two run until their front has the given share of the
hypervolume of the front of all recipes; the ratio of their times is bounded. Exit code 1 if the bound is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from search import Vector, hypervolume

from edgekit.report.table import render_markdown
from edgekit.search.front import nondominated
from edgekit.search.space import Choices, Decision, Space
from edgekit.search.trial import Trial
from edgekit.search.trials import Trials
from edgekit.versions import versions

HERE = Path(__file__).resolve().parent
LEAST_RATIO = 1.6
BOUND = (1.0, 1.0, 1.0, 1.0)
_WAYS = ("channels", "student", "factorize")
_BYTES = {"float32": 1.0, "float16": 0.5, "dynamic-int8": 0.27, "int8": 0.26, "int16x8": 0.27}
_TIME = {"float32": 1.0, "float16": 1.0, "dynamic-int8": 0.7, "int8": 0.4, "int16x8": 1.4}
_LOST = {"float32": 0.0, "float16": 0.01, "dynamic-int8": 0.1, "int8": 0.25, "int16x8": 0.05}
_COSTS = {"none": 0.0, "channels": 0.9, "student": 1.2, "factorize": 1.6}
SPACE = Space(
    "host",
    (
        Decision("format", tuple(_BYTES)),
        Decision("shrink", ("none", *_WAYS)),
        Decision("smaller", tuple(range(10, 95, 5)), ("shrink", _WAYS)),
        Decision("qat", (False, True), ("format", ("int8", "int16x8"))),
        Decision("calibration", ("minmax", "percentile:99.99", "mse"), ("format", ("int8", "int16x8"))),
    ),
    {},
)


class Row(Struct, frozen=True):
    """One seed: seconds until the front was reached, and trials, by one worker and by two."""

    seed: int
    one: float
    two: float
    trials_one: int
    trials_two: int


def worth(taken: Choices) -> Vector:
    """Loss, bytes, latency and memory of a recipe, each as a share of what is accepted."""
    share, way, form = int(taken.get("smaller", 0)) / 100, str(taken.get("shrink", "none")), str(taken["format"])
    mended = (0.4 if taken.get("qat") else 1.0) * (0.8 if taken.get("calibration") == "mse" else 1.0)
    loss = _COSTS[way] * share**2 + mended * _LOST[form]
    rest = 1 - share * (0.8 if way == "factorize" else 1.0)
    return loss, _BYTES[form] * rest, _TIME[form] * (0.1 + 0.9 * rest), (0.3 + 0.7 * rest) * math.sqrt(_BYTES[form])


def volume(vectors: Sequence[Vector]) -> float:
    """The hypervolume of those that nothing beats."""
    return hypervolume([vectors[index] for index in nondominated(vectors)], BOUND)


def work(url: str, name: str, seed: int, seconds: float) -> None:
    """Do trials until killed, or all were tried; each that is finished is a line. Begins when a line comes in."""
    trials = Trials(url, name, SPACE, seed, alone=False)
    trials.begin({"model": "a law"}, [])
    say("ready")
    sys.stdin.readline()

    def judge(trial: Trial) -> Vector:
        time.sleep(seconds)
        return worth(trial.choices)

    while True:
        if done := trials.run(judge):
            say(json.dumps(worth(done.choices)))
        elif trials.exhausted() and not trials.others():
            break


def say(line: str) -> None:
    """A line to who started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def reached(url: str, workers: int, seed: int, seconds: float, least: float) -> tuple[float, int]:
    """Seconds and trials until the front has the hypervolume."""
    words = [sys.executable, __file__, "--work", f"seed{seed}-of{workers}", str(seed), str(seconds)]
    crew = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    found: list[Vector] = []
    enough = threading.Event()

    def listen(one: subprocess.Popen[str]) -> None:
        assert one.stdout
        for line in one.stdout:
            found.append(tuple(json.loads(line)))
            if not enough.is_set() and volume(found) >= least:
                enough.set()

    try:
        for one in crew:
            assert one.stdin
            one.stdin.write(f"{url}\n")  # it may have a password, and everybody sees the words of a command
            one.stdin.flush()
        for one in crew:
            assert one.stdout
            assert one.stdout.readline() == "ready\n"
        begun = time.monotonic()
        for one in crew:
            assert one.stdin
            one.stdin.write("go\n")
            one.stdin.flush()
            threading.Thread(target=listen, args=(one,), daemon=True).start()
        enough.wait()
        return time.monotonic() - begun, len(found)
    finally:
        for one in crew:
            one.kill()
            one.wait()


def ratio(rows: Sequence[Row]) -> tuple[float, float, float]:
    """How many times sooner two are on average over the seeds, with its 95 % bootstrap interval."""
    times = np.array([(row.one, row.two) for row in rows])
    drawn = times[np.random.default_rng(0).integers(len(rows), size=(10_000, len(rows)))].mean(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    mean = times.mean(axis=0)
    return float(mean[0] / mean[1]), float(low), float(high)


def markdown(rows: Sequence[Row], seconds: float, share: float, storage: str) -> str:
    """The page of results."""
    header = ("seed", "one worker, s", "trials", "two workers, s", "trials", "ratio")
    cells = [
        (str(r.seed), f"{r.one:.0f}", str(r.trials_one), f"{r.two:.0f}", str(r.trials_two), f"{r.one / r.two:.2f}")
        for r in rows
    ]
    mean, low, high = ratio(rows)
    tools = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        f"# Two workers against one\n\nA trial is a sleep of {seconds:g} s in place of a training and a device, so the "
        f"{os.cpu_count()} cores of this machine do not bound it; what a recipe is worth is a law. Until the front has "
        f"{share:.0%} of the hypervolume of the front of all {len(list(SPACE.everything(10_000)))} recipes; {storage}. "
        f"`python benchmarks/search_workers.py --seeds {len(rows)} --seconds {seconds:g}`.\n\n"
        f"{render_markdown(header, cells)}\n\nMean times: {mean:.2f} times sooner (95 % interval {low:.2f} to "
        f"{high:.2f}, bootstrap over the seeds). Bound: {LEAST_RATIO}.\n\n{tools}\n"
    )


def main() -> None:
    """Compare, write the page, and say whether the bound holds."""
    if sys.argv[1:2] == ["--work"]:
        return work(sys.stdin.readline().strip(), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--share", type=float, default=0.7)
    parser.add_argument(
        "--storage",
        default=os.environ.get("EDGEKIT_STORAGE"),
        help="URL of a database, better in EDGEKIT_STORAGE; without one SQLite in a temporary folder",
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / "search_workers.md")
    asked = parser.parse_args()
    least = asked.share * volume([worth(taken) for taken in SPACE.everything(10_000)])
    with tempfile.TemporaryDirectory() as folder:
        url = asked.storage or f"sqlite:///{folder}/study.db"
        found: dict[tuple[int, int], tuple[float, int]] = {}

        def run(seed: int, workers: int) -> None:
            found[seed, workers] = reached(url, workers, seed, asked.seconds, least)
            print(f"seed {seed}, {workers} workers: {found[seed, workers][0]:.0f} s", flush=True)

        runs = [threading.Thread(target=run, args=(seed, n)) for seed in range(asked.seeds) for n in (1, 2)]
        for one in runs:
            one.start()
        for one in runs:
            one.join()
    rows = [
        Row(seed, found[seed, 1][0], found[seed, 2][0], found[seed, 1][1], found[seed, 2][1])
        for seed in range(asked.seeds)
    ]
    page = markdown(rows, asked.seconds, asked.share, (asked.storage or "sqlite:").partition(":")[0])
    asked.out.write_text(page, encoding="utf-8")
    print(page)
    sys.exit(ratio(rows)[0] < LEAST_RATIO)


if __name__ == "__main__":
    main()
