"""Where the time goes, operator by operator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner
from msgspec.structs import replace

from edgekit.bench.plan import plan_for
from edgekit.bench.profile import ADDS_UP, OperatorTime, Profile, Untimed, not_adding_up, profile
from edgekit.bench.result import Runtime
from edgekit.cli.profile import command, render
from edgekit.errors import ModelError
from edgekit.tflite.inspect import read_contents


@pytest.fixture(scope="module")
def file(float_file: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "digits.tflite"
    path.write_bytes(float_file)
    return path


@pytest.fixture(scope="module")
def found(file: Path) -> Profile:
    return profile(file)


def test_every_operator_has_a_time_and_the_shares_are_whole(found: Profile, file: Path) -> None:
    contents = read_contents(file)
    assert [one.index for one in found.operators] == [op.index for op in contents.operators]
    assert sum(one.share for one in found.operators) == pytest.approx(1)
    assert sum(one.macs for one in found.operators) == contents.macs
    assert found.sum_of_parts * (found.whole_seconds - found.call_seconds) == pytest.approx(
        sum(one.seconds for one in found.operators)
    )
    assert found.untimed == ()


def test_the_heavy_operators_take_the_time(found: Profile) -> None:
    heavy = max(found.operators, key=lambda one: one.macs)
    light = [one for one in found.operators if one.operator == "RESHAPE"]
    assert all(heavy.seconds > one.seconds for one in light)


def test_types_are_sums(found: Profile) -> None:
    assert sum(one.count for one in found.types) == len(found.operators)
    assert sum(one.share for one in found.types) == pytest.approx(1)
    assert list(found.types) == sorted(found.types, key=lambda one: -one.seconds)


def test_what_ran_by_a_delegate_is_said(found: Profile, file: Path) -> None:
    assert any(one.delegated for one in found.operators)
    bare = profile(file, plan_for(xnnpack=False))
    assert not any(one.delegated for one in bare.operators)


def test_a_file_of_which_nothing_can_be_timed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.custom())
    with pytest.raises(ModelError, match="can run alone"):
        profile(tmp_path / "m.tflite")


def test_open_dimensions_are_told(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.negative((-1, -1)))
    assert profile(tmp_path / "m.tflite").warnings[0].startswith("open dimensions were run as 1: t0; ")


def test_the_tables() -> None:
    name = "model/batch/Fused;model/" + "long_" * 10 + "name/Conv2D"
    operators = tuple(
        OperatorTime(index, "CONV_2D", name, "int8", 1000, 1e-6 * index, index / 300, index % 2 == 0)
        for index in range(1, 25)
    )
    untimed = (Untimed(25, "VAR_HANDLE", "state", "keeps a state"), Untimed(26, "VAR_HANDLE", "other", "keeps a state"))
    runtime = Runtime("ai-edge-litert", "2.3.0")
    text = render(Profile("m", "local", runtime, 2, 3.2e-4, 5e-7, 0.94, operators, untimed))
    assert "the 20 slowest of 24" in text
    assert "not timed: 2 VAR_HANDLE (keeps a state)" in text
    assert "2 threads: the whole takes 320 us, 500 ns of it for the call" in text
    assert "0.94 times" in text
    assert "..." in text
    assert max(map(len, text.splitlines()[:-1])) <= 120
    everything = render(Profile("m", "local", runtime, 1, 3.2e-4, 5e-7, 0.94, operators, ()), everything=True)
    assert "slowest" not in everything


def test_the_command(file: Path) -> None:
    done = CliRunner().invoke(command, [str(file), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["operators"][0]["operator"] == "CONV_2D"
    assert told["format_version"] == 1


@pytest.mark.parametrize(
    ("parts", "whole", "untimed", "why"),
    [
        (1.9, 2.6e-6, 0, "the call (500 ns)"),
        (0.5, 2.6e-6, 3, "the call (500 ns)"),
        (1.16, 1e-3, 0, "they share"),
        (0.84, 1e-3, 6, "6 operators are not timed"),
        (0.84, 1e-3, 0, "in the cache"),
    ],
)
def test_parts_that_do_not_add_up_are_told_with_the_reason(parts: float, whole: float, untimed: int, why: str) -> None:
    (words,) = not_adding_up(parts, 5e-7, whole, untimed)
    assert words.startswith(f"the operators alone add up to {parts:.2f} times the whole")
    assert why in words


@pytest.mark.parametrize("parts", ADDS_UP)
def test_parts_that_add_up_draw_no_warning(parts: float) -> None:
    assert not list(not_adding_up(parts, 5e-7, 1e-3, 5))


@pytest.mark.parametrize("doubts", [(), ("they do not",)])
def test_the_command_warns_on_standard_error(
    found: Profile, file: Path, doubts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.cli.profile.profile", lambda *_, **__: replace(found, warnings=doubts))
    shown = CliRunner().invoke(command, [str(file)])
    assert shown.stderr.splitlines() == [f"profiling {file}", *(f"warning: {words}" for words in doubts)]
    assert "they do not" not in shown.stdout
    assert json.loads(CliRunner().invoke(command, [str(file), "--json"]).stdout)["warnings"] == list(doubts)
