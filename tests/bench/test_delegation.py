"""Delegates as they are asked for, loaded, refused, and what they really took of a graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_models
from click.testing import CliRunner
from test_native import NEW

from edgekit.bench.delegation import in_words, unmet
from edgekit.bench.native import flags, parse
from edgekit.bench.plan import Delegate, Plan, delegate_for, plan_for
from edgekit.bench.result import Delegation, Measurement, NativeMeasurement
from edgekit.bench.run import measure
from edgekit.cli.benchmark import command
from edgekit.errors import EdgekitError, GateError, InputError, MissingDependency, RunError


def planned(library: str, xnnpack: bool = True, **options: str) -> Plan:
    return plan_for(runs=3, xnnpack=xnnpack, delegate=Delegate(library, options))


def negative_and_sum() -> bytes:
    """-x, -(-x), their sum with x, and -(that sum): NEG around an ADD."""
    graph = tiny_models.Graph()
    x, a, b, c, y = (graph.tensor(name, (1, 4)) for name in "xabcy")
    for code, inputs, outputs in ((59, [x], [a]), (59, [a], [b]), (0, [b, x], [c]), (59, [c], [y])):
        graph.operator(code, inputs, outputs)
    return graph.bytes([x], [y])


def test_what_an_external_delegate_took_is_told_apart_from_what_xnnpack_took(library: str) -> None:
    own, default = measure(negative_and_sum(), planned(library)).delegations
    assert own == Delegation(library, operators=4, delegated=3, partitions=2, left={"ADD": 1})
    assert default == Delegation("XNNPACK", operators=4, delegated=1, partitions=1, left={"NEG": 3})


def test_a_delegate_that_takes_nothing_is_no_silent_fallback(library: str) -> None:
    (own,) = measure(negative_and_sum(), planned(library, xnnpack=False, take="none")).delegations
    assert (own.delegated, own.partitions, own.left) == (0, 0, {"NEG": 3, "ADD": 1})


@pytest.mark.parametrize(
    ("options", "words", "mend"),
    [
        ({"refuse": "no such board"}, "no such board", "--delegate-option"),
        ({"fail": "1"}, "refused on local", "--delegate-option"),
        ({"crash": "1"}, "crashed on local \\(SIGABRT\\)", "without --delegate"),
    ],
)
def test_a_delegate_that_refuses_or_crashes_is_a_run_error(
    library: str, options: dict[str, str], words: str, mend: str
) -> None:
    with pytest.raises(RunError, match=words) as error:
        measure(tiny_models.negative(), planned(library, **options))
    assert mend in error.value.mend


def test_a_library_that_is_missing_or_no_delegate_is_told_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match=r"libedgetpu\.so\.1") as error:
        measure(tiny_models.negative(), plan_for(runs=2, delegate=delegate_for("edgetpu")))
    assert "libedgetpu1-std" in error.value.mend
    text = tmp_path / "text.so"
    text.write_text("no library" * 100)
    with pytest.raises(MissingDependency, match="invalid ELF header") as error:
        measure(tiny_models.negative(), plan_for(runs=2, delegate=Delegate(str(text))))
    assert "--delegate" in error.value.mend


def left_to_run(model: Path, plan: Path, library: str) -> dict[int, int]:
    """{operator: its code} that is left to the interpreter: its execution plan as an observing delegate sees it."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    program = interpreter.Interpreter(str(model))
    program.allocate_tensors()
    count = sum(node["op_name"] != "DELEGATE" for node in program._get_ops_details())
    observer = interpreter.load_delegate(library, {"plan": str(plan)})
    program._interpreter.ModifyGraphWithDelegate(observer._get_native_delegate_pointer())
    rows = [tuple(map(int, line.split())) for line in plan.read_text().splitlines()]
    return {index: code for index, code in rows if index < count}


def test_the_operators_left_are_those_of_the_real_execution_plan(
    library: str, shared_data: Path, tmp_path: Path
) -> None:
    seen = 0
    for path in sorted((shared_data / "models").rglob("*.tflite")):
        if path.stem.endswith(("_edgetpu", "_decoder")) or "deeplab" in path.stem:
            continue  # no runtime without their accelerator, or not with XNNPACK, runs these
        (found,) = measure(path, plan_for(runs=1)).delegations
        left = left_to_run(path, tmp_path / "plan", library)
        assert sum(found.left.values()) == len(left), path
        seen += 1
    assert seen > 10


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("edgetpu", None),
        ("edgetpu:usb", "usb"),
        ("edgetpu:pci", "pci"),
        ("edgetpu:usb:1", "usb:1"),
        ("edgetpu:0", ":0"),
    ],
)
def test_edge_tpus_are_named_as_coral_names_them(text: str, device: str | None) -> None:
    found = delegate_for(text)
    assert found == Delegate("libedgetpu.so.1", {} if device is None else {"device": device})


@pytest.mark.parametrize("text", ["edgetpu:isa", "edgetpu:usb:x", "edgetpu:usb0"])
def test_an_edge_tpu_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="names no Edge TPU"):
        delegate_for(text)


def test_delegates_of_the_native_tool_are_flags_there_and_refused_elsewhere() -> None:
    assert "--use_gpu=true" in flags("m", plan_for(delegate=delegate_for("gpu", ["gpu_precision_loss_allowed=false"])))
    words = flags("m", plan_for(delegate=Delegate("/data/x.so", {"a": "1", "b": "2"})))
    assert {"--external_delegate_path=/data/x.so", "--external_delegate_options=a:1;b:2"} <= set(words)
    with pytest.raises(InputError, match="inside of benchmark_model"):
        measure(tiny_models.negative(), plan_for(delegate=delegate_for("nnapi")))


GPU = "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.\n"
NNAPI = "INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
REPLACED = "VERBOSE: Replacing 54 out of 559 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions.\n"


@pytest.mark.parametrize(
    ("said", "delegate", "partitions", "whole"),
    [(GPU, "GPU", 1, True), (NNAPI, "NNAPI", 0, False), (NNAPI + GPU, "NNAPI", 0, False), ("", "XNNPACK", 3, False)],
)
def test_the_native_tool_is_asked_about_the_first_delegate(
    said: str, delegate: str, partitions: int, whole: bool
) -> None:
    found = parse(said + NEW, "phone")
    assert (found.delegate, found.delegate_partitions, found.fully_delegated) == (delegate, partitions, whole)
    assert (parse(REPLACED + NEW, "phone").delegated, parse(REPLACED + NEW, "phone").operators) == (54, 559)


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return measure(tiny_models.negative(), plan_for(runs=2))


def test_a_demand_is_met_by_any_piece_or_by_all(measured: Measurement) -> None:
    part = Delegation("d.so", operators=5, delegated=3, partitions=1, left={"PAD": 2})
    none = Delegation("d.so", operators=5, delegated=0, partitions=0, left={"PAD": 5})
    assert unmet(measured, "all") is None
    for found, any_, all_ in ((part, None, in_words(part)), (none, in_words(none), in_words(none))):
        one = msgspec.structs.replace(measured, delegations=(found,))
        assert (unmet(one, "any"), unmet(one, "all")) == (any_, all_)
    assert in_words(part) == "d.so took 3 of 5 operators in 1 partition; left to others: 2 PAD"
    assert unmet(msgspec.structs.replace(measured, delegations=()), "any")


@pytest.mark.parametrize("change", [{"delegated": 4}, {"left": {"PAD": -2}}, {"left": {"P\n": 2}}, {"partitions": -1}])
def test_counts_that_do_not_add_up_are_not_believed(change: dict[str, Any]) -> None:
    good = {"delegate": "d.so", "operators": 5, "delegated": 3, "partitions": 1, "left": {"PAD": 2}}
    assert msgspec.convert(good, Delegation).delegated == 3
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | change, Delegation)


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(command, [str(word) for word in arguments])
    if isinstance(result.exception, EdgekitError):
        raise result.exception
    return result


def test_the_command_says_what_was_taken_and_can_demand_it(library: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(negative_and_sum())
    words = (path, "--runs", 3, "--delegate", library)
    assert "took 3 of 4 operators in 2 partitions; left to others: 1 ADD" in run(*words).stdout
    (row,) = json.loads(run(*words, "--require-delegate", "any", "--json").stdout)["rows"]
    assert not [words for words in row["warnings"] if "--require-delegate" in words]
    assert row["delegations"][0]["left"] == {"ADD": 1}
    with pytest.raises(GateError, match="1 ADD") as error:
        run(*words, "--require-delegate", "all")
    assert "any asks for a part" in error.value.mend
    with pytest.raises(GateError, match="took 0 of 4") as error:
        run(*words, "--delegate-option", "take=none", "--require-delegate", "any")
    assert "asks for a part" not in error.value.mend
    assert "which is missing" in run(path, "--delegate-option", "a=b").stderr


def test_xnnpack_is_demanded_where_no_delegate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_models.negative())
    assert run(path, "--runs", 2, "--require-delegate", "all").exit_code == 0
    with pytest.raises(GateError, match="none was on"):
        run(path, "--runs", 2, "--no-xnnpack", "--require-delegate", "any")


def test_a_phone_is_held_to_the_demand_too() -> None:
    def told(text: str) -> NativeMeasurement:
        fields = dict.fromkeys(NativeMeasurement.__struct_fields__)
        return msgspec.structs.replace(NativeMeasurement(**fields), printed=parse(text + NEW, "phone"))  # type: ignore[arg-type]

    assert unmet(told(GPU), "all") is None
    assert unmet(told(""), "any") is None
    assert "a part" in (unmet(told(""), "all") or "")
    assert "nothing" in (unmet(told(NNAPI), "any") or "")
