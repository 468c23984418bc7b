"""Run a search, from budgets to a front of files that keep them.

    found = search_recipes("model.keras", data="data.npz", target="host", max_drop="1%", max_bytes="300K",
                           time="2h", out="found")
    found.accept()

Choices are made on the validation part. The test part is not in the data that trials see; it judges the finished
front, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import Any

from edgekit.dataset import Dataset, load_for, refuse_missing
from edgekit.model import load_model
from edgekit.search.budget import Budget
from edgekit.search.clock import Clock
from edgekit.search.crew import crew
from edgekit.search.deadline import Deadline, seconds_of, terminated
from edgekit.search.findings import Findings
from edgekit.search.found import Found
from edgekit.search.front import Prefer
from edgekit.search.loop import Search
from edgekit.search.order import Order
from edgekit.search.rungs import Rungs
from edgekit.search.shelf import Shelf, shelf
from edgekit.search.space import Space
from edgekit.search.trial import TimeUp
from edgekit.search.trials import Sampler, Trials, local
from edgekit.search.validation_part import with_validation
from edgekit.talk import Say
from edgekit.target import Target
from edgekit.workspace import Workspace


def search_recipes(
    model: str | Path | Any,
    *,
    data: str | Path | Dataset | Any,
    out: str | Path,
    target: str | Path | Target = "host",
    max_drop: str | float | None = None,
    min_score: float | None = None,
    max_bytes: str | int | None = None,
    max_download: str | int | None = None,
    max_latency: str | float | None = None,
    max_ram: str | int | None = None,
    prefer: Prefer | None = None,
    device: str | Sequence[str] | None = None,
    benchmark: bool = True,
    time: str | float | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    name: str = "search",
    storage: str | None = None,
    workers: int = 1,
    sampler: Sampler = "tpe",
    data_options: Mapping[str, object] | None = None,
    trust: bool = False,
    say: Say = lambda _: None,
) -> Found:
    """Search the recipes for a model on a target for the files that lose and take the least within budgets.

    `time` is that of this call (`"2h"`, or seconds), `trials` how many there are in all; without both the search goes
    on until each recipe was tried. `epochs` replace those of every training. The same call with the same `out` goes on
    where a former one ended, however that was; see `edgekit.search.shelf` for what is in `out`.

    `workers` processes of this machine do the trials. `storage` is the URL of a database that calls on other machines
    share: each does trials, and each `out` gets the whole front. Several devices of one kind are measured side by side.
    `say` gets a line of text for each step and trial: `say=print` shows the progress.

    Raises an InputError before any work for whatever cannot be used, or where the time is over before one trial is,
    RunError or DeviceError where nothing can be run.
    """
    order = Order.of({key: value for key, value in locals().items() if key != "say"})
    board, budget = order.checked()
    deadline = Deadline(say, seconds_of(time))
    with shelf(Path(out), name) as place, terminated(), deadline:
        job, judges = prepared(order, board, budget, place, deadline, say)
        job.begin(order.question(job.rungs))
        if workers > 1:
            crew(order, place, deadline, say, lambda: len(job.trials.finished()))
        else:
            job.loop(deadline, trials)
        job.ended(deadline)
        return job.findings.finish(judges)


def attend(order: Order, number: int, say: Say) -> None:
    """Do the trials of one worker of several on this machine, which another process has begun and will finish."""
    board, budget = order.checked()
    deadline = Deadline(say, seconds_of(order.time))
    place = Shelf(Path(order.out), number, order.name)
    try:
        job, _ = prepared(order, board, budget, place, deadline, say)
        job.join(order.question(job.rungs))
        job.loop(deadline, order.trials)
    except TimeUp:
        return


def prepared(
    order: Order, board: Target, budget: Budget, place: Shelf, deadline: Deadline, say: Say
) -> tuple[Search, Dataset]:
    """A search that can be begun or gone on with, and the data that judges what it finds."""
    pool = order.pool(board, deadline.talk)
    deadline.say("load the model")
    refuse_missing(order.data, order.data_options, order.trust)
    source = load_model(order.model, trust=order.trust)
    whole = load_for(source.inputs, source.outputs, order.data, order.data_options, order.trust)
    chooses, warnings = with_validation(whole)
    work = Workspace(place.work, deadline.say)
    seen = replace(chooses, test=None)
    download = budget.max_download is not None
    rungs = Rungs(source, seen, board, Clock(board, pool), work, deadline.say, order.trust, download)
    if pool and order.workers > 1 and "local" in pool.addresses:
        warnings = (*warnings, "latency was measured on the machine on which other workers trained meanwhile")
    space = Space.of(source, seen, board, budget, order.epochs)
    storage, alone = order.storage or local(place.folder), order.storage is None and place.number == 0
    shared = f"{gethostname()}:{place.folder.resolve()}/" if order.storage else ""
    disks = tuple(f"{shared}{disk}" for disk in place.disks)
    trials = Trials(storage, order.name, space, order.seed, order.sampler, alone, deadline.talk, disks)
    told = (*whole.warnings, *warnings)
    findings = Findings(rungs, budget, place, trials, order.prefer, told, exchange=order.storage is not None)
    return Search(findings, say), replace(chooses, test=whole.test)
