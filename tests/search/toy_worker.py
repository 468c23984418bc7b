"""A worker on a toy search, a process of its own: `python toy_worker.py URL TRIALS SECONDS`.

A trial sleeps, in place of a training or a device; each that is finished is a line of JSON. The space has 30 recipes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from edgekit.search.space import Decision, Space
from edgekit.search.trial import Trial
from edgekit.search.trials import Trials
from edgekit.talk import Line

SPACE = Space(
    "host",
    (
        Decision("format", ("int8", "float16")),
        Decision("shrink", ("none", "channels")),
        Decision("smaller", tuple(range(10, 80, 5)), ("shrink", ("channels",))),
    ),
    {},
)
STARTS = [("int8", {"format": "int8", "shrink": "none"}), ("float16", {"format": "float16", "shrink": "none"})]


def objectives(recipe: str) -> tuple[float, float, float, float]:
    """What a recipe is worth: any law will do."""
    share = float("".join(filter(str.isdigit, recipe.split("-")[0])) or 0) if recipe.startswith("channels") else 0.0
    return (share / 100) ** 2, 100 - share, 50 - share / 2, 1.0


def work(url: str, most: int, seconds: float) -> None:
    """Do trials until there are enough."""

    def judge(trial: Trial) -> Sequence[float]:
        tell(begun=trial.number, recipe=trial.recipe)
        time.sleep(seconds)
        return objectives(trial.recipe)

    def say(text: str) -> None:
        if isinstance(text, Line):
            tell(said=str(text))

    trials = Trials(url, "toy", SPACE, alone=False, say=say)
    trials.begin({"model": "toy"}, STARTS)
    while not (trials.full(most) and not trials.others()):
        done = trials.run(judge, most)
        if done:
            tell(done=done.number, recipe=done.recipe)
        elif trials.full(most):
            time.sleep(0.05)
        elif trials.exhausted() and not trials.others():
            break


def tell(**words: object) -> None:
    """Say something to who started this."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
