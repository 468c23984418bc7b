"""Cores that a measurement stays on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner

from edgekit.bench.native import measure_native
from edgekit.bench.plan import plan_for
from edgekit.bench.run import measure
from edgekit.cli.plan_options import CoresType
from edgekit.errors import InputError

pinned = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin processes")


@pinned
def test_the_process_stays_on_the_cores_that_were_asked() -> None:
    core = max(os.sched_getaffinity(0))
    found = measure(tiny_models.negative(), plan_for(runs=2, cpus=(core,)))
    assert found.cpus == found.plan.cpus == (core,)
    assert found.machine.usable_cores == 1
    assert set(measure(tiny_models.negative(), plan_for(runs=2)).cpus) == os.sched_getaffinity(0)


@pinned
def test_a_core_that_is_not_there_is_refused_naming_those_that_are() -> None:
    there = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
    with pytest.raises(InputError, match=rf"no such core to use: 4000; there are {there}"):
        measure(tiny_models.negative(), plan_for(runs=2, cpus=(4000,)))


def test_the_native_tool_cannot_be_pinned() -> None:
    with pytest.raises(InputError, match="chosen cores"):
        measure_native(Path("m"), plan_for(cpus=(0,)), None, Path("t"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "cores"), [("0", (0,)), ("2-3", (2, 3)), ("3,0-1,1", (0, 1, 3)), (" 1 , 2 ", (1, 2))])
def test_cores_are_read_as_taskset_reads_them(text: str, cores: tuple[int, ...]) -> None:
    assert CoresType().convert(text, None, None) == cores


@pytest.mark.parametrize("text", ["", "a", "3-2", "1,", "-1", "0-99999", "4096"])
def test_what_names_no_cores_is_a_usage_error(text: str, tmp_path: Path) -> None:
    from edgekit.cli.benchmark import command

    result = CliRunner().invoke(command, ["m.tflite", "--cpus", text])
    assert result.exit_code == 2
    assert "cores" in result.stderr
