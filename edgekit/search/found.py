"""What a search found, as `front.json` keeps it and the report draws it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edgekit.artifact import DataRecord, ModelRecord
from edgekit.errors import GateError
from edgekit.metrics import Score
from edgekit.search.budget import Budget, keeps, shown
from edgekit.search.front import Prefer
from edgekit.search.point import Loss, Point
from edgekit.search.trial import Tried


class Kept(Struct, frozen=True):
    """A point of the front: the folder of its artifact, and what the test part says of it once the search is over.

    `sure` says whether the whole interval of its loss is within the floor on the validation part, which chose it.
    """

    point: Point
    folder: str
    sure: bool
    test: Loss | None = None
    test_scores: tuple[Score, ...] = ()


class Found(Struct, frozen=True):
    """Everything that a search found.

    `floor` is the greatest accepted loss in the unit of the metric, `reference` the float model on the validation part,
    `latency` how speed was ranked. `best` is the recipe that is recommended, None where none is accepted. `importances`
    are by objective and decision. `finished` says whether the test part has judged the front.
    """

    model: ModelRecord
    data: DataRecord
    target: str
    metric: str
    budget: Budget
    floor: float
    prefer: Prefer
    reference: tuple[Score, ...]
    latency: Literal["measured", "estimated", "unknown"]
    front: tuple[Kept, ...]
    best: str | None
    tried: tuple[Tried, ...]
    retried: int
    left_out: dict[str, str]
    importances: dict[str, dict[str, float]] = {}
    warnings: tuple[str, ...] = ()
    finished: bool = False
    format_version: Literal[1] = 1

    @property
    def recommended(self) -> Kept | None:
        """The recommended point."""
        return next((kept for kept in self.front if kept.point.recipe == self.best), None)

    @property
    def runs_nothing(self) -> bool:
        """Whether the target runs nothing of what was tried, which no budget changes."""
        costs = [one.cost for one in self.tried if one.cost]
        return bool(costs) and all(cost.faults for cost in costs)

    @property
    def budget_words(self) -> str:
        """The budget in a few words."""
        return shown(self.budget)

    def accept(self) -> None:
        """Raise GateError where nothing is accepted, or the test part does not confirm the floor."""
        kept = self.recommended
        if kept is None:
            mend = "change the model, or choose another target" if self.runs_nothing else "loosen a budget"
            raise GateError(f"none of {len(self.tried)} recipes is accepted: {self.nearest()}", mend)
        if kept.test and not keeps(kept.test, self.floor):
            raise GateError(
                f"{self.best} loses {kept.test.value:.4g} {self.metric} on the test part, more than {self.floor:.4g}",
                "ask for a smaller --max-drop, or give a larger validation part",
            )

    def nearest(self) -> str:
        """What came nearest to being accepted."""
        points = [one.point for one in self.tried if one.point and not self.budget.excess(one.point.cost)]
        if points:
            best = min(points, key=lambda point: point.loss.value)
            return f"within the budgets {best.recipe} loses least, {best.loss.value:.4g} {self.metric}"
        over = [(one.recipe, one.cost) for one in self.tried if one.cost and self.budget.excess(one.cost)]
        if over:
            recipe, cost = min(over, key=lambda pair: sum(self.budget.excess(pair[1]).values()))
            return f"none was made within the budgets; nearest is {recipe}: {self.budget.over(cost)}"
        return f"{self.tried[-1].recipe} {self.tried[-1].reason}" if self.tried else "none was tried yet"
