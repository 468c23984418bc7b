"""Trials: the same ones again, none lost, none counted twice, whatever ends the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from edgekit.errors import OutputError
from edgekit.search.front import nondominated
from edgekit.search.point import Cost, Loss, Point
from edgekit.search.space import Choices, Decision, Space
from edgekit.search.trial import TimeUp, Trial, Tried
from edgekit.search.trials import Trials, local

SPACE = Space(
    "host",
    (
        Decision("format", ("float32", "float16", "int8")),
        Decision("shrink", ("none", "channels", "student")),
        Decision("smaller", tuple(range(10, 95, 5)), ("shrink", ("channels", "student"))),
        Decision("epochs", ("1x", "3x"), ("shrink", ("channels", "student")), drawn=False),
        Decision("calibration", ("minmax", "mse"), ("format", ("int8",))),
    ),
    {},
)
STARTS: list[tuple[str, Choices | None]] = [
    ("float32", {"format": "float32", "shrink": "none"}),
    ("int8", {"format": "int8", "shrink": "none", "calibration": "minmax"}),
    ("cluster16-int8", None),
]


def judged(trial: Trial) -> Sequence[float]:
    """Made-up objectives with a trade-off in them."""
    share = int(trial.choices.get("smaller", 0)) / 100
    width = {"float32": 4.0, "float16": 2.0}.get(str(trial.choices.get("format")), 1.0)
    return share**2 + 0.1 / width, width * (1 - share), 1 - share, width


def opened(folder: Path, seed: int = 0) -> Trials:
    trials = Trials(local(folder), "search", SPACE, seed)
    trials.begin({"model": "m", "budget": "b"}, STARTS)
    return trials


def run(trials: Trials, count: int) -> list[Tried]:
    while len(trials.finished()) < count and not trials.exhausted():
        trials.run(judged)
    return trials.finished()


def recipes(tried: Sequence[Tried]) -> list[str]:
    return [one.recipe for one in tried]


def test_starts_come_first_and_no_recipe_comes_twice(tmp_path: Path) -> None:
    found = recipes(run(opened(tmp_path), 16))
    assert found[:3] == ["float32", "int8", "cluster16-int8"]
    assert len(set(found)) == len(found) == 16


def test_the_database_is_in_the_folder_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "what?now=50%25{}"
    folder.mkdir()
    assert len(run(opened(folder), 2)) == 2
    assert (folder / "study.db").is_file()
    assert [*tmp_path.iterdir()] == [folder]


def test_the_same_seed_makes_the_same_trials_in_one_go_and_in_two(tmp_path: Path) -> None:
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
    once = recipes(run(opened(tmp_path / "one"), 16))
    for count in (7, 16):
        again = recipes(run(opened(tmp_path / "two"), count))
    assert again == once
    assert recipes(run(opened(tmp_path / "other", seed=1), 16)) != once


def test_a_space_ends_when_each_recipe_was_tried(tmp_path: Path) -> None:
    small = Space("host", SPACE.decisions[:1], {})
    trials = Trials(local(tmp_path), "search", small)
    trials.begin({"model": "m"}, [])
    assert sorted(recipes(run(trials, 1000))) == ["float16", "float32", "int8"]


def test_another_question_is_refused_and_named(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(OutputError, match=r"begun with another budget\n"):
        Trials(local(tmp_path), "search", SPACE).begin({"model": "m", "budget": "c"}, STARTS)
    Trials(local(tmp_path), "other", SPACE).begin({"model": "m", "budget": "c"}, STARTS)


@pytest.mark.parametrize("cause", [KeyboardInterrupt, RuntimeError])
def test_what_an_error_cut_off_is_tried_again(tmp_path: Path, cause: type[BaseException]) -> None:
    trials = opened(tmp_path)

    def broken(trial: Trial) -> Sequence[float]:
        raise cause

    with pytest.raises(cause):
        trials.run(broken)
    assert not trials.finished()
    found = recipes(run(opened(tmp_path), 5))
    assert found[:3] == ["float32", "int8", "cluster16-int8"]  # what was cut off comes first
    assert trials.retried() == 1


@pytest.mark.parametrize("cause", [KeyboardInterrupt, TimeUp, OutputError])
def test_what_ends_the_telling_of_a_result_is_raised_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: type[BaseException]
) -> None:
    (tmp_path / "other").mkdir()
    trials, plain = opened(tmp_path), optuna.storages.RDBStorage.set_trial_state_values

    def cut(storage: Any, number: int, state: Any, values: Any = None) -> bool:
        if state.is_finished():
            raise cause("full", "free some")
        return bool(plain(storage, number, state, values))

    with monkeypatch.context() as patch:
        patch.setattr(optuna.storages.RDBStorage, "set_trial_state_values", cut)
        with pytest.raises(cause):
            trials.run(judged)
        with pytest.raises(ZeroDivisionError):
            opened(tmp_path / "other").run(lambda _: [1 / 0])
    assert recipes(run(opened(tmp_path), 3)) == ["float32", "int8", "cluster16-int8"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_what_was_killed_before_it_looked_at_its_recipe_is_tried_again(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    run(trials, 1)
    trials._offer()
    trials._study.ask()  # a process that is killed here leaves a running trial that has decided nothing
    trials = opened(tmp_path)
    assert recipes(run(trials, 3)) == ["float32", "int8", "cluster16-int8"]
    assert trials.retried() == 1


def test_what_kills_its_process_again_and_again_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.search.trials._MOST_DEATHS", 3)

    def deadly(trial: Trial) -> Sequence[float]:
        if trial.recipe == "float32":
            raise RuntimeError
        return judged(trial)

    trials = opened(tmp_path)
    for _ in range(8):
        try:
            trials.run(deadly)
        except RuntimeError:
            trials = opened(tmp_path)
    assert "float32" not in recipes(trials.finished())
    assert not trials.waiting()


CHILD = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {here!r})
    import test_trials
    trials = test_trials.opened(Path({folder!r}))

    def judged(trial):
        if len(trials.finished()) == {after}:
            print(trial.recipe, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return test_trials.judged(trial)

    while True:
        trials.run(judged)
"""


def killed(folder: Path, after: int) -> str:
    """A process that is killed in the middle of a trial; the recipe that it was trying."""
    code = textwrap.dedent(CHILD).format(here=str(Path(__file__).parent), folder=str(folder), after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


def test_kill_9_in_the_middle_of_a_trial_loses_and_doubles_nothing(tmp_path: Path) -> None:
    lost = [killed(tmp_path, after) for after in (1, 1)]
    trials = opened(tmp_path)
    found = recipes(run(trials, 6))
    assert found[:2] == ["float32", lost[-1]]
    assert set(lost) <= set(found)
    assert len(set(found)) == len(found) == 6
    assert trials.retried() == 2


def test_decisions_that_matter_are_told_from_those_that_do_not(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    run(trials, 22)
    found = trials.importances()
    assert set(found) == {"loss", "bytes", "pace", "ram"}
    assert found["ram"]["format"] > found["ram"]["shrink"]


def accepting(drawn: list[Trial]) -> Callable[[Trial], Sequence[float]]:
    """A judge that accepts all, and remembers what it was given."""

    def judge(trial: Trial) -> Sequence[float]:
        drawn.append(trial)
        trial.note("point", Point("r", "0" * 64, Cost(1, 1, 1), Loss(0.0, 0.0, 0.0, 10), (), "full"))
        trial.note("reason", "")
        return judged(trial)

    return judge


def test_two_of_three_recipes_that_are_drawn_are_neighbours_of_the_front(tmp_path: Path) -> None:
    drawn: list[Trial] = []
    trials, judge = opened(tmp_path), accepting(drawn)
    while len(drawn) < 60:
        trials.run(judge)
    kinds = {one.number: one.user_attrs for one in trials._study.get_trials(deepcopy=False)}
    own = [one for one in drawn if not {"start", "trained_by", "between"} & kinds[one.number].keys()]
    near = [one for one in own if "near" in kinds[one.number]]
    assert abs(len(near) - 2 * len(own) / 3) <= 1
    for one in near:
        before = [other.choices for other in drawn if other.number < one.number]
        alike = [taken for taken in before if taken.get("shrink") == one.choices.get("shrink")]
        assert any(one.recipe in map(SPACE.phrase, SPACE.neighbours(taken)) for taken in alike)


def test_an_objective_that_is_the_same_for_all_does_not_decide_what_dominates_most(tmp_path: Path) -> None:
    trials, drawn = opened(tmp_path), list[Trial]()
    judge = accepting(drawn)
    while len(drawn) < 12:
        trials.run(lambda trial: (*judge(trial)[:3], 0.0))
    front = trials._front()
    shares = [*map(trials._dominated(), (one.values for one in front))]
    assert len(front) > 2
    assert max(shares) > 0


def test_what_nothing_beats_is_trained_as_integers_after_all_formats_were_tried(tmp_path: Path) -> None:
    integers = Decision("qat", (False, True), ("format", ("int8",)))
    trials = Trials(local(tmp_path), "search", Space("host", (*SPACE.decisions[:1], integers), {}))
    trials.begin({"model": "m"}, [("float32", {"format": "float32"}), ("int8", {"format": "int8", "qat": False})])
    drawn: list[Trial] = []
    judge = accepting(drawn)
    for _ in range(3):
        trials.run(judge)
    assert [one.recipe for one in drawn] == ["float32", "int8", "qat-int8"]
    assert [one.trained_by is not None for one in drawn] == [False, False, True]


def test_the_floor_is_looked_for_by_halving_before_the_sampler_draws(tmp_path: Path) -> None:
    drawn: list[Trial] = []

    def judge(trial: Trial) -> Sequence[float]:
        drawn.append(trial)
        good = int(trial.choices.get("smaller", 0)) <= 60
        trial.note("point", Point("r", "0" * 64, Cost(1, 1, 1), Loss(0.0, 0.0, 0.0, 10), (), "full"))
        trial.note("reason", "" if good else "loses 0.02, more than 0.01")
        return judged(trial)

    trials = Trials(local(tmp_path), "search", SPACE)
    trials.begin({"model": "m"}, [("channels50-float32", {"format": "float32", "shrink": "channels", "smaller": 50})])
    for _ in range(12):
        trials.run(judge)
    networks = [one.choices["smaller"] for one in drawn if one.trained_by is None and "smaller" in one.choices]
    assert networks[:4] == [50, 70, 60, 65]


def test_between_the_best_and_the_floor_sizes_are_tried_where_the_front_promises_most(tmp_path: Path) -> None:
    drawn: list[Trial] = []

    def judge(trial: Trial) -> Sequence[float]:
        drawn.append(trial)
        share = int(trial.choices.get("smaller", 0))
        trial.note("point", Point("r", "0" * 64, Cost(1, 1, 1), Loss(0.0, 0.0, 0.0, 10), (), "full"))
        trial.note("reason", "" if share <= 85 else "loses 0.02, more than 0.01")
        return (share / 100) ** 8, 1 - share / 100, 1 - share / 100, 1.0

    space = Space("host", (Decision("format", ("int8",)), *SPACE.decisions[1:4]), {})
    starts = [
        (f"channels{share}-int8", {"format": "int8", "shrink": "channels", "smaller": share}) for share in (20, 50)
    ]
    trials = Trials(local(tmp_path), "search", space)
    trials.begin({"model": "m"}, starts)
    for _ in range(15):
        trials.run(judge)
    sizes = [one.choices["smaller"] for one in drawn if "smaller" in one.choices]
    assert sizes[:6] == [20, 50, 70, 80, 85, 90]  # looks for the floor
    assert sizes[6:8] == [75, 60]
    assert "epochs" in drawn[9].choices


def test_what_dominates_most_is_trained_for_longer_and_the_floor_looked_for_again(tmp_path: Path) -> None:
    drawn: list[Trial] = []

    def judge(trial: Trial) -> Sequence[float]:
        drawn.append(trial)
        share, longer = int(trial.choices.get("smaller", 0)), "epochs" in trial.choices
        trial.note("point", Point("r", "0" * 64, Cost(1, 1, 1), Loss(0.0, 0.0, 0.0, 10), (), "full"))
        trial.note("reason", "" if share <= (75 if longer else 60) else "loses 0.02, more than 0.01")
        loss, *rest = judged(trial)
        return (loss / 2 if longer else loss, *rest)

    trials = Trials(local(tmp_path), "search", SPACE)
    trials.begin({"model": "m"}, [("channels50-float32", {"format": "float32", "shrink": "channels", "smaller": 50})])
    for _ in range(20):
        trials.run(judge)
    way = [one for one in drawn if one.choices["shrink"] == "channels"]
    networks = dict.fromkeys((one.choices["smaller"], one.choices.get("epochs")) for one in way)
    assert [*networks][:9] == [
        *((share, None) for share in (50, 70, 60, 65, 55)),
        *((share, "3x") for share in (55, 75, 85, 80)),
    ]
    assert [one.trained_by is None for one in way if one.choices.get("epochs")][:1] == [False]
    assert all(one.choices.get("epochs") in (None, "3x") for one in drawn)
    untrained = [one for one in drawn if one.choices["shrink"] == "none"]
    assert not any("epochs" in one.choices for one in untrained)


@pytest.mark.parametrize("nearly", [True, False])
def test_what_the_floor_nearly_kept_is_tried_in_other_formats_and_trained_for_longer(
    tmp_path: Path, nearly: bool
) -> None:
    drawn: list[Trial] = []

    def judge(trial: Trial) -> Sequence[float]:
        drawn.append(trial)
        share, fine = int(trial.choices.get("smaller", 0)), trial.choices["format"] != "int8"
        good = share <= 60 or (share <= 70 and "epochs" in trial.choices) or (share <= 65 and fine)
        trial.note("point", Point("r", "0" * 64, Cost(1, 1, 1), Loss(0.0, 0.0, 0.0, 10), (), "full"))
        trial.note("reason", "" if good else "loses 0.012, more than 0.01")
        if not good and nearly:
            trial.note("nearly", True)
        return (share, *judged(trial)[1:])

    space = Space("host", SPACE.decisions[:4], {})
    trials = Trials(local(tmp_path), "search", space)
    trials.begin({"model": "m"}, [("channels50-int8", {"format": "int8", "shrink": "channels", "smaller": 50})])
    while len(drawn) < 24:
        trials.run(judge)
    recipes = [one.recipe for one in drawn if one.trained_by is not None]
    known = {one.number: one.recipe for one in drawn}
    of_refused = [
        one.recipe for one in drawn if one.trained_by is not None and known[one.trained_by] == "channels65-int8"
    ]
    assert ("channels65-float32" in of_refused) == nearly
    assert ("channels70-float32" in recipes) == nearly
    assert ("channels70-int8:epochs=3x" in recipes or "channels70-float32:epochs=3x" in recipes) == nearly


@pytest.mark.parametrize(("good", "tried"), [("3x", ["1x", "3x"]), ("1x", ["1x", "3x", "0.3x"])])
def test_learning_rates_are_tried_once_on_the_best_before_the_floor_is_looked_for(
    tmp_path: Path, good: str, tried: list[str]
) -> None:
    drawn: list[Trial] = []

    def judge(trial: Trial) -> Sequence[float]:
        drawn.append(trial)
        trial.note("point", Point("r", "0" * 64, Cost(1, 1, 1), Loss(0.0, 0.0, 0.0, 10), (), "full"))
        trial.note("reason", "")
        loss, *rest = judged(trial)
        return (loss / 2 if trial.choices.get("rate") == good else loss, *rest)

    trials = Trials(local(tmp_path), "search", RATED)
    start: Choices = {"format": "float32", "shrink": "channels", "smaller": 50, "rate": "1x"}
    trials.begin({"model": "m"}, [("channels50-float32", start), ("float32", {"format": "float32", "shrink": "none"})])
    for _ in range(8):
        trials.run(judge)
    way = [one.choices for one in drawn if one.choices["shrink"] == "channels"]
    assert [one["rate"] for one in way[: len(tried)]] == tried
    assert {one["smaller"] for one in way[: len(tried)]} == {50}
    assert all(one["rate"] == good for one in way[len(tried) :])
    assert way[len(tried)]["smaller"] == 70


RATE = Decision("rate", ("1x", "3x", "0.3x"), ("shrink", ("channels", "student")))
RATED = Space("host", (Decision("format", ("float32",)), *SPACE.decisions[1:3], RATE), {}, students={10: 0})


def started(folder: Path, *networks: Choices) -> tuple[Trials, list[Trial]]:
    """A search of learning rates after these networks were accepted, none of which dominates another."""
    trials, drawn = Trials(local(folder), "search", RATED), list[Trial]()
    trials.begin({"model": "m"}, [])

    def judge(trial: Trial) -> Sequence[float]:
        accepting(drawn)(trial)
        return 0.0, 9.0 - len(drawn), float(len(drawn)), 1.0

    for taken in networks:
        trials._enqueue({"format": "float32", **taken})
        trials.run(judge)
    return trials, drawn


def test_the_floor_is_looked_for_at_the_rate_of_what_dominates_most_though_others_are_on_the_front(
    tmp_path: Path,
) -> None:
    network: Choices = {"shrink": "channels", "smaller": 50}
    ways: list[Choices] = [{**network, "rate": rate} for rate in ("1x", "3x", "0.3x")]
    trials, _ = started(tmp_path, *ways)
    assert len(trials._front()) == 3
    best = trials._ranked()[0].params["rate"]
    assert best == "3x"  # the others have an end of the box for one of their objectives
    found = trials._between(trials._known())
    assert found == {"format": "float32", "shrink": "channels", "smaller": 70, "rate": best}


def test_a_student_as_wide_as_the_network_has_no_learning_rates(tmp_path: Path) -> None:
    trials, drawn = started(tmp_path, {"shrink": "student", "smaller": 10, "rate": "1x"})
    assert [one.recipe for one in drawn] == ["float32"]
    assert trials._faster(trials._known()) is None
    assert trials._longer(trials._known()) is None


def test_trials_of_a_search_that_had_no_rates_yet_were_trained_at_the_usual_one(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    before = Trials(
        local(folder), "search", Space("host", (Decision("format", ("float32",)), *SPACE.decisions[1:3]), {})
    )
    before.begin({"model": "m"}, [])
    before._enqueue({"format": "float32", "shrink": "channels", "smaller": 50})
    before.run(accepting([]))
    trials = Trials(local(folder), "search", RATED)
    faster = trials._faster(trials._known())
    assert faster is not None
    assert faster[1] == {"format": "float32", "shrink": "channels", "smaller": 50, "rate": "3x"}
    assert trials._between(trials._known()) == {"format": "float32", "shrink": "channels", "smaller": 70, "rate": "1x"}


def test_chance_never_trains_for_longer(tmp_path: Path) -> None:
    trials = Trials(local(tmp_path), "search", SPACE, sampler="random")
    trials.begin({"model": "m"}, [])
    drawn: list[Trial] = []
    for _ in range(20):
        trials.run(accepting(drawn))
    assert drawn
    assert not any("epochs" in one.choices for one in drawn)


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_to_be_trained_for_longer_still_is_after_a_kill(tmp_path: Path, alone: bool) -> None:
    taken: Choices = {"format": "float32", "shrink": "channels", "smaller": 50, "epochs": "3x"}
    trials = opened(tmp_path)
    trials._enqueue(taken, trained_by=0)

    def broken(trial: Trial) -> Sequence[float]:
        assert trial.choices == taken
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trials.run(broken)
    drawn: list[Trial] = []
    Trials(local(tmp_path), "search", SPACE, alone=alone).run(accepting(drawn))
    assert [(one.choices, one.trained_by) for one in drawn] == [(taken, 0 if alone else None)]


def test_two_workers_do_not_try_one_size_at_the_same_time(tmp_path: Path) -> None:
    trials = Trials(local(tmp_path), "search", SPACE, alone=False)
    trials.begin({"model": "m"}, [])
    for scheme in ("float32", "int8"):
        taken = {
            "format": scheme,
            "shrink": "channels",
            "smaller": 50,
            **({"calibration": "mse"} if scheme == "int8" else {}),
        }
        trials._study.enqueue_trial(taken)
        trials.run(accepting([]))
    between = trials._between(trials._known())
    assert between is not None
    assert between["smaller"] == 70
    meanwhile: list[Choices | None] = []

    def judge(trial: Trial) -> Sequence[float]:
        meanwhile.append(trials._between(trials._known()))
        return judged(trial)

    trials._study.enqueue_trial(between)
    trials.run(judge)
    assert meanwhile == [None]


def test_each_worker_tries_the_formats_of_networks_that_are_on_its_own_disk(tmp_path: Path) -> None:
    """After it was started again, too; what one process trained before there were several is on all their disks."""

    def worker(*disks: str) -> Trials:
        return Trials(local(tmp_path), "search", SPACE, alone=False, disks=disks)

    first = worker("work/worker1", "work")
    first.begin({"model": "m"}, [("channels50-float32", {"format": "float32", "shrink": "channels", "smaller": 50})])
    first.run(accepting([]))
    offered = [worker(*disks)._sibling({}) for disks in (("work/worker1", "work"), ("work/worker2", "work"), ("work",))]
    assert [offer is not None for offer in offered] == [True, False, False]
    alone = Trials(local(tmp_path), "other", SPACE, disks=("work",))
    alone.begin({"model": "m"}, [("channels50-float32", {"format": "float32", "shrink": "channels", "smaller": 50})])
    alone.run(accepting([]))
    others = Trials(local(tmp_path), "other", SPACE, alone=False, disks=("work/worker2", "work"))
    assert others._sibling({}) is not None


def test_where_the_sampler_repeats_itself_a_neighbour_of_the_front_is_tried(tmp_path: Path) -> None:
    trials = Trials(local(tmp_path), "search", Space("host", SPACE.decisions[1:3], {}))
    best: Choices = {"format": "float32", "shrink": "channels", "smaller": 50}
    trials.begin({"model": "m"}, [("channels50-float32", best)])
    drawn: list[Trial] = []
    trials.space = Space("host", SPACE.decisions, {})
    trials.run(accepting(drawn))
    assert trials._refilled()
    trials.run(accepting(drawn))
    assert drawn[0].recipe == "channels50-float32"
    changed = {name for name, value in drawn[1].choices.items() if best.get(name, "minmax") != value}
    assert len(changed) == 1


def test_a_network_that_nothing_beats_is_tried_in_the_other_formats_before_anything_else_is_drawn(
    tmp_path: Path,
) -> None:
    """And one that is beaten, or that was not accepted, is left."""
    drawn: list[Trial] = []
    accepted: list[Sequence[float]] = []
    best: set[int] = set()

    def judge(trial: Trial) -> Sequence[float]:
        drawn.append(trial)
        good = int(trial.choices.get("smaller", 0)) < 60
        trial.note("point", Point("r", "0" * 64, Cost(1, 1, 1), Loss(0.0, 0.0, 0.0, 10), (), "full"))
        trial.note("reason", "" if good else "loses 0.02, more than 0.01")
        values = judged(trial)
        accepted.extend([values] if good else [])
        if good and len(accepted) - 1 in nondominated(accepted):
            best.add(trial.number)
        return values

    trials = opened(tmp_path)
    while len(trials.finished()) < 30:
        trials.run(judge)
    for place, one in enumerate(drawn):
        if one.choices.get("shrink", "none") == "none" or one.trained_by is not None:
            continue
        network = {key: one.choices[key] for key in ("shrink", "smaller")}
        others = [
            later
            for later in drawn[place + 1 :]
            if later.trained_by is not None and network.items() <= later.choices.items()
        ]
        tried = {str(other.choices["format"]) for other in (one, *others)}
        complete = place + 4 < len(drawn)
        assert not complete or len(tried) == 3 if one.number in best else not others
    assert sum(one.trained_by is not None for one in drawn) > 5
