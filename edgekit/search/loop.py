"""Search: the loop of trials, each recipe taken up the rungs as far as it deserves."""

from __future__ import annotations

import time as clocks
from collections.abc import Mapping, Sequence

from msgspec import structs

from edgekit.errors import DeviceError, InputError, OutputError, RunError
from edgekit.recipe import Recipe
from edgekit.search.budget import keeps, nearly
from edgekit.search.deadline import Deadline
from edgekit.search.findings import PLAIN, YARDSTICK, Findings
from edgekit.search.front import dominates
from edgekit.search.point import Cost
from edgekit.search.pool import unlike
from edgekit.search.rungs import hopeful
from edgekit.search.space import fineness, way
from edgekit.search.trial import TimeUp, Trial, Tried
from edgekit.talk import Line, Say
from edgekit.tf import import_keras
from edgekit.units import format_bytes, format_seconds

_POLL = 1.0  # seconds between two looks at what other workers do


class Search:
    """One search: rungs, trials and findings together."""

    def __init__(self, findings: Findings, say: Say) -> None:
        self.findings, self.say = findings, say
        self.rungs, self.trials, self.budget = findings.rungs, findings.trials, findings.budget

    @property
    def blind(self) -> bool:
        """Whether recipes are drawn at random, and each is trained to the end."""
        return self.trials.sampler == "random"

    def join(self, asked: Mapping[str, str]) -> bool:
        """Take part in the search with all its starting points; whether it was begun before."""
        return self.trials.begin(asked, [] if self.blind else self.trials.space.starts(self.rungs.target))

    def begin(self, asked: Mapping[str, str]) -> None:
        """Begin the trials, or go on with them; lay on the shelf what they had found."""
        if self.join(asked):
            self.say(Line(f"go on after {len(self.trials.finished())} trials"))
        self._compare_devices()
        self.findings.keep()

    def _compare_devices(self) -> None:
        """Time the float file on every device, and let all workers know."""
        pool = self.rungs.clock.pool
        if pool is None:
            return
        if not self.findings.exchange and len(pool.addresses) == 1 and pool.addresses != ("local",):
            pool.greet()
            return
        file = self.rungs.makings(PLAIN).float_file(self.rungs.model, 1)
        for name, seconds in pool.each(file, self.rungs.clock.plan).items():
            self.trials.remember(f"{YARDSTICK}{name}", seconds)
        if warning := unlike(self.trials.known(YARDSTICK)):
            self.say(Line(f"warning: {warning}"))

    def loop(self, deadline: Deadline, most: int | None) -> None:
        """Run trials until there are enough, the time is over, or there is nothing left to try, for any worker."""
        try:
            while self._once(deadline, most):
                pass
        except TimeUp:
            self.say(Line("the time is over"))

    def _once(self, deadline: Deadline, most: int | None) -> bool:
        """One more trial; False where nothing is left to do for anybody."""
        deadline.say("next trial")
        import_keras().backend.clear_session()
        done = self.trials.run(self.judge, most)
        if done:
            self.say(Line(self.told(done)))
            self.findings.credit()
            self.findings.keep()
            return True
        if not (self.trials.full(most) or self.trials.exhausted()):
            return True
        if others := self.trials.others():
            deadline.say(f"waiting for {others} trials of other workers")
            clocks.sleep(_POLL)
            return True
        if not self.trials.full(most):
            self.say(Line("each recipe of the space was tried"))
        return False

    def ended(self, deadline: Deadline) -> None:
        """Let what is left take its time. Raises InputError where no trial was finished."""
        deadline.lift()
        if not self.trials.finished():
            raise deadline.too_short

    def judge(self, trial: Trial) -> Sequence[float] | None:
        """Take one recipe up the rungs: its objectives, or None where it ends early."""
        try:
            return self._judged(trial)
        except (DeviceError, OutputError):
            raise
        except (InputError, RunError) as cause:
            trial.note("reason", f"cannot be made: {cause.problem}")
            trial.exceeds("made", 1.0)
            return None

    def _judged(self, trial: Trial) -> Sequence[float] | None:
        rungs, found, recipe = self.rungs, self.findings, Recipe.parse(trial.recipe).resolve(self.rungs.target)
        cost = rungs.shape(recipe)
        trial.note("cost", cost)
        if (over := self.budget.over(cost)) and not self.blind:
            trial.note("reason", over)
            for name, share in self.budget.excess(cost).items():
                trial.exceeds(name, share)
            return None
        if reason := self._outdone(trial, cost):
            trial.note("reason", reason)
            trial.exceeds("front", 1.0)
            return None
        if not (trial.start or trial.trained_by is not None or self.blind) and rungs.has_proxy(recipe):
            proxy = rungs.point(recipe, "proxy", cost)
            trial.note("proxy", proxy)
            if reason := hopeful(proxy, found.front(), found.gains(), found.floor, found.download):
                trial.note("reason", reason)
                trial.exceeds("loss", proxy.loss.value - found.floor)
                return proxy.objectives(found.download)
        point = rungs.point(recipe, "full")
        found.shelve(recipe, point)
        trial.note("cost", point.cost)
        trial.note("point", point)
        trial.note("reason", found.refused(point))
        if nearly(point.loss, found.floor) and not self.budget.excess(point.cost):
            trial.note("nearly", True)
        for name in ("bytes", "download", "latency", "ram", "target"):
            trial.exceeds(name, self.budget.excess(point.cost).get(name, 0.0))
        trial.exceeds("loss", 0.0 if keeps(point.loss, found.floor) else point.loss.value - found.floor)
        return point.objectives(found.download)

    def _outdone(self, trial: Trial, cost: Cost) -> str:
        """Why a trained network is not tried in a coarser number format: it would lose as much, and cost too much."""
        before = next((one for one in self.trials.finished() if one.number == trial.trained_by), None)
        if before is None or before.point is None or trial.choices.get("qat"):
            return ""
        if way(trial.choices) != way(before.choices) or fineness(trial.choices) > fineness(before.choices):
            return ""
        expected = structs.replace(before.point, recipe=trial.recipe, cost=cost).objectives(self.findings.download)
        better = (one for one in self.findings.front() if dominates(one.objectives(self.findings.download), expected))
        return next((f"would be beaten by {one.recipe} if it lost what its network did" for one in better), "")

    def told(self, one: Tried) -> str:
        """A trial in a line."""
        words = [f"trial {one.number}: {one.recipe}"]
        judged = one.point or one.proxy
        if judged:
            words.append(f"{judged.score.name} {judged.score.value:.4g}")
        words += _cost_words(one.cost) if one.cost else []
        kept = one.point is not None and any(one.recipe == point.recipe for point in self.findings.front())
        words.append("kept" if kept else one.reason or "beaten")
        return ", ".join(words)


def _cost_words(cost: Cost) -> list[str]:
    words = [format_bytes(cost.file_bytes)]
    if cost.latency:
        words.append(f"{format_seconds(cost.latency)}{' (estimate)' if cost.estimate else ''}")
    return words
