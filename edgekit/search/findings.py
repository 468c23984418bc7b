"""Findings: the front of a search, laid on its shelf as trials end, and judged once by the test part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from edgekit.artifact import Artifact, scored
from edgekit.dataset import Dataset
from edgekit.errors import InputError, OutputError
from edgekit.job import Job, runtime_for
from edgekit.recipe import Recipe
from edgekit.report.search_page import search_page
from edgekit.search.budget import Budget, blurred, keeps, sure, timed_by_devices
from edgekit.search.exchange import forget, give, take
from edgekit.search.found import Found, Kept
from edgekit.search.front import Prefer, front, pick, preference
from edgekit.search.point import Loss, Point
from edgekit.search.pool import unlike
from edgekit.search.rungs import Rungs
from edgekit.search.shelf import Shelf
from edgekit.search.trial import Tried
from edgekit.search.trials import Trials
from edgekit.stages.training import own_code
from edgekit.tflite.inspect import read_contents
from edgekit.versions import versions

PLAIN = Recipe.parse("float32")
YARDSTICK = "float file on "
"""What the storage remembers the latency of the float32 file under, before the name of a device."""
MADE_BY = "made by "
"""What the storage remembers the versions under that trials were made by, before their names."""
SCORED_BY = "scored by "
"""What the storage remembers the user's own metric under, before the digest of its file."""


class Findings:
    """What the trials of a search found, judged by the budget; with `exchange` files go to the folders of others, too.

    Raises DataError without one metric, InputError for budgets that nothing can be held against.
    """

    def __init__(
        self,
        rungs: Rungs,
        budget: Budget,
        place: Shelf,
        trials: Trials,
        prefer: Prefer | None,
        warnings: tuple[str, ...],
        exchange: bool,
    ) -> None:
        self.rungs, self.budget, self.place, self.trials = rungs, budget, place, trials
        self.prefer, self.warnings, self.exchange = prefer or preference(budget), warnings, exchange
        self.download = budget.max_download is not None
        self.metric = rungs.data.one_metric("a search")
        self.reference = Job(rungs.makings(PLAIN)).reference([1], runtime_for(rungs.target))
        budget.refuse_floor(self.reference.scores, self.metric)
        self.floor = budget.greatest_loss(self.reference.scores, self.metric)
        self._credited: tuple[dict[str, str], str] | None = None
        self._refuse_budget()

    def _refuse_budget(self) -> None:
        contents, clock = read_contents(self.rungs.makings(PLAIN).float_file(self.rungs.model, 1)), self.rungs.clock
        if "drop" in self.trials.space.left_out:
            self.budget.refuse_file(contents)
        if self.budget.max_latency and not clock.tells(contents):
            measure = "measure on one with --device, or " if timed_by_devices(self.rungs.target) else ""
            raise InputError(
                f"--max-latency: latency on {self.rungs.target.name} can neither be measured nor estimated here",
                f"{clock.unknown(contents)}; {measure}leave --max-latency out",
            )

    def front(self) -> tuple[Point, ...]:
        """What nothing beats."""
        return front(self._points(), *self._limits)

    def _points(self) -> list[Point]:
        return [one.point for one in self.trials.finished() if one.point]

    def gains(self) -> list[float]:
        """What the other epochs brought to each recipe that got them."""
        pairs = [(one.proxy, one.point) for one in self.trials.finished()]
        return [proxy.loss.value - point.loss.value for proxy, point in pairs if proxy and point]

    @property
    def _limits(self) -> tuple[Budget, float]:
        return self.budget, self.floor

    def refused(self, point: Point) -> str:
        """What of a point is not accepted, in words; empty where all is."""
        if not keeps(point.loss, self.floor):
            return f"loses {point.loss.value:.4g}, more than {self.floor:.4g}"
        return self.budget.over(point.cost)

    def shelve(self, recipe: Recipe, point: Point) -> None:
        """Write the artifact of a point before the trial counts, if nothing beats it; of equals it may be the first."""
        if point in front([point, *self._points()], *self._limits):
            self._lay(recipe)

    def _lay(self, recipe: Recipe) -> None:
        """Make the artifact of a recipe of what its stages left on the disk, and write it."""
        makings = self.rungs.makings(recipe)
        job = Job(makings)
        manifest = job.manifest(self.rungs.target, recipe, self.reference)
        artifact = Artifact(manifest, job.files[manifest.sha256])
        self.place.put(artifact)
        if self.exchange:
            give(self.trials, artifact)

    def credit(self) -> None:
        """Let all workers know what a trial of this process was made and judged by."""
        tools, code = versions(), own_code(self.metric)
        if (tools, code) == self._credited:
            return
        self.trials.remember(f"{MADE_BY}{', '.join(map(' '.join, tools.items()))}", tools)
        if code:
            self.trials.remember(f"{SCORED_BY}{code}", self.metric)
        self._credited = tools, code

    def keep(self) -> Found:
        """Bring the shelf up to date: its front, and the recommended artifact."""
        with self.place.alone():
            found = self.found()
            while self.exchange and (lacking := take(self.trials, self.place, found)):
                found, before = self.found(), found
                if found.front == before.front:
                    raise lacking
            for kept in found.front:
                self._restore(kept)
            best = found.recommended
            self.place.recommend(Path(best.folder).name if best else None)
            self._write(found)
            known = [one.point for one in found.tried if one.point]  # none that others finished meanwhile
            self.place.keep_only(map(_named, (kept.point for kept in found.front)), map(_named, known))
            if self.exchange:
                forget(self.trials, found, known)
        return found

    def _restore(self, kept: Kept) -> None:
        """Lay an artifact again that was moved away; made anew where its copy is gone, too."""
        slug, digest = _named(kept.point)
        if not self.place.restore(slug, digest):
            self._lay(Recipe.parse(kept.point.recipe).resolve(self.rungs.target))
        if not self.place.has(slug, digest):
            raise OutputError(
                f"{self.place.folder / kept.folder} was moved away, and what is made now is another file",
                "put it back, or begin another search with --name",
            )

    def found(self) -> Found:
        """What was found so far."""
        tried = tuple(self.trials.finished())
        known = [one.point for one in tried if one.point]
        points = sorted(front(known, *self._limits), key=lambda point: (point.cost.file_bytes, point.loss.value))
        best = pick(points, self.prefer, self.floor, self.download)
        unclear = blurred([point.loss for point in points], self.floor)
        job = Job(self.rungs.makings(PLAIN))
        data = job.data_record()
        assert data is not None
        return Found(
            model=job.model_record(),
            data=data,
            target=self.rungs.target.name,
            metric=self.metric,
            budget=self.budget,
            floor=self.floor,
            prefer=self.prefer,
            reference=self.reference.scores,
            latency=self._latency(tried),
            front=tuple(Kept(one, f"front/{_slug(one)}", sure(one.loss, self.floor)) for one in points),
            best=best.recipe if best else None,
            tried=tried,
            retried=self.trials.retried(),
            left_out=self.trials.space.left_out,
            warnings=(*self.warnings, *filter(None, (*self._mixtures(), unclear))),
        )

    def _mixtures(self) -> tuple[str, ...]:
        """What keeps the trials from being compared with each other."""
        place, _, name = self.metric.rpartition(":")
        edited = f"{place} was edited during the search: if that changes {name}(), give another --name"
        return (
            unlike(self.trials.known(YARDSTICK)),
            mixed(self.trials.known(MADE_BY).values()),
            edited if len(self.trials.known(SCORED_BY)) > 1 else "",
        )

    def _latency(self, tried: Iterable[Tried]) -> Any:
        if self.rungs.clock.timed:
            return "measured"
        return "estimated" if any(one.cost and one.cost.estimate for one in tried) else "unknown"

    def finish(self, data: Dataset) -> Found:
        """Let the test part judge the front, once, and write the report."""
        found = self.keep()
        if data.test is not None:
            found = structs.replace(found, front=tuple(self._tested(kept, data) for kept in found.front))
        done = structs.replace(found, importances=self.trials.importances(), finished=True)
        self._write(done)
        return done

    def _write(self, found: Found) -> None:
        """Write it as numbers and as a page."""
        self.place.write("front.json", msgspec.json.encode(found))
        self.place.write("report.html", search_page(found, self.rungs.target.kind).encode())

    def _tested(self, kept: Kept, data: Dataset) -> Kept:
        """The point with what the test part says, which its manifest then tells, too."""
        recipe = Recipe.parse(kept.point.recipe).resolve(self.rungs.target)
        makings = self.rungs.makings(recipe)
        makings.dataset, makings.judge = data, "test"
        job, slug = Job(makings), Path(kept.folder).name
        artifact = self.place.artifact(slug)
        found = makings.verification(artifact.model, recipe.name, runtime_for(self.rungs.target))
        assert found is not None
        *inner, last = artifact.manifest.history
        history = (*(structs.replace(line, metric=None, value=None) for line in inner), scored(last, found))
        self.place.rewrite(
            structs.replace(artifact.manifest, verification=found, data=job.data_record(), history=history)
        )
        return structs.replace(kept, test=Loss.of(found, self.metric), test_scores=found.scores)


def mixed(tools: Iterable[Mapping[str, str]]) -> str:
    """A warning where trials were made by several versions of a package; empty where by one of each."""
    found: dict[str, list[str]] = {}
    for package, number in sorted({pair for one in tools for pair in one.items()}):
        found.setdefault(package, []).append(number)
    several = [f"{package} {' and '.join(numbers)}" for package, numbers in found.items() if len(numbers) > 1]
    if not several:
        return ""
    return f"trials were made by {', '.join(several)}: begin another --name to compare like with like"


def _slug(point: Point) -> str:
    return Recipe.parse(point.recipe).slug


def _named(point: Point) -> tuple[str, str]:
    return _slug(point), point.sha256
