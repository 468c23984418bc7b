"""A whole search: what is on the shelf, that choices never see the test part, and that nothing gets lost on the way."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from click.testing import CliRunner

from edgekit.artifact import Artifact
from edgekit.cli.search import command, render
from edgekit.data.parts import Dataset, Part
from edgekit.dataset import load_dataset
from edgekit.errors import GateError, InputError, OutputError
from edgekit.recipe import Recipe
from edgekit.report import search_page
from edgekit.search.budget import Budget
from edgekit.search.findings import MADE_BY, Findings
from edgekit.search.found import Found
from edgekit.search.front import accepted, dominates
from edgekit.search.loop import Search
from edgekit.search.point import Loss
from edgekit.search.run import search_recipes
from edgekit.search.rungs import Rungs
from edgekit.search.shelf import Shelf, shelf
from edgekit.search.trial import Tried
from edgekit.search.trials import Trials, local
from edgekit.versions import versions

TRIALS = 7
SAMPLES = 200  # of the test part
SETTINGS: dict[str, Any] = {"max_drop": "5%", "max_bytes": "20K", "benchmark": False, "epochs": 1, "seed": 3}


@pytest.fixture(scope="module")
def searched(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Path]:
    out = tmp_path_factory.mktemp("searched") / "out"
    data = blobs / "blobs.npz"
    return search_recipes(blobs / "blobs.keras", data=data, out=out, trials=TRIALS, **SETTINGS), out


def told(tried: Sequence[Tried]) -> list[bytes]:
    """What became of each recipe, whatever time it took and whatever number it had."""
    kept = ((one.recipe, one.point, one.proxy, one.cost, one.reason) for one in tried)
    return sorted(map(msgspec.json.encode, kept))


def test_the_front_is_what_brute_force_finds_among_all_that_was_tried(searched: tuple[Found, Path]) -> None:
    found, _ = searched
    points = [one.point for one in found.tried if one.point and accepted(one.point, found.budget, found.floor)]
    assert len(found.tried) == TRIALS
    assert found.front
    vectors = {point.recipe: point.objectives(False) for point in points}
    front = {kept.point.recipe for kept in found.front}
    for name, vector in vectors.items():
        beaten = any(dominates(other, vector) for other in vectors.values())
        assert (name in front) != beaten or any(vectors[other] == vector for other in front)


def test_every_file_of_the_front_is_whole_and_proven_and_one_is_recommended(searched: tuple[Found, Path]) -> None:
    found, out = searched
    assert msgspec.json.decode((out / "front.json").read_bytes(), type=Found) == found
    assert found.finished
    for kept in found.front:
        artifact = Artifact.load(out / kept.folder)
        assert artifact.manifest.sha256 == kept.point.sha256
        assert artifact.manifest.recipe.name == kept.point.recipe
        assert artifact.manifest.verification is not None
        assert (artifact.manifest.verification.part, artifact.manifest.verification.samples) == ("test", SAMPLES)
        assert kept.test is not None
        assert kept.test.samples == SAMPLES
        assert kept.point.loss.samples == 300
        assert len(artifact.model) == kept.point.cost.file_bytes
    assert sorted(path.name for path in (out / "front").iterdir()) == sorted(
        Recipe.parse(kept.point.recipe).slug for kept in found.front
    )
    assert found.recommended is not None
    assert (out / "best").resolve() == (out / found.recommended.folder).resolve()
    found.accept()


def test_presets_come_first_and_what_is_over_budget_is_never_trained(searched: tuple[Found, Path]) -> None:
    found, _ = searched
    assert [one.recipe for one in found.tried[:4]] == ["float32", "float16", "dynamic-int8", "int8"]
    assert all(one.start for one in found.tried[:5])
    over = [one for one in found.tried if "is over" in one.reason]
    assert [one.recipe for one in over] == ["float32"]
    assert all(one.point is None and one.proxy is None and one.cost for one in over)


def test_the_report_has_the_front_and_needs_nothing_else(searched: tuple[Found, Path]) -> None:
    found, out = searched
    page = (out / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    for kept in found.front:
        assert kept.point.recipe in page
    for reason in found.left_out.values():
        assert str(msgspec.to_builtins(reason)).split("'")[0] in page
    assert page.count("<figure") >= 3


def test_a_best_artifact_can_be_packaged(
    searched: tuple[Found, Path], tmp_path: Path, edgekit_cli: Callable[..., Any]
) -> None:
    _, out = searched
    done = edgekit_cli("package", out / "best", "--for", "linux", "-o", tmp_path / "package")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "package").glob("*.deb"))


class _Watched(Part):
    """A test part that must not be read."""

    readable = False

    def _ready(self, rows: slice) -> Any:
        assert _Watched.readable, "the test part was read while choices were made"
        return super()._ready(rows)


def test_trials_never_see_the_test_part_and_outlive_an_error(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_dataset(blobs / "blobs.npz")
    finish, taken = Findings.finish, Rungs.point

    def allowed(search: Any, whole: Dataset) -> Found:
        _Watched.readable = True
        return finish(search, whole)

    def broken(self: Any, recipe: Recipe, *rest: Any) -> Any:
        if recipe.name == "float16":
            raise InputError("this one does not go")
        return taken(self, recipe, *rest)

    monkeypatch.setattr(Findings, "finish", allowed)
    monkeypatch.setattr(Rungs, "point", broken)
    watched = replace(data, test=_Watched(**{name: getattr(data.test, name) for name in Part.__dataclass_fields__}))
    found = search_recipes(blobs / "blobs.keras", data=watched, out=tmp_path / "out", trials=4, **SETTINGS)
    assert _Watched.readable
    assert found.front
    assert all(kept.test for kept in found.front)
    assert len(found.tried) == 4
    assert found.tried[1].reason == "cannot be made: this one does not go"


@pytest.mark.slow
def test_a_search_in_two_goes_finds_what_one_finds(searched: tuple[Found, Path], blobs: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"data": blobs / "blobs.npz", "out": tmp_path / "out"}
    assert len(search_recipes(blobs / "blobs.keras", trials=3, **settings).tried) == 3
    again = search_recipes(blobs / "blobs.keras", trials=5, **settings)
    assert told(again.tried) == told(searched[0].tried[:5])
    assert [one.number for one in again.tried] == list(range(5))


def test_a_search_that_another_version_began_says_so(searched: tuple[Found, Path], blobs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(searched[1], out, symlinks=True)
    space: Any = None
    trials = Trials(local(out), "search", space)
    (own,) = trials.known(MADE_BY).values()
    assert own == versions()
    trials.remember(f"{MADE_BY}another", {**own, "numpy": "0.1"})
    again = search_recipes(blobs / "blobs.keras", data=blobs / "blobs.npz", out=out, trials=TRIALS, **SETTINGS)
    told = f"trials were made by numpy 0.1 and {own['numpy']}: begin another --name to compare like with like"
    assert set(again.warnings) - set(searched[0].warnings) == {told}


def test_a_search_whose_metric_has_another_file_says_so(tmp_path: Path) -> None:
    file, space = tmp_path / "metrics.py", cast("Any", None)
    trials = Trials(local(tmp_path), "search", space)
    findings: Any = SimpleNamespace(trials=trials, metric=f"{file}:score", _credited=None)
    for bonus, edited in ((1, False), (1, False), (2, True)):
        file.write_text(f"BONUS = {bonus}\n")
        Findings.credit(findings)
        told = f"{file} was edited during the search: if that changes score(), give another --name"
        assert [word for word in Findings._mixtures(findings) if word] == [told] * edited


def test_another_question_under_the_same_name_is_refused(searched: tuple[Found, Path], blobs: Path) -> None:
    _, out = searched
    other = SETTINGS | {"max_bytes": "19K"}
    with pytest.raises(OutputError, match="begun with another budget"):
        search_recipes(blobs / "blobs.keras", data=blobs / "blobs.npz", out=out, trials=TRIALS, **other)


def test_a_time_that_is_over_before_one_trial_is_an_error(blobs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="before one trial of this call was finished"):
        search_recipes(blobs / "blobs.keras", data=blobs / "blobs.npz", out=tmp_path / "o", time=1e-6, **SETTINGS)


def test_a_folder_of_something_else_is_left_alone(blobs: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(OutputError, match=r"holds holiday\.jpg"):
        search_recipes(blobs / "blobs.keras", data=blobs / "blobs.npz", out=tmp_path, **SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prefer": "speed"}, "unknown prefer 'speed'"),
        ({"sampler": "Random"}, "unknown sampler 'Random'"),
        ({"trials": 0}, "a search of 0 trials"),
        ({"epochs": 0}, "a search of 0 epochs"),
    ],
)
def test_words_and_numbers_that_mean_nothing_are_refused_before_any_work(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        search_recipes("no.keras", data="no.npz", out="no", **{**SETTINGS, **wrong})


def test_a_place_that_is_no_folder_is_refused_and_errors_inside_are_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="not a folder"), shelf(tmp_path / "file"):
        pass
    with pytest.raises(PermissionError, match="of a device"), shelf(tmp_path / "out"):
        raise PermissionError("of a device")


def test_a_worker_is_furnished_where_files_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    with shelf(tmp_path / "out") as place:
        (place.work / "stages" / "network").mkdir()
        for name in ("one", "network/epochs.npz"):
            (place.work / "stages" / name).write_bytes(b"done")
        place.furnish(1)
        for name in ("one", "network/epochs.npz"):
            assert (place.work / "worker1" / "stages" / name).read_bytes() == b"done"


def test_what_a_user_puts_into_the_folder_of_a_search_does_not_end_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match="no search wrote"), shelf(tmp_path):
        pass
    for _ in range(2):
        with shelf(tmp_path / "out"):
            (tmp_path / "out" / "package").mkdir(exist_ok=True)


@pytest.mark.parametrize("slug", ["int8", None])
def test_a_copy_that_has_a_folder_in_place_of_the_link_can_be_gone_on_with(tmp_path: Path, slug: str | None) -> None:
    with shelf(tmp_path) as place:
        for number in (1, 2):
            (tmp_path / "best").unlink(missing_ok=True)
            (tmp_path / "best").mkdir()
            (tmp_path / "best" / "digits.tflite").touch()
            place.recommend(slug)
            assert (tmp_path / "best").is_symlink() == bool(slug)
            assert (tmp_path / "changed" / f"best-{number}" / "digits.tflite").exists()


def test_an_artifact_that_was_moved_away_is_laid_again_as_it_was(
    searched: tuple[Found, Path], blobs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(searched[1], out, symlinks=True)
    first, last = (out / searched[0].front[place].folder for place in (0, -1))
    shutil.rmtree(first)
    next(last.glob("*.tflite")).unlink()
    shutil.rmtree(out / "work" / "stages")  # of which it could be trained anew
    words: dict[str, Any] = {"data": blobs / "blobs.npz", "out": out, "trials": TRIALS, **SETTINGS}
    again = search_recipes(blobs / "blobs.keras", **words)
    for place in (0, -1):
        assert Artifact.load(out / again.front[place].folder).manifest.sha256 == again.front[place].point.sha256
    assert again.front == searched[0].front
    assert [path.name.rpartition("-")[0] for path in (out / "changed").iterdir()] == [last.name], "with no file in it"
    for folder in (first, out / "work" / "front"):
        shutil.rmtree(folder)
    search_recipes(blobs / "blobs.keras", **words)
    assert Artifact.load(first).manifest.sha256 == again.front[0].point.sha256, "made anew"


def test_another_search_in_the_folder_takes_nothing_away(
    searched: tuple[Found, Path], blobs: Path, tmp_path: Path
) -> None:
    """It finds the same files, and may refuse what the first one kept."""
    found, out = searched[0], tmp_path / "out"
    shutil.copytree(searched[1], out, symlinks=True)
    names = [(Recipe.parse(one.point.recipe).slug, one.point.sha256) for one in found.front]
    with shelf(out, "strict") as other:
        other.keep_only([], names)
    assert not list((out / "front").iterdir())
    with shelf(out) as place:
        assert all(place.restore(*name) for name in names)


def test_what_others_finish_while_the_shelf_is_tidied_stays(
    searched: tuple[Found, Path], blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(searched[1], tmp_path / "out", symlinks=True)
    one = next(one for one in searched[0].tried if one.point)
    assert one.point is not None
    late = msgspec.structs.replace(one, point=msgspec.structs.replace(one.point, recipe="float16:no-rewrite"))
    ended: list[Tried] = []
    removable: list[set[str]] = []
    finished, write = Trials.finished, Findings._write

    def written(findings: Findings, found: Found) -> None:
        write(findings, found)
        ended.append(late)

    def tidied(_: Shelf, kept: Iterable[tuple[str, str]], known: Iterable[tuple[str, str]]) -> None:
        removable.append({slug for slug, _ in known})
        ended.clear()

    monkeypatch.setattr(Trials, "finished", lambda trials: [*finished(trials), *ended])
    monkeypatch.setattr(Findings, "_write", written)
    monkeypatch.setattr(Shelf, "keep_only", tidied)
    search_recipes(blobs / "blobs.keras", data=blobs / "blobs.npz", out=tmp_path / "out", trials=TRIALS, **SETTINGS)
    assert removable
    assert all(slugs and "float16-no-rewrite" not in slugs for slugs in removable)


def test_a_format_that_could_only_be_beaten_is_not_tried(searched: tuple[Found, Path]) -> None:
    kept = searched[0].front[0].point
    one = Tried(3, kept.recipe, {"format": "float16"}, 1.0, cost=kept.cost, point=kept)
    findings = SimpleNamespace(front=lambda: (kept,), download=False)
    loop: Any = SimpleNamespace(trials=SimpleNamespace(finished=lambda: [one]), findings=findings)

    def outdone(size: int, **others: Any) -> str:
        named = {"trained_by": 3, "choices": {"format": "int8"}, "recipe": "float32", **others}
        trial: Any = SimpleNamespace(**named)
        return Search._outdone(loop, trial, msgspec.structs.replace(kept.cost, file_bytes=kept.cost.file_bytes + size))

    assert outdone(1) == f"would be beaten by {kept.recipe} if it lost what its network did"
    assert not outdone(-1)
    assert not outdone(1, trained_by=None)
    assert not outdone(1, choices={"format": "int8", "qat": True}), "training may bring it back"
    assert not outdone(1, choices={"format": "float32"}), "which may lose less"
    assert not outdone(1, choices={"format": "int8", "rate": "3x"}), "it is another training"


def test_a_file_is_kept_that_another_equals_which_ended_before_it(searched: tuple[Found, Path]) -> None:
    """Of equals the first number is on the front, whichever ended first."""

    def lay(_: Recipe) -> None:
        raise LookupError("it is made")

    point = searched[0].front[0].point
    other = msgspec.structs.replace(point, recipe="float16:no-rewrite")
    limits = (searched[0].budget, searched[0].floor)
    findings: Any = SimpleNamespace(_points=lambda: [other], _limits=limits, _lay=lay)
    with pytest.raises(LookupError, match="it is made"):
        Findings.shelve(findings, Recipe.parse("int8"), point)


def test_where_nothing_is_accepted_the_nearest_is_named(searched: tuple[Found, Path]) -> None:
    small = msgspec.structs.replace(searched[0], budget=Budget(max_bytes=5000), front=(), best=None)
    with pytest.raises(GateError, match="nearest is channels75-int8:epochs=1: bytes"):
        small.accept()
    failed = Tried(0, "int8", {}, 1.0, reason="cannot be made: no kernel")
    for cost in (None, searched[0].front[0].point.cost):
        nothing = msgspec.structs.replace(
            searched[0], front=(), best=None, tried=(msgspec.structs.replace(failed, cost=cost),)
        )
        with pytest.raises(GateError, match=r"none of 1 recipes is accepted: int8 cannot be made: no kernel") as error:
            nothing.accept()
        assert error.value.mend == "loosen a budget"
    refused = msgspec.structs.replace(searched[0].front[0].point.cost, faults=("no kernel for GELU",))
    nothing = msgspec.structs.replace(nothing, tried=(msgspec.structs.replace(failed, cost=refused),))
    with pytest.raises(GateError, match="the target does not run it: no kernel for GELU") as error:
        nothing.accept()
    assert error.value.mend == "change the model, or choose another target"
    assert [one.command.split()[1] for one in search_page._steps(nothing, "linux")] == ["recommend"]


def test_a_floor_that_the_test_part_does_not_confirm_is_not_accepted(searched: tuple[Found, Path]) -> None:
    found = searched[0]
    lossy = tuple(
        msgspec.structs.replace(kept, test=Loss(found.floor + 0.01, 0.0, 0.1, SAMPLES)) for kept in found.front
    )
    with pytest.raises(GateError, match="on the test part, more than"):
        msgspec.structs.replace(found, front=lossy).accept()


def _command(blobs: Path, out: Path) -> list[str]:
    words = ["search", blobs / "blobs.keras", "--data", blobs / "blobs.npz", "--max-drop", "5%", "--max-bytes"]
    words += ["20K", "--no-benchmark", "--epochs", 1, "--seed", 3, "--trials", TRIALS, "-o", out, "--json"]
    return [sys.executable, "-m", "edgekit", *map(str, words)]


def _killed_after(command: list[str], seconds: float, number: int) -> int | None:
    """Start the search and kill it; its exit code, None if it was the signal."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as job:
        try:
            return job.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, number)
            job.wait()
            return None


def _whole(out: Path) -> None:
    """Whatever is on the shelf is whole."""
    for folder in (out / "front").glob("[!.]*") if out.exists() else ():
        Artifact.load(folder)
    if (out / "front.json").exists():
        kept = msgspec.json.decode((out / "front.json").read_bytes(), type=Found)
        assert all((out / one.folder).is_dir() for one in kept.front) or not kept.finished
    if (out / "best").is_symlink():
        Artifact.load(out / "best")


def _resumed(command: list[str]) -> Found:
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout, type=Found)


def _ended(command: list[str], out: Path, number: int, ready: Callable[[], bool]) -> tuple[int, str]:
    """Start the search, send it a signal once it is `ready`, and give its exit code and what it said."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as job:
        deadline = time.monotonic() + 300
        while not ready() and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        job.send_signal(number)
        assert job.stderr
        said = job.stderr.read()
        return job.wait(), said


@pytest.mark.slow
def test_a_search_that_is_ended_and_killed_goes_on_and_loses_and_doubles_nothing(
    searched: tuple[Found, Path], blobs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command, stages = _command(blobs, out), out / "work" / "stages"
    code, said = _ended(command, out, signal.SIGTERM, (out / "best").exists)
    assert code == 130, said
    assert "the same command goes on" in said
    manifest = Artifact.load(out / "best").manifest
    assert manifest.verification is not None
    assert manifest.verification.part == "validation"
    kept = len(list(stages.iterdir()))
    code, said = _ended(command, out, signal.SIGKILL, lambda: len(list(stages.iterdir())) > kept + 3)
    assert code == -signal.SIGKILL, said
    _whole(out)
    found = _resumed(command)
    assert sorted(one.recipe for one in found.tried) == sorted(one.recipe for one in searched[0].tried)
    assert told(found.tried) == told(searched[0].tried)
    assert found.retried >= 1
    _whole(out)


@pytest.mark.slow
def test_a_search_killed_ten_times_at_random_loses_and_doubles_nothing(
    searched: tuple[Found, Path], blobs: Path, tmp_path: Path
) -> None:
    out, random_moment = tmp_path / "out", random.Random(0)
    command = _command(blobs, out)
    for _ in range(10):
        _killed_after(command, random_moment.uniform(2, 20), signal.SIGKILL)
        _whole(out)
    found = _resumed(command)
    assert told(found.tried) == told(searched[0].tried)
    assert len({one.recipe for one in found.tried}) == len(found.tried) == TRIALS
    _whole(out)


def test_the_command_prints_the_front_and_names_the_best(searched: tuple[Found, Path]) -> None:
    found, out = searched
    text = render(found, out)
    for kept in found.front:
        assert f"\n{kept.point.recipe} " in text
    assert f"recommended: {found.best}, in {out / 'best'}" in text
    assert "MACs" in text.splitlines()[0]


def test_the_command_wants_to_know_how_long() -> None:
    done = CliRunner().invoke(command, ["m.keras", "--data", "d.npz", "--max-drop", "1%", "-o", "out"])
    assert done.exit_code == 2
    assert "--time 30m, or --trials 50" in done.output
