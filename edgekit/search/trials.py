"""Trials: what Optuna remembers of a search, so that it can be killed at any moment and goes on.

A trial that a killed process left is failed, and what it tried is enqueued again at once. Trials count when they are
finished: one that failed, or that came upon a recipe that was tried before, counts nowhere. Several workers, on one
machine or many, take turns at drawing a recipe; a trial that nothing was heard of for long belongs to nobody.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from edgekit.errors import OutputError
from edgekit.search.database import open_storage
from edgekit.search.front import nondominated
from edgekit.search.owner import dead
from edgekit.search.quiet_optuna import import_optuna, quiet
from edgekit.search.space import Choices, Space, network, way
from edgekit.search.storage import LostTurn
from edgekit.search.trial import Once, Repeated, Trial, Tried, tried
from edgekit.talk import Line, Say

Sampler = Literal["tpe", "random"]
"""`random` is what a search is measured against: recipes drawn blindly, no presets, each trained to the end."""

OBJECTIVES = ("loss", "bytes", "pace", "ram")
_MOST_DEATHS = 12  # a process killed by hand looks like one that took too much memory
_FIRST_RANDOM = 10
_MOST_REPEATS = 5
_MOST_LISTED = 100_000


class Trials:
    """All trials of a search, in a database; `name` is which search of it.

    `alone` says that no other process can be at work on it, so that a running trial is one that was killed. `disks` are
    names of the places from which this process goes on: where it keeps what it trains, and what it takes over.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        space: Space,
        seed: int = 0,
        sampler: Sampler = "tpe",
        alone: bool = True,
        say: Say = lambda _: None,
        disks: tuple[str, ...] = ("here",),
    ) -> None:
        optuna = import_optuna()
        self.space, self.seed, self.sampler, self.name, self.alone, self.say = space, seed, sampler, name, alone, say
        self.disks = disks
        with quiet():
            self._storage = open_storage(storage, say)
            self._study = optuna.create_study(
                storage=self._storage.backend,
                study_name=name,
                directions=["minimize"] * len(OBJECTIVES),
                load_if_exists=True,
            )
        self._repeats = 0
        self._view: list[Any] | None = None
        self._starts: tuple[tuple[str, Choices | None], ...] = ()

    def begin(self, asked: Mapping[str, str], starts: Sequence[tuple[str, Choices | None]]) -> bool:
        """Start a new study with these starting points, or go on with one that was asked the same; whether it goes on.

        Raises OutputError where the study of this name was asked something else.
        """
        self._starts = tuple(starts)
        with self._turn():
            before = self._study.user_attrs.get("asked")
            if before is None:
                self._study.set_user_attr("asked", dict(asked))
                return False
        if other := [key for key in asked if before.get(key, asked[key]) != asked[key]]:
            raise OutputError(
                f"search {self.name!r} was begun with another {' and '.join(other)}",
                "repeat the command that began it, or give another --name or another folder with -o",
            )
        return True

    def run(self, judge: Callable[[Trial], Sequence[float] | None], most: int | None = None) -> Tried | None:
        """Run one more trial; None where its recipe was tried before, or where `most` are finished or being tried.

        `judge` gives the objectives, or None where the trial ends early. What it raises fails the trial, which the next
        call, of this process or a later one, tries again.
        """
        with quiet(), ExitStack() as stack:
            check = stack.enter_context(self._turn())
            self._retry()
            if self.full(most):
                return None
            self._offer()
            with self._read_once():
                once = Once(judge, self.space, self._known(), check, stack, self.hurry, self.disks[0])
                self._study.sampler = self._fresh_sampler()
            try:
                self._study.optimize(once, n_trials=1, catch=(Repeated, LostTurn))
            except BaseException as raised:
                cause = _behind(raised, once.broke)
                if not self._taken(once, cause):
                    raise cause from None
                self.say(Line(f"trial {once.number}: nothing was heard of it for long, and others try it again"))
                return None
        done = self._all()[once.number]
        self._repeats = self._repeats + 1 if "repeats" in done.user_attrs else 0
        return tried(done) if done.state.name in ("COMPLETE", "PRUNED") else None

    def _taken(self, once: Once, cause: BaseException) -> bool:
        """Whether a trial failed only because another worker had given it up for lost."""
        lost = import_optuna().exceptions.UpdateFinishedTrialError
        if isinstance(cause, Exception) and (once.broke is None or isinstance(once.broke, lost)):
            return once.number >= 0 and bool(self._all()[once.number].state.name == "FAIL")
        return False

    def full(self, most: int | None) -> bool:
        """Whether as many as `most` are finished or being tried."""
        counted = ("COMPLETE", "PRUNED", "RUNNING")
        return most is not None and sum(one.state.name in counted for one in self._all()) >= most

    def others(self) -> int:
        """How many trials other workers have at hand."""
        return sum(one.state.name == "RUNNING" for one in self._all())

    def hurry(self) -> None:
        """Wait no more for a storage that does not answer."""
        self._storage.patience.hurry()

    def remember(self, name: str, value: Any) -> None:
        """Let all workers know something of the search."""
        self._study.set_user_attr(name, msgspec.to_builtins(value))

    def known(self, prefix: str) -> dict[str, Any]:
        """What workers remembered under names that begin so, by the rest of the name."""
        found = self._study.user_attrs
        return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}

    def put(self, name: str, data: bytes) -> None:
        """Keep a file for all workers."""
        self._storage.put(self._study._study_id, name, data)

    def get(self, name: str) -> bytes | None:
        """A file that some worker put, None where there is none (any more)."""
        return self._storage.get(self._study._study_id, name)

    def drop_all_but(self, names: set[str], known: set[str]) -> None:
        """Forget files of `known` names that are not among `names`."""
        self._storage.drop_all_but(self._study._study_id, names, known)

    @contextmanager
    def _turn(self) -> Iterator[Callable[[], None]]:
        with self._storage.turn(self._study._study_id) as check:
            yield check

    def finished(self) -> list[Tried]:
        """All trials that are finished, in their order."""
        return [tried(one) for one in self._ended()]

    def retried(self) -> int:
        """How many trials were tried again after their process had ended."""
        return sum("retry_of" in one.user_attrs for one in self._all())

    def waiting(self) -> int:
        """Trials that are enqueued: a starting point, or what is tried again."""
        return sum(one.state.name == "WAITING" for one in self._all())

    def exhausted(self) -> bool:
        """Whether each recipe of the space was tried; looked at only after several repetitions in a row."""
        if self._repeats < _MOST_REPEATS or self.waiting():
            return False
        with self._turn():
            return not self._refilled()

    def _refilled(self) -> bool:
        """Enqueue a recipe that nobody tried, a neighbour of the front before others; False where there is none."""
        known = self._known()
        front = [] if self.sampler == "random" else self._front()
        near = (taken for one in front for taken in self.space.neighbours(one.params))
        untried = (
            [taken for taken in ways if self.space.phrase(taken) not in known]
            for ways in (near, self.space.everything(_MOST_LISTED))
        )
        fresh = next(filter(None, untried), [])
        if fresh:
            self._enqueue(self._any_of(fresh))
        return bool(fresh)

    def importances(self) -> dict[str, dict[str, float]]:
        """For each objective how much each decision mattered (PED-ANOVA, Watanabe et al. 2023, arXiv:2304.10255).

        Only of decisions that all finished trials took; empty where there are too few trials.
        """
        optuna = import_optuna()
        done = [one for one in self._ended() if one.state.name == "COMPLETE"]
        if len(done) < 2 * _FIRST_RANDOM:
            return {}
        shared = set.intersection(*(set(one.params) for one in done if one.params))
        varied = [name for name in sorted(shared) if len({one.params[name] for one in done if one.params}) > 1]
        copy = optuna.create_study(directions=["minimize"] * len(OBJECTIVES))
        copy.add_trials([one for one in done if one.params])
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()

        def of(place: int) -> dict[str, float]:
            found: dict[str, float] = optuna.importance.get_param_importances(
                copy, evaluator=evaluator, params=varied, target=lambda one: one.values[place]
            )
            return found

        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that low values are wanted, which they are
            return {name: of(place) for place, name in enumerate(OBJECTIVES)} if varied else {}

    def _all(self) -> list[Any]:
        found: list[Any] = self._view or self._study.get_trials(deepcopy=False)
        return found

    @contextmanager
    def _read_once(self) -> Iterator[None]:
        """In its body, which is in a turn and changes nothing, the trials are read only once."""
        self._view = self._all()
        try:
            yield
        finally:
            self._view = None

    def _ended(self) -> list[Any]:
        return [one for one in self._all() if one.state.name in ("COMPLETE", "PRUNED")]

    def _known(self) -> dict[str, int]:
        """Each recipe that is finished or being tried, or that ended its process too often, with its trial."""
        dead = (one for one in self._all() if one.state.name == "FAIL" and _attempt(one) >= _MOST_DEATHS)
        alive = (one for one in self._all() if one.state.name in ("COMPLETE", "PRUNED", "RUNNING"))
        return {one.user_attrs["recipe"]: one.number for one in (*dead, *alive) if "recipe" in one.user_attrs}

    def _retry(self) -> None:
        """Enqueue again what processes that are no more were trying; only in one's turn."""
        optuna = import_optuna()
        optuna.storages.fail_stale_trials(self._study)
        for one in self._all():
            if one.state.name == "RUNNING" and (self.alone or dead(one.user_attrs.get("owner"))):
                self._study.tell(one.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
        trials = self._all()
        again = {one.user_attrs.get("retry_of") for one in trials}
        for one in trials:
            lost = one.state.name == "FAIL" and "repeats" not in one.user_attrs and one.number not in again
            if lost and _attempt(one) < _MOST_DEATHS:
                trained = ("trained_by",) if self.alone else ()  # others have not trained it
                keys = ("named", "start", "between", "near", *trained)
                kept = {key: one.user_attrs[key] for key in keys if key in one.user_attrs}
                deaths = _attempt(one) + ("interrupted" not in one.user_attrs)
                self._enqueue(_drawn(one), **kept, retry_of=one.number, attempt=deaths)

    def _offer(self) -> None:
        """Enqueue the first starting point that nobody tried, or else what the front suggests, the cheapest first.

        Nothing where something waits, such as a trial to be retried, and where it is for the sampler to draw.
        """
        if self.waiting():
            return
        known = self._known()
        rest = [(phrase, taken) for phrase, taken in self._starts if phrase not in known]
        if rest:
            phrase, taken = rest[0]
            named = {} if taken is not None else {"named": phrase}
            self._enqueue(taken or {}, start=True, **named)
        elif self.sampler == "random":
            return
        elif found := self._sibling(known) or self._faster(known):
            self._enqueue(found[1], trained_by=found[0])
        elif between := self._between(known):
            self._enqueue(between, between=True)
        elif found := self._sibling(known, qat=True):
            self._enqueue(found[1], trained_by=found[0])
        elif between := self._amid(known):
            self._enqueue(between, between=True)
        elif found := self._longer(known):
            self._enqueue(found[1], trained_by=found[0])
        elif near := self._near(known):
            self._enqueue(near, near=True)

    def _enqueue(self, taken: Choices, **why: Any) -> None:
        earned = [one.name for one in self.space.decisions if not one.drawn and one.name in taken]
        self._study.enqueue_trial(taken, user_attrs={**why, **({"earned": earned} if earned else {})})

    def _sibling(self, known: Mapping[str, int], qat: bool = False) -> tuple[int, Choices] | None:
        """A trial that promises something, and its network in a number format that nobody tried.

        In one that takes seconds and no training, or that `qat` trains. What a network took to train is on the disk of
        who did it, so each worker looks at its own.
        """
        found = [*self._front(), *self._nearly()]
        mine = [one for one in found if one.user_attrs.get("disk", self.disks[-1]) in self.disks]
        trained = found if qat and self.alone else mine
        offers = ((one.number, taken) for one in trained for taken in self.space.siblings(one.params, qat))
        return next((offer for offer in offers if self.space.phrase(offer[1]) not in known), None)

    def _faster(self, known: Mapping[str, int]) -> tuple[int, Choices] | None:
        """The trial of a smaller network that dominates most, and the same at the next learning rate, if none had that.

        First a higher one: networks that were cut bear more than what is usual, and gain much by it.
        """
        had = {way(one.params)[:2] for one in self._all() if one.number in known.values() and _looked(one)}
        best, ways = self._best(self.space.rates)
        fresh = (taken for taken in ways if way(taken)[:2] not in had and self.space.phrase(taken) not in known)
        return next(((best, taken) for taken in fresh), None)

    def _longer(self, known: Mapping[str, int]) -> tuple[int, Choices] | None:
        """The trial of a smaller network that dominates most, and the same trained for longer, if nobody tried that.

        Then the one that the floor nearly kept. Students go on to gain long after they are good (Beyer et al. 2022,
        arXiv:2106.05237).
        """
        best = self._best(self.space.longer)
        missed = [(one.number, self.space.longer(one.params)) for one in self._nearly()]
        ways = ((number, taken) for number, found in (best, *missed) for taken in found)
        return next(((number, taken) for number, taken in ways if self.space.phrase(taken) not in known), None)

    def _best(self, ways: Callable[[Choices], list[Choices]]) -> tuple[int, list[Choices]]:
        """Of the trials on the front that can be taken in some of these ways the one that dominates most, and they."""
        best = next((one for one in self._ranked() if ways(one.params)), None)
        return (best.number, ways(best.params)) if best else (-1, [])

    def _near(self, known: Mapping[str, int]) -> Choices | None:
        """Two of three times that a recipe is to be drawn, an untried neighbour of what dominates most on the front.

        It is smaller in the same way, which the sampler may change.
        """
        offered = {"start", "trained_by", "between"}
        drawn = [one for one in self._all() if one.state.name != "FAIL" and not offered & one.user_attrs.keys()]
        if 3 * sum("near" in one.user_attrs for one in drawn) > 2 * len(drawn):
            return None
        for one in self._ranked():
            ways = self.space.neighbours(one.params)
            alike = [taken for taken in ways if taken.get("shrink") == one.params.get("shrink")]
            if fresh := [taken for taken in alike if self.space.phrase(taken) not in known]:
                return self._any_of(fresh)
        return None

    def _ranked(self) -> list[Any]:
        """The front, what dominates most first."""
        front = self._front()
        dominated = self._dominated() if front else None
        return sorted(front, key=lambda one: dominated(one.values), reverse=True) if dominated else []

    def _dominated(self) -> Callable[[Any], float]:
        """How much of the box around all that was accepted the values of a trial dominate."""
        values = np.array([one.values for one in self._accepted()])
        low, high = values.min(axis=0), values.max(axis=0)
        tells = high > low  # an objective that is the same for all, as memory on some targets, tells nothing
        return lambda found: float(np.prod((high - found)[tells] / (high - low)[tells]))

    def _any_of(self, fresh: Sequence[Choices]) -> Choices:
        return fresh[int(np.random.default_rng([self.seed, len(self._ended())]).integers(len(fresh)))]

    def _between(self, known: Mapping[str, int]) -> Choices | None:
        """A network halfway between the smallest accepted one and the next that was refused, where the floor must be.

        Of each way to make it smaller that is on the front, at the learning rate of what dominates most of it.
        """
        accepted = {one.number for one in self._accepted()}
        rates: dict[Any, Any] = {}
        for best in self._ranked():
            shrink, rate, _ = way(best.params)
            if rates.setdefault(shrink, rate) != rate:
                continue
            alike = [one for one in self._ended() if "smaller" in one.params and way(one.params) == way(best.params)]
            kept = {one.params["smaller"] for one in alike if one.number in accepted}
            found = self.space.between(best.params, kept, {one.params["smaller"] for one in alike} - kept)
            if found and self._new_size(found, known):
                return found
        return None

    def _amid(self, known: Mapping[str, int]) -> Choices | None:
        """A network halfway between the one that dominates most and the next on the front that is made in the same way.

        On the side that promises more. Floor and budgets are at the ends, what is good in everything lies between.
        """
        sized = [one for one in self._ranked() if "smaller" in one.params]
        alike = [one for one in sized if way(one.params) == way(sized[0].params)]
        sizes = {one.params["smaller"]: one for one in reversed(alike)}  # of each the one that dominates most
        found: list[tuple[float, Choices]] = []
        for small, large in itertools.pairwise(sorted(sizes)):
            taken = self.space.between(alike[0].params, {small}, {large})
            if taken and alike[0].params["smaller"] in (small, large) and self._new_size(taken, known):
                ends = [sizes[small].values, sizes[large].values]
                found.append((self._dominated()(np.mean(ends, axis=0)), taken))
        return max(found, key=lambda one: one[0])[1] if found else None

    def _new_size(self, found: Choices, known: Mapping[str, int]) -> bool:
        """Whether nobody has tried, or tries, a network as small and made in the same way."""
        tried = (one.params for one in self._all() if one.number in known.values())
        same = any((way(one), one.get("smaller")) == (way(found), found["smaller"]) for one in tried)
        return not same and self.space.phrase(found) not in known

    def _accepted(self) -> list[Any]:
        """Trials taken to the end whose files are within floor and budgets."""
        done = (one for one in self._ended() if one.state.name == "COMPLETE" and "point" in one.user_attrs)
        return [one for one in done if not one.user_attrs.get("reason")]

    def _front(self) -> list[Any]:
        """Those of them that no other dominates."""
        kept = self._accepted()
        return [kept[place] for place in nondominated([one.values for one in kept])]

    def _nearly(self) -> list[Any]:
        """The trial that the floor refused by least, if its interval leaves that open, and its network is worth more.

        It has another network than all of the front, and costs less than each of them in something. Another number
        format or more epochs may keep it.
        """
        front = self._front()
        costs = np.reshape([one.values[1:] for one in front], (-1, len(OBJECTIVES) - 1))
        kept = [network(one.params) for one in front]
        missed = [one for one in self._ended() if one.user_attrs.get("nearly") and network(one.params) not in kept]
        cheap = [one for one in missed if not (costs <= one.values[1:]).all(axis=1).any()]
        return sorted(cheap, key=lambda one: one.values[0])[:1]

    def _fresh_sampler(self) -> Any:
        """A sampler whose numbers depend on how many trials are finished, so that a resumed search draws the same."""
        samplers = import_optuna().samplers
        begun = len(self._ended()) + self.others()
        seed = int(np.random.default_rng([self.seed, begun, self._repeats]).integers(2**31))
        if self.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(seed=seed, n_startup_trials=_FIRST_RANDOM, constant_liar=not self.alone)


def _behind(raised: BaseException, broke: BaseException | None) -> BaseException:
    """What ended a trial, or the telling of its result, where Optuna's clean-up has stumbled over that."""
    stumbled = isinstance(raised, AssertionError | UnboundLocalError) and raised is not broke
    return (broke or raised.__context__ or raised) if stumbled else raised


def local(folder: Path) -> str:
    """The database in the folder of a search, whatever signs are in its path, as SQLAlchemy 2.1 reads it."""
    import_optuna()
    from sqlalchemy.engine import URL

    return str(URL.create("sqlite", database=str(folder / "study.db")))


def _drawn(one: Any) -> dict[str, Any]:
    """What a trial was to try: what it was enqueued with, though it had not looked at all of it, and what it drew."""
    return {**one.system_attrs.get("fixed_params", {}), **one.params}


def _looked(one: Any) -> bool:
    """Whether the network of a trial was trained, or is being trained."""
    return one.state.name == "RUNNING" or bool({"proxy", "point"} & one.user_attrs.keys())


def _attempt(one: Any) -> int:
    return int(one.user_attrs.get("attempt", 1))
