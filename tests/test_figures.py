"""Published figures: cited, of known networks and targets, and what is said of the networks is what they are."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import pytest

from edgekit.figures import Figures, Network, Networks, Series, figures_of, networks, targets_with_figures
from edgekit.target import load_target, target_names
from edgekit.tflite.inspect import read_contents

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("EDGEKIT_SHARED_DATA", ROOT.parent / "shared" / "data"))
KERAS = "keras.applications."
TINY = {
    "mlperf-tiny-anomaly-detection": "mlperf_tiny_ad/ad01_int8.tflite",
    "mlperf-tiny-image-classification": "mlperf_tiny_ic/pretrainedResnet_quant.tflite",
}
QUICK = "mobilenet-v1-0.25-128"


def test_figures_are_of_shipped_targets_which_run_their_number_format() -> None:
    assert set(targets_with_figures()) <= set(target_names())
    for name in targets_with_figures():
        assert figures_of(name)
        assert {one.numeric for one in figures_of(name)} <= set(load_target(name).numerics.schemes)


def test_every_series_and_network_names_an_address_or_a_builder() -> None:
    for name in targets_with_figures():
        assert all(one.source.startswith("https://") for one in figures_of(name))
    assert all(one.source.startswith(("https://", KERAS)) for one in networks().values())


def test_every_network_is_used_and_is_sound() -> None:
    used = {name for target in targets_with_figures() for one in figures_of(target) for name in one.milliseconds}
    assert used == networks().keys()
    assert all(one.depthwise_macs < one.macs for one in networks().values())


def test_bigger_inputs_and_widths_of_one_network_never_take_less() -> None:
    """A slip of a digit in the grid of MobileNets would show."""
    for target in ("android-arm64", "android-gpu"):
        for series in figures_of(target):
            for width in ("0.25", "0.5", "0.75", "1.0"):
                times = [series.milliseconds[f"mobilenet-v1-{width}-{side}"] for side in (128, 160, 192, 224)]
                assert times == sorted(times)


def test_a_target_without_figures_has_none() -> None:
    assert figures_of("host") == ()
    assert figures_of("networks") == ()
    assert figures_of("no-such-board") == ()


@pytest.mark.parametrize("name", sorted(TINY))
def test_counts_of_the_tiny_networks_are_those_of_their_files(name: str) -> None:
    path = SHARED / "models" / TINY[name]
    if not path.exists():
        pytest.skip(f"no {path}")
    contents = read_contents(path)
    assert (contents.macs, contents.parameters) == (networks()[name].macs, networks()[name].parameters)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == QUICK else pytest.mark.slow)
        for name, one in sorted(networks().items())
        if one.source.startswith(KERAS)
    ],
)
def test_counts_are_those_of_the_named_builder(name: str) -> None:
    keras = pytest.importorskip("keras")
    call = ast.parse(networks()[name].source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Attribute)
    options = {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg}
    model = getattr(keras.applications, call.func.attr)(weights=None, **options)
    assert _counted(model) == _said(networks()[name])


def _said(network: Network) -> tuple[int, int, int]:
    return network.macs, network.depthwise_macs, network.parameters


def _counted(model: Any) -> tuple[int, int, int]:
    from edgekit.graph.macs import costs
    from edgekit.graph.walk import walk

    graph = walk(model)
    found = costs(graph)
    layers = {name: type(graph.operations[name]).__name__ for name in found}
    weighted = [name for name, kind in layers.items() if kind in {"Conv2D", "DepthwiseConv2D", "Dense"}]
    separable = [name for name, kind in layers.items() if kind == "SeparableConv2D"]
    depthwise = sum(found[name].macs for name in weighted if layers[name] == "DepthwiseConv2D")
    depthwise += sum(_depthwise_part(graph.operations[name]) for name in separable)
    parameters = sum(found[name].parameters for name in (*weighted, *separable))
    return sum(one.macs for one in found.values()), depthwise, parameters


def _depthwise_part(layer: Any) -> int:
    height, width = layer.output.shape[1:3]
    kernel = layer.weights[0].shape
    return int(height * width * kernel[0] * kernel[1] * kernel[2] * kernel[3])


def test_readme_explains_every_key() -> None:
    text = (ROOT / "targets" / "README.md").read_text(encoding="utf-8")
    kinds = (Figures, Network, Networks, Series)
    keys = {key for kind in kinds for key in kind.__struct_fields__}
    assert not sorted(key for key in keys if f"`{key}`" not in text and f"`[[{key}]]`" not in text)
