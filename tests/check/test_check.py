"""`check`: what stops a file on a target, what costs, and what is only worth knowing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
import tiny_models
from click.testing import CliRunner

from edgekit.check.check import CheckResult, MemoryUse, check
from edgekit.cli.check import command as check_command
from edgekit.errors import GateError, ModelError, TargetError
from edgekit.source_check import check_file
from edgekit.target import Target, load_target
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import ModelSummary, OperatorInfo, TensorInfo, inspect_model

SHARED = Path(os.environ.get("EDGEKIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "models"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared models at {SHARED}")


def tensor(name: str, dtype: str = "int8", shape: tuple[int, ...] = (1, 8, 8, 3), **rest: int) -> TensorInfo:
    return TensorInfo(name, shape, dtype, **rest)


def operator(name: str, dtype: str = "int8", **changes: object) -> OperatorInfo:
    plain = OperatorInfo(
        index=0,
        name=name,
        custom=False,
        flex=False,
        subgraph=0,
        dtype=dtype,
        inputs=(0,),
        outputs=(1,),
        output_name="y",
        output_shape=(1, 8, 8, 3),
        macs=0,
        weight_bytes=0,
        weight_dtype="",
        dynamic=False,
    )
    return msgspec.structs.replace(plain, **changes)


def model(*operators: OperatorInfo, numeric: str = "int8", io: str = "int8", **changes: object) -> ModelSummary:
    plain = ModelSummary(
        file_bytes=10_000,
        deflated_bytes=9_000,
        description="",
        numeric=numeric,  # type: ignore[arg-type]
        inputs=(tensor("x", io),),
        outputs=(tensor("y", io),),
        operators=operators,
        tensors=(tensor("x", io), tensor("y", io)),
        parameters=1_000,
        parameter_bytes=1_000,
        macs=0,
        subgraphs=1,
        signatures=(),
        metadata=(),
    )
    return msgspec.structs.replace(plain, **changes)


def found(summary: ModelSummary, target: str | Target) -> dict[str, str]:
    """Code -> level of the findings."""
    chosen = load_target(target) if isinstance(target, str) else target
    return {finding.code: finding.level for finding in check(summary, chosen).findings}


def test_plain_int8_model_has_nothing_to_complain_about() -> None:
    summary = model(operator("ADD"), operator("MUL"))
    assert found(summary, "raspberry-pi-4") == {}
    assert found(summary, "cortex-m4") == {}
    assert found(summary, "coral-usb") == {}


def test_scheme_that_the_target_lacks_is_one_error_and_not_one_an_operator() -> None:
    summary = model(operator("ADD", "float32"), operator("MUL", "float32"), numeric="float32", io="float32")
    assert found(summary, "coral-usb") == {"unsupported-numerics": "error"}
    assert found(summary, "raspberry-pi-4") == {}


def test_every_scheme_outside_the_list_is_refused_and_every_one_inside_accepted() -> None:
    target = load_target("cortex-m7")
    for scheme in ("float32", "float16", "dynamic-int8", "int8", "int16x8"):
        refused = "unsupported-numerics" in found(model(numeric=scheme), target)
        assert refused == (scheme not in target.numerics.schemes)


def test_operator_outside_the_table_warns_where_a_cpu_takes_over_and_stops_where_none_does() -> None:
    summary = model(operator("ARG_MAX"), operator("GELU"))
    coral = check(summary, load_target("coral-usb"))
    assert {finding.subject.split()[0] for finding in coral.findings} == {"ARG_MAX", "GELU"}
    assert found(summary, "coral-usb") == {"unsupported-operator": "warn"}
    micro = check(summary, load_target("cortex-m4"))
    assert [finding.subject.split()[0] for finding in micro.findings] == ["GELU"]
    assert micro.reaches("error")


def test_operators_that_a_loop_calls_are_looked_at_on_a_microcontroller() -> None:
    summary = model(operator("WHILE"), operator("GELU", subgraph=1), operator("ADD", subgraph=1))
    found = check(summary, load_target("cortex-m4"), read_graph(tiny_models.negative())).findings
    assert [one.subject.split()[0] for one in found if one.code == "unsupported-operator"] == ["GELU"]


def test_board_micro_hands_over_to_tensorflow_lite_micro_only() -> None:
    result = check(model(operator("ARG_MAX"), operator("GELU")), load_target("coral-dev-board-micro"))
    assert [(finding.subject.split()[0], finding.level) for finding in result.findings] == [
        ("GELU", "error"),
        ("ARG_MAX", "warn"),
    ]


def test_operator_that_no_schema_knows_is_an_error_everywhere() -> None:
    assert found(model(operator("BUILTIN_999")), "raspberry-pi-4") == {"unsupported-operator": "error"}


def test_one_operator_or_tensor_is_one() -> None:
    batch = operator("ADD", "float32", output_shape=(2, 8, 8, 3))
    for count, words in ((1, ("1 operator computes", "1 tensor is")), (2, ("2 operators compute", "2 tensors are"))):
        found = check(model(*[batch] * count, numeric="mixed"), load_target("coral-usb")).findings
        assert all(any(said in finding.problem for finding in found) for said in words)


def test_documented_limit_is_told_with_its_own_source() -> None:
    (finding,) = check(model(operator("SOFTMAX")), load_target("coral-usb")).findings
    assert (finding.level, finding.code) == ("info", "documented-limit")
    assert "16,000" in finding.problem
    assert "Datalab_Intern" in finding.source


def test_flex_and_custom_operators_stop_the_model() -> None:
    flex = operator("FlexErf", custom=True, flex=True)
    assert found(model(flex), "raspberry-pi-4") == {"flex-operator": "error"}
    custom = operator("MyOp", custom=True)
    assert found(model(custom), "raspberry-pi-4") == {"custom-operator": "error"}
    assert found(model(custom), "cortex-m4") == {"custom-operator": "warn"}


def test_custom_operators_that_are_built_in_pass() -> None:
    assert found(model(operator("edgetpu-custom-op", custom=True)), "coral-usb") == {}
    compiled = model(operator("edgetpu-custom-op", custom=True))
    assert found(compiled, "raspberry-pi-4") == {"custom-operator": "error"}
    assert check(compiled, load_target("raspberry-pi-4")).findings[0].mend == "give the file that it was compiled from"
    assert found(model(operator("TFLite_Detection_PostProcess", custom=True)), "raspberry-pi-4") == {}


def test_the_parameters_inside_of_a_compiled_file_are_not_said_to_be_none(shared_data: Path) -> None:
    folder = shared_data / "models/coral_pairs"
    files = [folder / f"mobilenet_v1_0.25_128_quant{suffix}.tflite" for suffix in ("", "_edgetpu")]
    plain, compiled = (check_file(file.read_bytes(), [load_target("coral-usb")])[0].memory for file in files)
    assert plain.on_chip_bytes
    assert (compiled.on_chip_bytes, compiled.streamed_bytes) == (None, None)


def test_float_island_in_a_mixed_model_is_named_on_an_integer_target() -> None:
    summary = model(operator("ADD"), operator("MUL", "float32"), numeric="mixed")
    assert found(summary, "coral-usb") == {"unsupported-type": "warn"}
    assert found(summary, "raspberry-pi-4") == {}


def test_uint8_kernels_are_gone_from_microcontrollers() -> None:
    summary = model(operator("ADD", "uint8"), io="uint8")
    assert found(summary, "cortex-m4")["unsupported-type"] == "error"
    assert "unsupported-type" not in found(summary, "coral-usb")


def test_float_inputs_of_an_int8_model_warn_once_a_side_and_their_casts_do_not() -> None:
    casts = operator("QUANTIZE", "float32"), operator("DEQUANTIZE", "int8")
    result = check(model(casts[0], operator("ADD"), casts[1], io="float32"), load_target("coral-usb"))
    assert [finding.code for finding in result.findings] == ["float-io", "float-io"]
    assert all(finding.level == "warn" for finding in result.findings)
    assert "io=uint8" in result.findings[0].mend


def test_cast_inside_the_model_is_not_excused() -> None:
    inner = operator("DEQUANTIZE", inputs=(2,), outputs=(3,))
    tensors = tuple(tensor(name) for name in ("x", "y", "a", "b"))
    assert found(model(inner, tensors=tensors), "coral-usb") == {"unsupported-operator": "warn"}


def test_open_batch_is_told_where_only_the_stored_size_is_planned_for() -> None:
    summary = model(inputs=(tensor("x", shape=(-1, 640)),))
    assert found(summary, "coral-usb") == {"dynamic-shape": "warn"}
    assert found(summary, "cortex-m4") == {"dynamic-shape": "warn"}
    assert found(summary, "raspberry-pi-4") == {}
    (finding,) = check(summary, load_target("coral-usb")).findings
    assert "x [-1, 640]" in finding.subject


def test_large_batch_does_not_fit_three_dimensions() -> None:
    summary = model(operator("ADD", output_shape=(4, 8, 8, 3)))
    assert found(summary, "coral-usb") == {"too-many-dimensions": "warn"}
    assert found(model(operator("ADD", output_shape=(8, 8, 3))), "coral-usb") == {}


def test_dense_weights_with_many_scales_are_an_error_where_kernels_read_one() -> None:
    weight = tensor("w", shape=(10, 8), channel_scales=10, constant_bytes=80)
    tensors = (tensor("x"), tensor("y"), weight)
    dense = model(operator("FULLY_CONNECTED", inputs=(0, 2)), tensors=tensors)
    (finding,) = check(dense, load_target("cortex-m4")).findings
    assert (finding.code, finding.level) == ("per-channel-weights", "error")
    assert "int8:dense-per-tensor" in finding.mend
    assert found(dense, "raspberry-pi-4") == {}
    assert found(model(operator("CONV_2D", inputs=(0, 2)), tensors=tensors), "cortex-m4") == {}


def test_size_is_held_against_flash_budget_and_cache() -> None:
    at_limit = model(file_bytes=2**20)
    assert found(at_limit, "cortex-m4") == {}
    assert found(msgspec.structs.replace(at_limit, file_bytes=2**20 + 1), "cortex-m4") == {"too-large": "error"}
    assert found(model(file_bytes=10_000_000, parameter_bytes=9_000_000), "coral-usb") == {"streams": "info"}
    tight = load_target("raspberry-pi-4")
    tight = msgspec.structs.replace(tight, budget=msgspec.structs.replace(tight.budget, file_bytes=9_999))
    assert found(model(), tight) == {"too-large": "error"}


def test_findings_come_gravest_first_and_each_names_its_source() -> None:
    summary = model(operator("SOFTMAX"), operator("ARG_MAX"), operator("MyOp", custom=True))
    result = check(summary, load_target("coral-usb"))
    assert [finding.level for finding in result.findings] == ["error", "warn", "info"]
    assert all("https://" in finding.source for finding in result.findings)
    assert (result.count("error"), result.count("warn"), result.count("info")) == (1, 1, 1)


def test_a_result_reaches_its_own_level_and_those_below() -> None:
    warned = check(model(operator("ARG_MAX")), load_target("coral-usb"))
    assert not warned.reaches("error")
    assert warned.reaches("warn")
    assert warned.reaches("info")
    assert not CheckResult("t", "int8", MemoryUse(1, 1, 0, 0)).reaches("info")


@shared
@pytest.mark.parametrize("name", ["deeplabv3_mnv2_dm05_pascal_quant", "mobilenet_v1_0.25_128_quant"])
def test_forecast_for_the_edge_tpu_is_confirmed_by_what_its_compiler_left_over(name: str) -> None:
    before = inspect_model(SHARED / "coral_pairs" / f"{name}.tflite")
    after = inspect_model(SHARED / "coral_pairs" / f"{name}_edgetpu.tflite")
    left_over = {op.name for op in after.operators if not op.custom}
    result = check(before, load_target("coral-usb"))
    forecast = {f.subject.split()[0] for f in result.findings if f.code == "unsupported-operator"}
    assert forecast <= left_over
    assert not result.reaches("error")
    assert not check(after, load_target("coral-usb")).reaches("error")


@shared
def test_models_known_to_run_on_tensorflow_lite_micro_pass() -> None:
    files = [*(SHARED / "microwakeword").glob("*.tflite"), *(SHARED / "tflm").rglob("*.tflite")]
    assert files
    for file in files:
        assert not check(inspect_model(file), load_target("esp32-s3")).reaches("error"), file


@shared
def test_command_prints_results_and_fails_at_the_asked_level() -> None:
    file = str(SHARED / "mlperf_tiny_ic" / "pretrainedResnet_quant.tflite")
    both = ["--target", "coral-usb", "--target", "raspberry-pi-4"]
    passed = CliRunner().invoke(check_command, [file, *both, "--json"])
    assert passed.exit_code == 0
    assert [result["target"] for result in json.loads(passed.stdout)["results"]] == ["coral-usb", "raspberry-pi-4"]
    cut = str(SHARED / "coral_pairs" / "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    failed = CliRunner().invoke(check_command, [cut, "-t", "coral-usb", "--fail-on", "warn"])
    assert isinstance(failed.exception, GateError)
    assert "coral-usb: runs (4 warnings" in failed.stdout
    assert "coral-usb" in failed.exception.problem


@shared
def test_target_may_be_a_file_of_the_user(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    text = (Path(__file__).parents[2] / "targets" / "cortex-m4.toml").read_text(encoding="utf-8")
    mine.write_text(text.replace("1_048_576", "1_000"), encoding="utf-8")
    file = str(SHARED / "tflm" / "hello_world_int8.tflite")
    file = file if Path(file).exists() else str(next((SHARED / "tflm").rglob("hello_world_int8.tflite")))
    result = CliRunner().invoke(check_command, [file, "--target", str(mine)])
    assert isinstance(result.exception, GateError)
    assert "the flash is 1000 B" in result.stdout


def test_a_keras_file_that_is_not_there_is_missing_and_not_of_a_wrong_kind(tmp_path: Path) -> None:
    result = CliRunner().invoke(check_command, [str(tmp_path / "model.keras"), "-t", "host"])
    assert isinstance(result.exception, ModelError)
    assert "no such file" in result.exception.problem


def test_unknown_target_and_missing_file_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "no.tflite")
    assert isinstance(CliRunner().invoke(check_command, [missing, "--target", "corel-usb"]).exception, TargetError)
    gone = CliRunner().invoke(check_command, [missing, "--target", "coral-usb"])
    assert isinstance(gone.exception, ModelError)
    assert "no such file" in gone.exception.problem


@shared
def test_xnnpack_is_forecast_for_the_runtime_whose_rules_are_known() -> None:
    pi = load_target("raspberry-pi-4")
    older = msgspec.structs.replace(pi, runtime=msgspec.structs.replace(pi.runtime, packages=("tflite-runtime",)))
    data = (SHARED / "mlperf_tiny_ic" / "pretrainedResnet_quant.tflite").read_bytes()
    assert [[one.unit for one in result.forecasts] for result in check_file(data, [pi, older])] == [["xnnpack"], []]
