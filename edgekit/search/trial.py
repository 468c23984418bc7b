"""Trial: one recipe being tried, and what is remembered of it when it is finished."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from edgekit.errors import OutputError
from edgekit.search.owner import owner
from edgekit.search.point import Cost, Point
from edgekit.search.quiet_optuna import import_optuna
from edgekit.search.space import Choices, Decision, Space, Value

if TYPE_CHECKING:
    import optuna


class Tried(Struct, frozen=True):
    """One trial that is finished: its decisions, what became of its recipe, and why it was not taken further.

    `cost` is known of all but those that could not be made; `proxy` after a share of the epochs, `point` after all.
    `worker` is the host and the process that tried it.
    """

    number: int
    recipe: str
    choices: dict[str, str | int | bool]
    seconds: float
    start: bool = False
    cost: Cost | None = None
    proxy: Point | None = None
    point: Point | None = None
    reason: str = ""
    worker: str = ""


class TimeUp(Exception):  # noqa: N818 - it says what happened
    """The time of the search is over in the middle of a trial, which a later call goes on with."""


class Repeated(Exception):  # noqa: N818 - it says what happened
    """The recipe was tried before."""


class Trial:
    """One trial in progress: its recipe, and where what is found of it is noted.

    `trained_by` is the number of a trial that tells enough of its network to take it to the end: it was trained there,
    for another number format, or nothing beats that one, and it is to be trained as integers, or otherwise.
    """

    def __init__(self, trial: optuna.Trial, space: Space, known: Mapping[str, int]) -> None:
        self._trial = trial
        named = trial.user_attrs.get("named")
        self.choices: Choices = {} if named else space.suggest(self._suggest)
        self.recipe: str = named or space.phrase(self.choices)
        self.start = bool(trial.user_attrs.get("start"))
        self.trained_by: int | None = trial.user_attrs.get("trained_by")
        if known.get(self.recipe, trial.number) != trial.number:
            trial.set_user_attr("repeats", known[self.recipe])
            raise Repeated(self.recipe)
        trial.set_user_attr("recipe", self.recipe)

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self._trial.number

    def note(self, name: str, value: Any) -> None:
        """Remember something of the trial."""
        self._trial.set_user_attr(name, msgspec.to_builtins(value))

    def exceeds(self, name: str, share: float) -> None:
        """Tell the sampler by how much something is not accepted; nothing above zero is accepted."""
        self._trial.set_constraint(name, share)

    def _suggest(self, decision: Decision) -> Value:
        values = decision.values
        if not decision.drawn and decision.name not in self._trial.user_attrs.get("earned", ()):
            return values[0]
        steps = {b - a for a, b in itertools.pairwise(values) if type(a) is type(b) is int}
        if len(values) > 2 and len(steps) == 1 and all(type(value) is int for value in values):
            return self._trial.suggest_int(decision.name, int(values[0]), int(values[-1]), step=steps.pop())
        found: Any = self._trial.suggest_categorical(decision.name, values)
        return decision.values[decision.values.index(found)]


class Once:
    """Runs one trial: draws its recipe and gives the turn away, then lets it be judged."""

    def __init__(
        self,
        judge: Callable[[Trial], Sequence[float] | None],
        space: Space,
        known: Mapping[str, int],
        check: Callable[[], None],
        turn: ExitStack,
        hurry: Callable[[], None],
        disk: str,
    ) -> None:
        self.judge, self.space, self.known = judge, space, known
        self.check, self.turn, self.hurry, self.disk = check, turn, hurry, disk
        self.number = -1
        self.broke: BaseException | None = None

    def __call__(self, raw: optuna.Trial) -> Sequence[float]:
        """The objectives of the trial. Raises Repeated, LostTurn, what the judge raises, or that it ends early."""
        self.number = raw.number
        try:
            raw.set_user_attr("owner", owner())
            raw.set_user_attr("disk", self.disk)
            trial = Trial(raw, self.space, self.known)
            self.check()
            self.turn.close()
            found = self.judge(trial)
        except BaseException as cause:
            self.broke = cause
            if isinstance(cause, KeyboardInterrupt | TimeUp):
                self._interrupted(raw)
            raise
        if found is None:
            raise import_optuna().TrialPruned
        return found

    def _interrupted(self, raw: optuna.Trial) -> None:
        """Note that the recipe is not to blame."""
        self.hurry()
        with suppress(OutputError):  # whoever ends a search does not wait for the storage, too
            raw.set_user_attr("interrupted", True)


def tried(one: Any) -> Tried:
    """A finished trial of Optuna, as it is remembered."""
    noted = one.user_attrs
    took = (one.datetime_complete - one.datetime_start).total_seconds()
    return Tried(
        number=one.number,
        recipe=noted["recipe"],
        choices=one.params,
        seconds=took,
        start=bool(noted.get("start")),
        cost=_read(noted.get("cost"), Cost),
        proxy=_read(noted.get("proxy"), Point),
        point=_read(noted.get("point"), Point),
        reason=noted.get("reason", ""),
        worker=noted.get("owner", "").partition(" ")[0],
    )


def _read(noted: Any, kind: type[Any]) -> Any:
    return None if noted is None else msgspec.convert(noted, kind)
