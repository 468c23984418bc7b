"""Space: which decisions there are for a model on a target, and a recipe for each way to take them.

A recipe of the space is a phrase of the little language, so that what is found can be made again by name. Ways of
shrinking share one number, the share of the multiply-accumulates to take away; a student gets the width that gives it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice, product

from msgspec import Struct

from edgekit.dataset import Dataset
from edgekit.errors import EdgekitError, ModelError, RecipeError
from edgekit.graph.walk import walk
from edgekit.model import Model
from edgekit.phrase import PRESETS, SCHEMES
from edgekit.recipe import Recipe
from edgekit.search.budget import Budget
from edgekit.stages import drop_layers, factorize, prune_channels
from edgekit.stages.distill import Distill
from edgekit.stages.factorize import Factorize
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.quantize import CALIBRATED
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.student import narrowed, widths
from edgekit.step import refuse_without_training
from edgekit.target import Target

Value = str | int | bool
Choices = dict[str, Value]
"""Decisions that were taken, by name."""

_STUDENTS = Distill(width=0.5).multiple
_SHARES = tuple(range(10, 95, 5))
_METHODS = ("minmax", "percentile:99.99", "mse")
_SCALES_PAY = 0.02  # share of an int8 file that one scale a tensor has to save
TRAINING = ("rate", "epochs")
"""The decisions about how a smaller network is trained."""
_NETWORK = ("shrink", "smaller", *TRAINING, "allocation", "zeros", "values")
"""The decisions about the network itself, which is trained once for all number formats."""
_EPOCHS = ("1x", "3x")
_RATES = ("1x", "3x", "0.3x")
_EACH_SCALE = 12  # bytes of a scale and a zero point in the file


class Decision(Struct, frozen=True):
    """A choice: its values, the first being the plainest; `only` says with which values of another it is asked.

    One that is not `drawn` is taken plainly, but for what has earned more, and is in no `Choices` where it is plain.
    """

    name: str
    values: tuple[Value, ...]
    only: tuple[str, tuple[Value, ...]] | None = None
    drawn: bool = True

    def asked(self, taken: Choices) -> bool:
        """Whether there is anything to decide after what was taken."""
        return self.only is None or taken.get(self.only[0]) in self.only[1]


class Space(Struct, frozen=True):
    """The decisions in their order, and for each that was left out the reason; `epochs` replace those of all stages.

    `students` says which share of the multiply-accumulates stands for others that make the same student; 0 for those
    that make none that is smaller.
    """

    target: str
    decisions: tuple[Decision, ...]
    left_out: dict[str, str]
    epochs: int | None = None
    students: dict[int, int] = {}

    @classmethod
    def of(
        cls, model: Model, data: Dataset, target: Target, budget: Budget | None = None, epochs: int | None = None
    ) -> Space:
        """What can be decided for a model, its data and a target.

        Raises RecipeError where there is nothing to decide.
        """
        found = _Finder(model, data, target, budget or Budget())
        decisions = tuple(one for one in found.decisions() if not (epochs and one.name == "epochs"))
        space = cls(target.name, decisions, found.left_out, epochs, found.students())
        if len(list(space.everything(2))) < 2:
            reasons = "; ".join(f"no {name}: {why}" for name, why in found.left_out.items())
            raise RecipeError(
                f"there is nothing to search for {model.name!r} on {target.name}: {reasons}",
                "`edgekit optimize` for this target makes the only variant",
            )
        return space

    def phrase(self, taken: Choices) -> str:
        """The recipe that the decisions make."""
        head = [*self._shrinking(taken)]
        how = taken if head else {}  # a student as wide as the network is the network, which is not trained
        head += [f"prune{taken['zeros']}"] if taken.get("zeros") else []
        head += [f"cluster{taken['values']}"] if taken.get("values") else []
        head += ["qat"] if taken.get("qat") else []
        options = [str(taken["granularity"])] if taken.get("granularity", "per-channel") != "per-channel" else []
        method = taken.get("calibration", "minmax")
        options += [f"calibration={method}"] if method != "minmax" else []
        options += ["by-sensitivity"] if taken.get("allocation") == "sensitivity" else []
        epochs = self.epochs or how.get("epochs")
        options += [f"epochs={epochs}"] if epochs and head else []
        options += [f"rate={how['rate']}"] if how.get("rate", "1x") != "1x" else []
        return "-".join([*head, str(taken["format"])]) + (f":{','.join(options)}" if options else "")

    def _shrinking(self, taken: Choices) -> list[str]:
        """The word that makes the network smaller: a student of width w has about w^2 of the multiply-accumulates."""
        way, share = taken.get("shrink", "none"), int(taken.get("smaller", 0))
        if way != "student":
            return [] if way == "none" else [f"{way}{share}"]
        share = self.students.get(share, share)
        return [f"student{_width(share)}"] if share else []

    def suggest(self, choose: Callable[[Decision], Value]) -> Choices:
        """Take each decision that is asked by what `choose` says."""
        taken: Choices = {}
        for decision in self.decisions:
            if decision.asked(taken):
                value = choose(decision)
                if decision.drawn or value != decision.values[0]:
                    taken[decision.name] = value
        return taken

    def everything(self, most: int) -> Iterator[Choices]:
        """All ways to decide, at most so many."""
        yield from islice(self._below({}, self.decisions), most)

    def _below(self, taken: Choices, rest: tuple[Decision, ...]) -> Iterator[Choices]:
        if not rest:
            yield taken
            return
        first, others = rest[0], rest[1:]
        values = first.values if first.drawn and first.asked(taken) else (None,)
        for value in values:
            yield from self._below(taken if value is None else {**taken, first.name: value}, others)

    def starts(self, target: Target) -> list[tuple[str, Choices | None]]:
        """The presets that the target allows and the data can train, the one with the fewest epochs first.

        With each the decisions that make it, None where the space has not all of them.
        """
        found: dict[str, tuple[int, Choices | None]] = {}
        for name in PRESETS:
            said = _said(name)
            words = {"qat": "qat", "zeros": "prune", "values": "cluster"}
            needs = {said["format"], said.get("shrink"), *(word for key, word in words.items() if said.get(key))}
            if needs & self.left_out.keys():
                continue
            taken = self.decisions_of(name)
            phrase = self.phrase(taken) if taken else self._with_epochs(name)
            recipe = _resolved(phrase, target)
            if recipe and not (recipe.trained and "training" in self.left_out):
                found.setdefault(phrase, (epochs_of(recipe), taken))
        return [(phrase, taken) for phrase, (_, taken) in sorted(found.items(), key=lambda item: item[1][0])]

    def decisions_of(self, preset: str) -> Choices | None:
        """The decisions that make a preset, all others taken plainly; None where the space has not all of them."""
        said = _said(preset)
        taken = self._plainly(said)
        fits = all(taken.get(name) == value for name, value in said.items())
        return (
            taken
            if fits and all(taken[one.name] in one.values for one in self.decisions if one.name in taken)
            else None
        )

    def siblings(self, taken: Choices, qat: bool = False) -> list[Choices]:
        """The network of these decisions in each other number format.

        Those that take no training of their own, and none of a network that took none; or those that `qat` trains.
        """
        trained = taken.get("shrink", "none") != "none" or taken.get("zeros") or taken.get("values")
        if not (taken and (trained or qat)):
            return []
        values = {one.name: one.values for one in self.decisions}
        kept = network(taken)
        ways = product(values["format"], values.get("granularity", ("per-channel",)))
        found = [
            self._plainly({**kept, "qat": qat, "format": scheme, "granularity": scales}) for scheme, scales in ways
        ]
        return self._others([one for one in found if one.get("qat", False) == qat], taken)

    def neighbours(self, taken: Choices) -> list[Choices]:
        """Each way to decide one thing otherwise, trained as before: the next number, or another word."""
        found = []
        for decision in (one for one in self.decisions if one.name in taken and one.name not in TRAINING):
            values = decision.values
            place, numbers = values.index(taken[decision.name]), all(type(value) is int for value in values)
            near = values[max(place - 1, 0) : place + 2] if numbers else values
            found += [self._plainly({**taken, decision.name: value}) for value in near]
        return self._others(found, taken)

    def longer(self, taken: Choices) -> list[Choices]:
        """The network of these decisions trained for longer; empty where there is nothing to train longer."""
        return [self._plainly({**taken, "epochs": value}) for value in self._trainings("epochs", taken)[-1:]]

    def rates(self, taken: Choices) -> list[Choices]:
        """The network of these decisions trained at the next higher learning rate, and at the next lower one."""
        ordered = sorted(self._trainings("rate", taken), key=lambda rate: float(rate.removesuffix("x")))
        place = ordered.index(str(taken.get("rate", "1x"))) if ordered else 0
        near = [*ordered[place + 1 : place + 2], *ordered[max(place - 1, 0) : place]]
        return [self._plainly({**taken, "rate": rate}) for rate in near]

    def _trainings(self, name: str, taken: Choices) -> tuple[str, ...]:
        """The values of a decision about training, where these decisions make a smaller network."""
        asked = [one for one in self.decisions if one.name == name and one.asked(taken)]
        return tuple(map(str, asked[0].values)) if asked and self._shrinking(taken) else ()

    def between(self, taken: Choices, kept: Collection[int], refused: Collection[int]) -> Choices | None:
        """These decisions with a share halfway between the greatest that was kept and the next that was refused.

        The ends of the space stand for what was not tried yet. None where there is no share between, or none was kept.
        """
        values = next((one.values for one in self.decisions if one.name == "smaller"), ())
        if not kept:
            return None
        if taken.get("shrink") == "student":
            kept, refused = self._of_students(kept), self._of_students(refused)
        low = values.index(max(kept))
        high = min((values.index(one) for one in refused if one > max(kept)), default=len(values))
        middle = (low + high) // 2
        return self._plainly({**taken, "smaller": values[middle]}) if middle > low else None

    def _of_students(self, shares: Collection[int]) -> set[int]:
        """Shares, with those that make the same students."""
        made = {self.students.get(share, share) for share in shares}
        return {*shares, *(share for share, first in self.students.items() if first in made)}

    def _plainly(self, said: Choices) -> Choices:
        """These decisions, where they are asked, and all others taken plainly."""
        return self.suggest(lambda one: said.get(one.name, one.values[0]))

    def _others(self, found: Sequence[Choices], taken: Choices) -> list[Choices]:
        """Those that make another recipe than `taken`, each once."""
        by_phrase = {self.phrase(one): one for one in found}
        return [one for phrase, one in by_phrase.items() if phrase != self.phrase(taken)]

    def _with_epochs(self, phrase: str) -> str:
        return f"{phrase}:epochs={self.epochs}" if self.epochs and Recipe.parse(phrase).trained else phrase


def way(taken: Choices) -> tuple[Value, ...]:
    """How a network is made smaller, and how it is trained."""
    return taken.get("shrink", "none"), *(taken.get(name, "1x") for name in TRAINING)


def network(taken: Choices) -> Choices:
    """The decisions about the network itself."""
    return {name: value for name, value in taken.items() if name in _NETWORK}


def fineness(taken: Choices) -> tuple[int, bool]:
    """How finely a number format tells values apart; the finer one may lose less."""
    fine = ("int8", "dynamic-int8", "int16x8", "float16", "float32")
    return fine.index(str(taken["format"])), taken.get("granularity") != "per-tensor"


def epochs_of(recipe: Recipe) -> int:
    """Epochs of all trainings of a recipe at most."""
    stages = [stage for stage in recipe.trained if not getattr(stage, "one_shot", False)]
    return sum(stage.training.epochs for stage in stages if hasattr(stage, "training"))


def _resolved(phrase: str, target: Target) -> Recipe | None:
    """The recipe, None where the target forbids it."""
    try:
        return Recipe.parse(phrase).resolve(target)
    except RecipeError:
        return None


def _width(share: int) -> int:
    """Percent of the channels that leave out this share of the multiply-accumulates."""
    return round(100 * math.sqrt(1 - share / 100))


def _said(preset: str) -> Choices:
    """The decisions that the words of a preset name."""
    scheme = max((name for name in SCHEMES if f"-{preset}".endswith(f"-{name}")), key=len, default="int8")
    found: Choices = {"format": scheme}
    for word in filter(None, preset.removesuffix(scheme).split("-")):
        name, number = word.rstrip("0123456789"), int(word.lstrip("abcdefghijklmnopqrstuvwxyz") or 75)
        if word == "qat":
            found["qat"] = True
        elif name in _KINDS:
            found[_KINDS[name]] = number
        else:
            found |= {"shrink": "channels" if name == "small" else name, "smaller": number}
    return found


_KINDS = {"prune": "zeros", "cluster": "values"}


class _Finder:
    """Looks at model, data, target and budget for what can be decided, and writes down why the rest cannot."""

    def __init__(self, model: Model, data: Dataset, target: Target, budget: Budget) -> None:
        self.model, self.data, self.target, self.budget = model, data, target, budget
        self.left_out: dict[str, str] = {}
        if reason := self._untrainable():
            self.left_out["training"] = reason

    def decisions(self) -> Iterator[Decision]:
        """Those that fit, in the order in which they are taken."""
        formats = tuple(self._formats())
        yield Decision("format", formats)
        ways = ("none", *self._ways()) if "training" not in self.left_out else ("none",)
        if len(ways) > 1:
            yield Decision("shrink", ways)
            yield Decision("smaller", _SHARES, ("shrink", ways[1:]))
            yield Decision("rate", _RATES, ("shrink", ways[1:]))
            yield Decision("epochs", _EPOCHS, ("shrink", ways[1:]), drawn=False)
        if "channels" in ways:
            yield Decision("allocation", ("uniform", "sensitivity"), ("shrink", ("channels",)))
        yield from self._download()
        integers = tuple(name for name in formats if name in ("int8", "int16x8"))
        if integers and "training" not in self.left_out and self._fits_qat():
            yield Decision("qat", (False, True), ("format", integers))
        if integers:
            yield Decision("calibration", _METHODS, ("format", integers))
        if "int8" in formats and self._scales_pay():
            yield Decision("granularity", ("per-channel", "per-tensor"), ("format", ("int8",)))

    def _untrainable(self) -> str:
        if self.model.keras is None:
            return f"{self.model.origin} is a {self.model.kind}, and techniques that train work on a Keras model"
        if self.data.train is None or not len(self.data.train):
            return "the data has no training part"
        return ""

    def _formats(self) -> Iterator[str]:
        for name in self.target.numerics.schemes:
            if name in CALIBRATED and self.data.calibration is None:
                self.left_out[name] = "the data has no calibration part"
            elif name == "int16x8" and self._dynamic:
                self.left_out[name] = "XNNPACK has no kernels of it; dynamic-int8 is as small and accurate there"
            else:
                yield name
        for other in SCHEMES:
            if other not in self.target.numerics.schemes:
                self.left_out[other] = f"{self.target.name} does not run it"

    def _ways(self) -> Iterator[str]:
        """Ways to make the network smaller; each is tried on a half, without training."""
        network = self.model.keras
        tries: dict[str, Callable[[], object]] = {
            "channels": lambda: prune_channels.plan(network, PruneChannels(macs=0.5), None, self._multiple),
            "student": lambda: narrowed(network, 0.7, multiple=_STUDENTS),
            "factorize": lambda: factorize.plan(network, Factorize(macs=0.5)),
            "drop": self._branches,
        }
        for name, attempt in tries.items():
            try:
                attempt()
            except (RecipeError, ModelError) as cause:
                self.left_out[name] = cause.problem
            else:
                yield name

    @property
    def _dynamic(self) -> bool:
        return "xnnpack" in self.target.runtime.delegates and "dynamic-int8" in self.target.numerics.schemes

    @property
    def _multiple(self) -> int:
        return self.target.numerics.channel_multiple

    def students(self) -> dict[int, int]:
        """For each share the middle one of those that make the same student; 0 where that is as wide as the network."""
        if "student" in self.left_out or "training" in self.left_out:
            return {}
        network, alike = self.model.keras, defaultdict[tuple[int, ...], list[int]](list)
        for share in _SHARES:
            alike[widths(network, _width(share) / 100, multiple=_STUDENTS)].append(share)
        whole = alike.pop(widths(network, 1, multiple=1), [])
        middle = {share: shares[len(shares) // 2] for shares in alike.values() for share in shares}
        return dict.fromkeys(whole, 0) | middle

    def _branches(self) -> None:
        if not drop_layers.branches(walk(self.model.keras)):
            raise RecipeError("no addition joins a branch with its own source")

    def _download(self) -> Iterator[Decision]:
        if "training" in self.left_out:
            return
        if self.budget.max_download is None:
            why = "makes the file smaller in an archive only, and no --max-download is set"
            self.left_out |= {"prune": why, "cluster": why}
            return
        yield Decision("zeros", (0, 50, 70, 80, 90))
        yield Decision("values", (0, 8, 16, 32))

    def _fits_qat(self) -> bool:
        try:
            refuse_without_training(QuantizeAware(), self.data)
        except EdgekitError as cause:
            self.left_out["qat"] = cause.problem
            return False
        return True

    def _scales_pay(self) -> bool:
        """Whether one scale for each weight tensor saves a share of the int8 file that is worth its loss."""
        allowed = self.target.numerics.granularity
        if self.model.keras is None or len(set(allowed)) < 2 or allowed[0] != "per-channel":
            self.left_out["per-tensor"] = (
                f"{self.target.name} takes {' and '.join(allowed)}"
                if len(allowed) < 2
                else "only a Keras model tells its channels"
            )
            return False
        kernels = [weight for weight in self.model.keras.weights if len(weight.shape) > 2]
        scales = _EACH_SCALE * sum(int(weight.shape[-1]) for weight in kernels)
        share: float = scales / max(sum(math.prod(weight.shape) for weight in self.model.keras.weights) + scales, 1)
        if share < _SCALES_PAY:
            self.left_out["per-tensor"] = f"saves {share:.1%} of an int8 file, and costs accuracy"
        return share >= _SCALES_PAY
