"""A recommended recipe that loses to float32 is changed for the first that does not; one that is named stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from run_examples import float_file, int8_file, manifest, measured
from toys import Toy

from edgekit.artifact import sha256
from edgekit.bench.profile import OperatorTime, Profile
from edgekit.bench.result import Runtime
from edgekit.errors import ModelError
from edgekit.pipeline import optimize
from edgekit.recipe import Recipe
from edgekit.run import Reference, Settled
from edgekit.speed import settle as settling
from edgekit.speed import slow_operators
from edgekit.speed.race import PROCESSES, Race
from edgekit.speed.settle import settle, slower, unmeasured
from edgekit.target import Target, load_target

Times = Mapping[str, float]
SCHEMES = {"float32": 2e-3, "int8": 3e-3, "int8:keep-float=HARD_SWISH": 1e-3, "dynamic-int8": 1e-3}


def _network(kind: str, middle: str) -> bytes:
    """LOGISTIC, the operator in the middle, RESHAPE, LOGISTIC."""
    toy = Toy()
    tensors = [toy.tensor((1, 8), kind, [0.05] if kind == "int8" else None) for _ in range(5)]
    shape = toy.tensor((2,), "int32", data=[1, 8])
    for index, name in enumerate(("LOGISTIC", middle, "RESHAPE", "LOGISTIC")):
        more = [shape] if name == "RESHAPE" else []
        toy.operator(name, [tensors[index], *more], [tensors[index + 1]])
    return toy.bytes(tensors[:1], tensors[-1:])


def _raced(times: Times) -> Callable[[Mapping[str, bytes]], Race]:
    return lambda files: Race({name: (times[name],) * PROCESSES for name in files})


def _seconds(dear: bool, integers: bool) -> float:
    return (3e-4 if dear else 0.5e-4) if integers else 1e-4


class Bench:
    """Settles int8 on a target, with networks and times that are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, middle: str, dear: str = "") -> None:
        self.patch, self.middle, self.said = monkeypatch, middle, list[str]()
        integers = _network("int8", middle)
        timed = {integers: True}
        monkeypatch.setattr(slow_operators, "_timed", lambda file: self.profiled(file, timed.get(file, False), dear))

    @staticmethod
    def profiled(file: bytes, integers: bool, dear: str) -> Profile:
        from edgekit.tflite.graph import read_graph

        operators = tuple(
            OperatorTime(op.index, op.name, "", "", 0, _seconds(op.name == dear, integers), 0.1, True)
            for op in read_graph(file).operators
        )
        return Profile("", "local", Runtime("ai-edge-litert", "2"), 1, 1.0, 0.0, 1.0, operators, ())

    def quantized(self, model: object, batch: int, stage: Any) -> bytes:
        """The network in the type of the scheme; float where its operator is kept so."""
        whole = stage.scheme == "int8" and self.middle not in stage.keep_float
        return _network("int8" if whole else "float32", self.middle)

    def makings(self, *pairs: tuple[Target, Recipe]) -> Any:
        """What a run would make, without making it."""
        return SimpleNamespace(
            model=None,
            pairs=pairs,
            here=[],
            say=self.said.append,
            work=SimpleNamespace(remember=lambda title, key, make, kind: make()),
            quantized=self.quantized,
            rewritten=lambda file, target: SimpleNamespace(file=file),
            finished=lambda target, recipe: self.quantized(None, recipe.convert.batch, recipe.quantize),
        )

    def settle(self, times: Times, target: str = "host", phrase: str = "int8") -> Settled:
        """What becomes of the recommended recipe."""
        self.patch.setattr(settling, "race", _raced(times))
        board = load_target(target)
        recipe = Recipe.parse(phrase).resolve(board)
        return settle(self.makings((board, recipe)), board, recipe)

    def warned(
        self, times: Times, target: str = "host", recipe: str | Path = "int8", middle: int = 30_000
    ) -> list[str]:
        """What is said of a recipe that somebody named, whose file took `middle` ns where float32 took 20,000."""
        self.patch.setattr(settling, "race", _raced(times))
        board = load_target(target)
        named = Recipe.parse(recipe).resolve(board)
        made, plain = manifest(target, "int8", int8_file(), None), sha256(float_file())
        made = msgspec.structs.replace(made, recipe=named, name=f"{target}/{named.slug}")
        known = {made.sha256: measured(int8_file(), middle), plain: measured(float_file(), 20_000)} if middle else {}
        reference = Reference((), {}, {}, {1: plain})
        return slower(self.makings((board, named)), [made], reference, known)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A network that XNNPACK leaves HARD_SWISH of in int8."""
    return Bench(monkeypatch, "HARD_SWISH")


def _with(**changes: float) -> Times:
    wide = {"int8:keep-float=HARD_SWISH+RESHAPE": 4e-3}
    return SCHEMES | wide | {name.replace("_", "-"): one for name, one in changes.items()}


def test_a_file_that_is_not_slower_keeps_the_recipe(bench: Bench) -> None:
    found = bench.settle({"int8": 2e-3, "float32": 2e-3})
    assert (found.used, found.reason) == ("int8", "")
    assert {name: one.value for name, one in found.seconds.items()} == {"int8": 2e-3, "float32": 2e-3}


def test_the_operators_that_are_left_become_an_island(bench: Bench) -> None:
    found = bench.settle(_with())
    assert found.used == "int8:keep-float=HARD_SWISH"
    assert [*found.seconds] == ["int8", found.used, "int8:keep-float=HARD_SWISH+RESHAPE", "dynamic-int8", "float32"]
    assert str(found) == (
        "host: int8:keep-float=HARD_SWISH is made instead of int8, int8 takes 3.00 ms, int8:keep-float=HARD_SWISH "
        "1.00 ms, float32 2.00 ms: XNNPACK leaves 1 HARD_SWISH, which it has in float32; --recipe int8 insists"
    )


@pytest.mark.parametrize(("dynamic", "used"), [(1.5e-3, "dynamic-int8"), (2.5e-3, "float32")])
def test_what_is_left_when_islands_lose_too(bench: Bench, dynamic: float, used: str) -> None:
    times = dict(_with(dynamic_int8=dynamic), **{"int8:keep-float=HARD_SWISH": 2.4e-3})
    assert bench.settle(times).used == used


def test_another_board_is_given_what_holds_wherever_xnnpack_runs(bench: Bench) -> None:
    assert bench.settle(_with(), "raspberry-pi-4").used == "int8:keep-float=HARD_SWISH"


def test_kernels_that_are_slow_here_change_the_recipe_here_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """XNNPACK takes the whole int8 file of this network; on the board its kernels may be as fast as they should."""
    bench = Bench(monkeypatch, "TANH", dear="TANH")
    words = ("int8:keep-float=TANH", "int8:keep-float=RESHAPE+TANH")
    times = {"float32": 2e-3, "int8": 3e-3, "dynamic-int8": 2.5e-3} | dict.fromkeys(words, 1e-3)
    assert bench.settle(times).used == words[0]
    board = bench.settle(times, "raspberry-pi-4")
    assert board.used == "int8"
    assert "slower with TANH 300 us (float32: 100 us); that may be this processor" in str(board)
    assert str(board).endswith(f"--recipe {words[0]} may be faster")


def test_a_race_that_is_not_lost_twice_changes_nothing(bench: Bench) -> None:
    races = iter([_raced(_with()), _raced(_with(int8=0.9e-3))])
    bench.patch.setattr(settling, "_raced", lambda makings, files: next(races)(files))
    found = bench.settle({})
    assert (found.used, found.reason) == ("int8", "")


def test_a_candidate_that_cannot_be_made_is_said_and_left_out(bench: Bench) -> None:
    makes = bench.quantized

    def refusing(model: object, batch: int, stage: Any) -> bytes:
        if stage.keep_float:
            raise ModelError("no such island")
        return makes(model, batch, stage)

    bench.quantized = refusing  # type: ignore[method-assign]
    assert bench.settle(_with()).used == "dynamic-int8"
    assert bench.said[0] == "int8:keep-float=HARD_SWISH cannot be made: no such island"


@pytest.mark.parametrize(
    ("target", "phrase"),
    [("coral-usb", "int8"), ("cortex-m4", "int8"), ("host", "float16"), ("host", "int8:io=int8"), ("host", "qat-int8")],
)
def test_integers_that_are_demanded_are_not_judged(bench: Bench, target: str, phrase: str) -> None:
    assert bench.settle({}, target, phrase).seconds == {}


def test_candidates_have_the_batch_of_the_recipe(bench: Bench) -> None:
    slow = {"int8:batch=4": 3e-3, "float32:batch=4": 1e-3, "dynamic-int8:batch=4": 3e-3}
    islands = dict.fromkeys(("int8:batch=4,keep-float=HARD_SWISH", "int8:batch=4,keep-float=HARD_SWISH+RESHAPE"), 4e-3)
    assert bench.settle(slow | islands, phrase="int8:batch=4").used == "float32:batch=4"


def test_a_named_recipe_stays_and_the_fastest_of_all_is_named(bench: Bench) -> None:
    (words,) = bench.warned(_with())
    assert words == (
        "host/int8: int8 takes 3.00 ms, int8:keep-float=HARD_SWISH 1.00 ms, float32 2.00 ms: "
        "XNNPACK leaves 1 HARD_SWISH, which it has in float32; "
        "--recipe int8:keep-float=HARD_SWISH is faster on this host"
    )


def test_a_named_recipe_that_loses_to_none_is_not_warned_of(bench: Bench) -> None:
    assert bench.warned({"int8": 2e-3, "float32": 2e-3}) == []


def test_files_race_only_where_the_measurements_say_that_one_may_lose(bench: Bench) -> None:
    for middle in (0, 10_000, 20_000):
        assert bench.warned({}, middle=middle) == []
    assert bench.warned({}, "coral-usb") == []


@pytest.mark.parametrize(("dynamic", "used"), [(1e-3, "dynamic-int8"), (2.5e-3, "float32")])
def test_a_name_that_is_no_phrase_gets_no_islands(bench: Bench, tmp_path: Path, dynamic: float, used: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(msgspec.structs.replace(Recipe.parse("int8"), name="own").to_toml())
    (words,) = bench.warned({"own": 3e-3, "dynamic-int8": dynamic, "float32": 2e-3}, recipe=path)
    assert words.endswith(f"--recipe {used} is faster on this host")
    assert "keep-float" not in words


def test_islands_that_are_named_get_no_more_islands(bench: Bench) -> None:
    times = {"int8:keep-float=TANH": 3e-3, "dynamic-int8": 3e-3, "float32": 2e-3}
    (words,) = bench.warned(times, recipe="int8:keep-float=TANH")
    assert words.endswith("--recipe float32 is faster on this host")


def test_integers_that_are_demanded_are_warned_of(bench: Bench) -> None:
    times = {"int8:io=int8": 3e-3, "float32": 2e-3, "dynamic-int8": 2.5e-3}
    islands = {f"int8:io=int8,keep-float={names}": 2.5e-3 for names in ("HARD_SWISH", "HARD_SWISH+RESHAPE")}
    (words,) = bench.warned(times | islands, recipe="int8:io=int8")
    assert words.endswith("--recipe float32 is faster on this host")


def test_what_nobody_measures_is_said_where_xnnpack_leaves_operators() -> None:
    board = load_target("host")
    recipe = Recipe.parse("int8").resolve(board)
    words = unmeasured(board, recipe, _network("int8", "HARD_SWISH"))
    assert words is not None
    assert words.startswith("host/int8: not measured, so it may be slower than float32: XNNPACK leaves 1 HARD_SWISH")
    assert unmeasured(board, recipe, _network("int8", "TANH")) is None


@pytest.mark.slow
def test_the_name_alone_gives_the_same_bytes(tiny_cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was led to another recipe, and one that is given its name and measures nothing."""
    model, data = tiny_cnn / "tiny.keras", tiny_cnn / "tiny.npz"
    slow: dict[str, float] = {"int8": 3e-3}
    monkeypatch.setattr(settling, "race", lambda files: Race({name: (slow.get(name, 1e-3),) * 4 for name in files}))
    led = optimize(model, data=data, out=tmp_path / "led")
    (chosen,), (settled,) = led.artifacts, led.settled
    assert settled.used == chosen.recipe.name != "int8"
    assert any("is made instead of int8" in warning for warning in led.warnings)
    named = optimize(model, data=data, recipes=[chosen.recipe.name], out=tmp_path / "named", benchmark=False)
    assert named.settled == ()
    assert named.artifacts[0].sha256 == chosen.sha256
    insisting = optimize(model, data=data, recipes=["int8"], out=tmp_path / "insisting", benchmark=False)
    assert insisting.artifacts[0].recipe.name == "int8"
