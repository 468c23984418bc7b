"""Operators that a runtime does not have: named, with what to do, on this machine and by benchmark_model."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models

from edgekit.bench.missing_operator import missing_operator
from edgekit.bench.native import measure_native, read_output
from edgekit.bench.plan import Delegate, plan_for
from edgekit.bench.run import alternate, infer, measure
from edgekit.device.local import LocalDevice
from edgekit.device.protocol import Completed
from edgekit.errors import InputError, MissingDependency, RunError


@pytest.mark.parametrize(
    ("name", "kind", "mend"),
    [("FlexErf", "TensorFlow (Flex)", "rewrite the layer"), ("my.Op2", "custom", "--delegate")],
)
def test_the_runtime_lacks_it(name: str, kind: str, mend: str) -> None:
    with pytest.raises(RunError) as error:
        measure(tiny_models.custom(name), plan_for(runs=2), name="m.tflite")
    assert error.value.problem == f"m.tflite: the runtime on local has no {kind} operator {name!r}"
    assert mend in error.value.mend


def test_a_file_for_an_edge_tpu_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    class Unreached(LocalDevice):
        def push(self, local: Path, keep: bool = False) -> str:
            raise AssertionError("pushed")

    file, plan = tiny_models.custom("edgetpu-custom-op"), plan_for(runs=2)
    (tmp_path / "m.tflite").write_bytes(file)
    with Unreached() as device:
        for call in (
            lambda: measure(file, plan, device),
            lambda: infer(file, [], device=device),
            lambda: measure_native(tmp_path / "m.tflite", plan, device, tmp_path / "m.tflite"),
        ):
            with pytest.raises(InputError, match="runs on an Edge TPU only") as error:
                call()
            assert "--delegate edgetpu" in error.value.mend


def test_with_a_delegate_the_device_decides() -> None:
    wanted = plan_for(runs=2, delegate=Delegate("/no/such/library.so"))
    with pytest.raises(MissingDependency, match="the delegate cannot be loaded"):
        measure(tiny_models.custom("edgetpu-custom-op"), wanted)


def test_turns_name_it_too() -> None:
    with pytest.raises(RunError, match="has no custom operator 'Unheard'"):
        alternate([tiny_models.negative(), tiny_models.custom()])


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("ERROR: Encountered unresolved custom op: PosenetDecoderOp.\nSee instructions: https://x", "PosenetDecoderOp"),
        ("ERROR: Encountered unresolved custom op: a.b.\nERROR: Node number 3 (a.b) failed to prepare.\n", "a.b"),
        ("ERROR: Encountered unresolved custom op: Long.See instructions: https://x", "Long"),
        ("Select TensorFlow op(s), included [...] See _selectNode number 7 (FlexErf) failed to prepare.", "FlexErf"),
    ],
)
def test_what_releases_of_the_tool_say(said: str, name: str) -> None:
    found = missing_operator(said)
    assert found is not None
    assert found.name == name
    with pytest.raises(RunError) as error:
        read_output(Completed(1, said, ""), "m.tflite", "phone")
    assert f"benchmark_model on phone has no {found.kind} operator {name!r}" in error.value.problem


def test_a_runtime_that_lacks_the_edge_tpu_tells_its_delegate() -> None:
    found = missing_operator("Encountered unresolved custom op: edgetpu-custom-op.")
    assert found is not None
    assert "--delegate edgetpu" in found.mend


def test_other_failures_are_no_missing_operator() -> None:
    assert missing_operator("Node number 0 (SPLIT) failed to prepare.") is None
