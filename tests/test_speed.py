"""A variant that was slower than its float32 file is named, with the fastest that could be made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from run_examples import float_file, int8_file, manifest, measured

from edgekit.artifact import sha256
from edgekit.recipe import Recipe
from edgekit.run import Reference
from edgekit.speed import slower
from edgekit.surgery.rewrite import Rewritten
from edgekit.target import load_target

PLAIN, INTEGERS, DYNAMIC = float_file(), int8_file(), int8_file(0.25)


def _warned(times: dict[bytes, int], target: str = "host", phrase: str = "int8", ran: bool = True) -> list[str]:
    board = load_target(target)
    makings: Any = SimpleNamespace(
        pairs=((board, Recipe.parse(phrase).resolve(board)),),
        model=None,
        quantized=lambda model, batch, stage: DYNAMIC if stage.scheme == "dynamic-int8" else b"",
        rewritten=lambda file, target: Rewritten(file),
        measurement=lambda file: measured(file, times[file]),
    )
    reference = Reference((), {}, {}, {1: sha256(PLAIN)})
    known = {sha256(file): measured(file, times[file]) for file in (PLAIN, INTEGERS)} if ran else {}
    made = (manifest(target, phrase, INTEGERS, None),)
    return slower(makings, made, reference, known, {sha256(INTEGERS): INTEGERS})


def test_nothing_is_said_where_int8_is_as_fast() -> None:
    assert _warned({PLAIN: 20_000, INTEGERS: 10_000}) == []
    assert _warned({PLAIN: 20_000, INTEGERS: 20_000}) == []


@pytest.mark.parametrize(("dynamic", "fastest"), [(10_000, "dynamic-int8"), (25_000, "float32")])
def test_the_fastest_of_three_is_named_where_int8_loses(dynamic: int, fastest: str) -> None:
    (words,) = _warned({PLAIN: 20_000, INTEGERS: 30_000, DYNAMIC: dynamic})
    assert words.startswith("host/int8: int8 takes ")
    assert words.endswith(f"--recipe {fastest} is faster on this host")


def test_accelerators_and_runs_without_measurement_are_not_judged_by_this_host() -> None:
    times = {PLAIN: 20_000, INTEGERS: 30_000, DYNAMIC: 10_000}
    assert _warned(times, "coral-usb") == []
    assert _warned(times, ran=False) == []
