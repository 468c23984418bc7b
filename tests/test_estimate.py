"""Estimates: the band holds on the shipped figures, and what the figures do not carry is unknown."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import tiny_models
from click.testing import CliRunner

from edgekit.cli.estimate import command
from edgekit.errors import ModelError
from edgekit.estimate import Estimate, Forecast, estimate_latency, fit_series, work_of_network
from edgekit.figures import Series, figures_of, networks, targets_with_figures
from edgekit.latency_model import FEWEST_KINDS, LEVEL
from edgekit.target import Target, load_target
from edgekit.tflite.inspect import ModelContents, OperatorInfo, TensorInfo


def _without(series: Series, name: str) -> Series:
    rest = {key: value for key, value in series.milliseconds.items() if key != name}
    return msgspec.structs.replace(series, milliseconds=rest)


def _operator(name: str = "CONV_2D", macs: int = 500_000_000, custom: bool = False) -> OperatorInfo:
    return OperatorInfo(0, name, custom, False, 0, "int8", (0,), (1,), "out", (1, 8, 8, 8), macs, 0, "int8", False)


def _shaped(name: str, shape: tuple[int, ...]) -> OperatorInfo:
    return msgspec.structs.replace(_operator(name, 0), output_shape=shape)


def _contents(
    *operators: OperatorInfo, numeric: str = "int8", parameter_bytes: int = 4_000_000, side: int = 224
) -> ModelContents:
    image = TensorInfo("image", (1, side, side, 3), "int8")
    found = operators or (_operator(),)
    macs = sum(one.macs for one in found)
    return ModelContents(
        file_bytes=parameter_bytes,
        description="",
        numeric=numeric,  # type: ignore[arg-type]
        inputs=(image,),
        outputs=(image,),
        operators=found,
        tensors=(image,),
        parameters=parameter_bytes,
        parameter_bytes=parameter_bytes,
        macs=macs,
        subgraphs=1,
        signatures=(),
        metadata=(),
    )


def _misses(target: Target, series: Series) -> list[str]:
    """Networks outside the band that the others make for them."""
    cache, missed = target.memory.accelerator_cache_bytes, []
    for name, milliseconds in series.milliseconds.items():
        model = fit_series(_without(series, name), cache)
        ratio = model.seconds(work_of_network(networks()[name], cache)) * 1e3 / milliseconds
        if not 1 / model.factor <= ratio <= model.factor:
            missed.append(name)
    return missed


def test_the_band_holds_the_share_it_claims_of_shipped_figures_left_out_in_turn() -> None:
    """Model and band are made without the figure that they are asked for."""
    fitted = [
        (target, series)
        for target in targets_with_figures()
        for series in figures_of(target)
        if len({networks()[name].family for name in series.milliseconds}) > FEWEST_KINDS
    ]
    missed = [(target, name) for target, series in fitted for name in _misses(load_target(target), series)]
    points = sum(len(series.milliseconds) for _, series in fitted)
    assert points > 100
    assert 1 - len(missed) / points >= LEVEL, missed


def test_no_band_is_wider_than_three_and_a_half_times_or_narrower_than_a_tenth() -> None:
    for target in targets_with_figures():
        for estimate in _all(target):
            factor = estimate.high / estimate.seconds
            assert 1.1 < factor < 3.5, (target, estimate.runtime, factor)
            assert estimate.low == pytest.approx(estimate.seconds / factor)


def _all(target: str) -> list[Estimate]:
    """The estimates of every series of a target, each for the network in the middle of it."""
    found = []
    for series in figures_of(target):
        known = sorted((networks()[name] for name in series.milliseconds), key=lambda one: one.macs)
        network = known[len(known) // 2]
        contents = _contents(
            _operator(macs=network.macs - network.depthwise_macs),
            _operator("DEPTHWISE_CONV_2D", network.depthwise_macs),
            numeric=series.numeric,
            parameter_bytes=network.parameters,
        )
        found += estimate_latency(contents, load_target(target)).estimates
    return found


def test_parameters_beyond_the_cache_of_an_accelerator_cost_time() -> None:
    target = load_target("coral-usb")
    small, large = (
        estimate_latency(_contents(parameter_bytes=count), target).estimates[0] for count in (8_388_608, 40_000_000)
    )
    assert large.seconds > small.seconds + 0.01
    assert estimate_latency(_contents(parameter_bytes=1), target).estimates[0].seconds == small.seconds


def test_time_is_scaled_to_the_clock_of_a_microcontroller_and_says_so() -> None:
    target = load_target("cortex-m4")
    faster = msgspec.structs.replace(target, processor=msgspec.structs.replace(target.processor, clock_hz=120_000_000))
    contents = _contents(_operator(macs=5_000_000))
    ours, theirs = (estimate_latency(contents, one).estimates[0] for one in (target, faster))
    assert ours.seconds == pytest.approx(theirs.seconds * 120 / 64)
    assert "120 MHz to 64.0 MHz" in ours.basis
    assert "clock" not in theirs.basis


_BODY = msgspec.structs.replace(_operator(), subgraph=1)


def _unknown(forecast: Forecast) -> str:
    assert not forecast.estimates
    assert forecast.mend
    return forecast.unknown


@pytest.mark.parametrize(
    ("target", "contents", "words"),
    [
        ("raspberry-pi-5", _contents(), "no published figures are shipped"),
        ("raspberry-pi-4", _contents(), "2 kinds of network, too few"),
        ("coral-usb", _contents(numeric="float32"), "published figures are for int8, not for float32"),
        ("android-arm64", _contents(numeric="dynamic-int8"), "float32 with 4 threads and int8 with 4 threads"),
        ("android-arm64", _contents(_operator(macs=100)), "far from the published networks"),
        ("android-arm64", _contents(_operator(macs=10**12)), "far from the published networks"),
        ("android-arm64", _contents(_operator(macs=0)), "no multiply-accumulates"),
        ("android-arm64", _contents(side=-1), "open"),
        ("coral-usb", _contents(_operator(), _operator("TOPK_V2", 0)), "1 TOPK_V2"),
        ("coral-usb", _contents(_operator(), _shaped("ADD", (2, 2, 2, 2, 2))), "1 ADD"),
        ("coral-usb", _contents(_operator(), _shaped("SOFTMAX", (1, 20_000))), "1 SOFTMAX"),
        ("coral-usb", _contents(_operator(), _operator("edgetpu-custom-op", 0, custom=True)), "1 edgetpu-custom-op"),
        ("android-arm64", _contents(_operator(), _operator("WHILE", 0), _BODY), "loops, whose steps are not counted"),
        ("android-arm64", _contents(_operator("BATCH_MATMUL")), "100% of its MACs are in BATCH_MATMUL"),
    ],
)
def test_what_figures_do_not_carry_is_unknown(target: str, contents: ModelContents, words: str) -> None:
    assert words in _unknown(estimate_latency(contents, load_target(target)))


def test_threads_choose_the_figures() -> None:
    target = load_target("android-arm64")
    assert estimate_latency(_contents(), target, threads=4).estimates[0].threads == 4
    assert "not for int8 with 2 threads" in _unknown(estimate_latency(_contents(), target, threads=2))


def test_of_several_estimates_the_one_of_fewest_threads_and_then_the_narrowest_counts() -> None:
    one = msgspec.structs.replace(_all("coral-usb")[0], low=1.0, high=4.0, threads=1)
    narrow, fast = msgspec.structs.replace(one, low=2.0), msgspec.structs.replace(one, low=3.0, threads=4)
    assert Forecast("board", (fast, one, narrow)).preferred == narrow
    assert Forecast("board").preferred is None


def test_float16_weights_run_as_float32() -> None:
    target = load_target("raspberry-pi-4")
    half, single = (estimate_latency(_contents(numeric=one), target).estimates for one in ("float16", "float32"))
    assert half == single != ()


def test_what_is_unknown_is_said_with_a_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edgekit.cli.estimate.read_contents", lambda path: _contents(numeric="float32"))
    done = CliRunner().invoke(command, [str(tmp_path / "model.tflite"), "-t", "host", "-t", "coral-usb"])
    assert done.exit_code == 0
    assert "unknown: host: no published figures" in done.stdout
    assert "mend: measure it: `edgekit benchmark MODEL`" in done.stdout
    assert "estimate " not in done.stdout


def test_rows_are_marked_coloured_and_in_json_of_their_own_kind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    monkeypatch.setattr("edgekit.cli.estimate.read_contents", lambda path: _contents())
    words = [str(path), "-t", "coral-usb"]
    plain = CliRunner().invoke(command, words).stdout
    row = next(line for line in plain.splitlines() if line.startswith("estimate"))
    assert "~" in row
    assert "USB Accelerator" in row
    assert "[1]" in row
    assert "[1] " in plain
    assert "https://coral.ai/" in plain
    assert "Nothing was measured" in plain
    coloured = CliRunner().invoke(command, words, color=True).stdout
    assert "\x1b[33m\x1b[3m" in coloured
    assert "\x1b" not in plain
    found = json.loads(CliRunner().invoke(command, [*words, "--json"]).stdout)["forecasts"][0]["estimates"][0]
    assert found["kind"] == "estimate"
    assert found["low"] < found["seconds"] < found["high"]


def test_a_path_may_be_a_text(tmp_path: Path) -> None:
    path, target = tmp_path / "m.tflite", load_target("raspberry-pi-4")
    path.write_bytes(tiny_models.negative())
    assert estimate_latency(str(path), target) == estimate_latency(path, target)


def test_a_missing_file_is_an_error_with_a_mend(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path / "none.tflite"), "-t", "coral-usb"])
    assert isinstance(done.exception, ModelError)
    assert done.exception.mend


def test_a_target_may_be_named_or_loaded() -> None:
    assert estimate_latency(_contents(), "coral-usb") == estimate_latency(_contents(), load_target("coral-usb"))
