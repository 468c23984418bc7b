"""What repairs: exact in float, better in int8, the cheapest that suffices, and refused where it cannot help."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import patients
import planted
import pytest
from click.testing import CliRunner
from rewriting import names
from run_examples import manifest
from toys import Toy

from edgekit.artifact import Artifact
from edgekit.cli import doctor as command
from edgekit.dataset import load_for
from edgekit.doctor import repair as ladder
from edgekit.doctor.bias_correction import correct_biases
from edgekit.doctor.case import lowered
from edgekit.doctor.diagnosis import diagnose
from edgekit.doctor.equalizable import links
from edgekit.doctor.equalize import equalize
from edgekit.doctor.floor import Floor
from edgekit.doctor.layer_error import look_inside
from edgekit.doctor.measures import Measure, measures
from edgekit.doctor.repair import default_floor, repair
from edgekit.doctor.workshop import State, Tried, Workshop
from edgekit.errors import DataError, ModelError, TargetError
from edgekit.evaluate import real_specs
from edgekit.model import load_model
from edgekit.stages.calibrate import calibrate
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.surgery.rewrite import rewrite
from edgekit.target import load_target
from edgekit.tflite.constants import with_constants
from edgekit.tflite.graph import read_graph
from edgekit.tflite.inspect import read_contents
from edgekit.tflite.metadata import FileMetadata, read_metadata, write_metadata
from edgekit.tflite.surgery import with_io_type
from edgekit.verify import run_file

LABELS = b"\n".join(b"%d" % digit for digit in range(10))
Sound = Mapping[str, patients.Net]
Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_links_are_where_a_scale_passes(sound: Sound) -> None:
    """A chain of ReLU layers links each with the next, through a pooling."""
    chain = links(read_graph(sound["digits"].file))
    assert [(link.first.index, link.second.index) for link in chain] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 6)]


@pytest.mark.parametrize("name", ["digits", pytest.param("measuring", marks=pytest.mark.slow)])
def test_equalizing_is_exact_in_float_and_done_once(name: str, sound: Sound) -> None:
    net = sound[name]
    part, even = net.data().part("test").take(64), equalize(net.file)
    before, after = (run_file(file, part).arrays[0] for file in (net.file, even))
    assert np.abs(before - after).max() <= 1e-5 * np.abs(before).max()
    once, twice = (_kernels(file) for file in (even, equalize(even)))
    assert all(np.allclose(a, b, rtol=0.02) for a, b in zip(once, twice, strict=True))


def _kernels(file: bytes) -> list[np.ndarray]:
    graph = read_graph(file)
    found = [graph.tensors[op.inputs[1]].values() for op in graph.operators if len(op.inputs) == 3]
    return [values for values in found if values is not None]


@pytest.mark.slow
def test_equalizing_takes_back_any_scaling_of_channels(sound: Sound) -> None:
    """Whatever scales the channels had, one network is equalized to the same weights."""
    scaled = planted.scale_disparity(sound["digits"]).source
    first, second = (_kernels(equalize(file)) for file in (sound["digits"].file, scaled))
    assert all(np.allclose(a, b, rtol=0.02, atol=1e-6) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_a_join_a_gate_and_a_relu6_link_nothing(sound: Sound) -> None:
    assert not links(read_graph(sound["branched"].file))
    assert equalize(sound["branched"].file) == sound["branched"].file


def test_corrected_biases_take_most_of_the_shift_away(sound: Sound) -> None:
    """The rest is what padding, a third of an image of 8x8 pixels, leaves out of the mean of an input."""
    net = sound["digits"]
    sick = planted.biased_error(net).quantized
    samples = [net.arrays["x_train"][:32]]
    before, after = (
        look_inside(file, net.file, samples).layers for file in (sick, correct_biases(sick, net.file, samples))
    )
    shifts = [_shift(layers) for layers in (before, after)]
    assert shifts[1] < 0.6 * shifts[0]


def _shift(layers: tuple) -> float:
    """The mean shift of the layers with weights, as a share of their signal."""
    weighted = [one for one in layers if one.error.operator in ("CONV_2D", "FULLY_CONNECTED")]
    return float(np.mean([abs((one.alone - one.real).mean()) / np.abs(one.real).mean() for one in weighted]))


def test_correcting_a_sound_file_changes_biases_only(sound: Sound) -> None:
    net = sound["digits"]
    file = net.int8("per-tensor")
    corrected = correct_biases(file, net.file, [net.arrays["x_train"][:32]])
    for one, other in zip(read_graph(file).tensors, read_graph(corrected).tensors, strict=True):
        assert one.dtype == "int32" or one.data == other.data


def test_a_disparity_is_repaired_with_weights_still_per_tensor(sound: Sound) -> None:
    """What folded normalizations do to MobileNets: more than 20 points lost, all but one of them back."""
    patient = planted.scale_disparity(sound["digits"])
    labelled = write_metadata(patient.quantized, FileMetadata(files={"labels.txt": LABELS}))
    file, done = repair(labelled, patient.source, patient.data)
    assert read_metadata(file).files == {"labels.txt": LABELS}
    assert done.held_out is not None
    assert done.held_out.before < done.held_out.float_score - 0.2
    assert done.held_out.after > done.held_out.float_score - 0.01
    assert [rung.name for rung in done.rungs if rung.kept][-1] == "equalize"
    assert all((rung.latency is not None) == rung.kept for rung in done.rungs)
    graph = read_graph(file)
    assert all(len(graph.tensors[op.inputs[1]].scales) == 1 for op in graph.operators if "CONV" in op.name)


def test_metadata_that_cannot_be_read_are_left_behind_and_told(sound: Sound) -> None:
    file, said = sound["digits"].int8(), list[str]()
    assert ladder._labelled(file, file + b"PK\x05\x06" + b"\xff" * 18, said.append) == file
    assert "damaged associated files" in said[0]


@pytest.mark.slow
def test_a_wrong_range_is_repaired_by_calibrating_anew(sound: Sound) -> None:
    patient = planted.infinite_scale(sound["digits"])
    _, done = repair(patient.quantized, patient.source, patient.data)
    assert [(rung.name, rung.kept) for rung in done.rungs] == [("as given", False), ("calibrate: minmax", True)]
    assert done.rungs[0].score is None
    assert done.met


@pytest.mark.slow
def test_rounding_saves_most_where_no_scale_passes(sound: Sound) -> None:
    """Before a ReLU6 nothing can be equalized; the weights stay per-tensor, and no operator is added."""
    patient = planted.per_tensor_weights(sound["branched"])
    shop, state = Workshop(patient.source, patient.data), State.of(patient.quantized, patient.source)
    nearest, rounded = (shop.tried(replace(state, rounded=one)) for one in (False, True))
    assert rounded.noise < 0.3 * nearest.noise
    assert len(rounded.file) < 1.02 * len(nearest.file)


@pytest.mark.slow
def test_a_saturated_sigmoid_needs_float_and_gets_it(sound: Sound) -> None:
    patient = planted.saturated_sigmoid(sound["branched"])
    _, done = repair(patient.quantized, patient.source, patient.data)
    assert done.met
    assert "in float" in [rung.name for rung in done.rungs if rung.kept][-1]


def test_a_target_says_what_is_permitted() -> None:
    names = {target: [measure.name for measure in measures(load_target(target))] for target in ("coral-usb", "host")}
    assert "1 in float" in names["host"]
    assert not any("in float" in name for name in names["coral-usb"])


@pytest.mark.parametrize("target", [None, "host"])
def test_activations_of_16_bits_are_not_for_xnnpack(target: str | None, sound: Sound) -> None:
    """Its kernels are slower than float ones, so a float file would be better in all."""
    net = sound["digits"]
    wide = _wide(target)
    with pytest.raises(ModelError, match="no 16-bit kernels"):
        wide.change(Workshop(net.file, net.data()), State.of(net.int8(), net.file), None)


def _wide(target: str | None) -> Measure:
    board = load_target(target) if target else None
    return next(one for one in measures(board) if one.name == "16-bit activations")


@pytest.mark.parametrize("target", [None, "coral-usb", "host", "cortex-m4"])
def test_the_order_of_the_ladder(target: str | None) -> None:
    """The cheapest first: rounding before more scales, training at last."""
    names = [measure.name for measure in measures(load_target(target) if target else None)]
    order = [names.index(name) for name in ("equalize", "correct biases", "round adaptively")]
    assert order == sorted(order)
    assert names[-1].startswith("train")
    finer = [number for number, name in enumerate(names) if name.startswith("per-channel")]
    assert min(finer, default=len(names)) > order[-1]


def test_activations_of_16_bits_keep_the_kind_of_the_rims(sound: Sound) -> None:
    net = sound["digits"]
    shop = Workshop(net.file, net.data())
    wide = _wide("cortex-m55")
    for io, found in (("int8", "int16"), ("float32", "float32")):
        stage = msgspec.structs.replace(State.of(net.int8(), net.file).stage, io=io)
        tried = shop.tried(wide.change(shop, State(net.file, stage), None))
        graph = read_graph(tried.file)
        assert graph.tensors[graph.inputs[0]].dtype == found
        assert tried.noise < 1e-4


def test_the_last_rung_trains_the_keras_model(sound: Sound, digits: Path) -> None:
    net = sound["digits"]
    model = load_model(digits / "digits.keras")
    shop = Workshop(net.file, net.data(), model)
    training = [*measures(None)][-1]
    start = State.of(net.int8("per-tensor"), net.file)
    tried = shop.tried(training.change(shop, start, None))
    graph = read_graph(tried.file)
    assert all(len(graph.tensors[op.inputs[1]].scales) == 1 for op in graph.operators if "CONV" in op.name)
    assert tried.score > shop.float_score - 0.02
    assert tried.file not in (net.int8("per-tensor"), net.file)


def test_without_a_keras_model_nothing_is_trained(sound: Sound) -> None:
    net = sound["digits"]
    shop = Workshop(net.file, net.data())
    training = [*measures(None)][-1]
    with pytest.raises(ModelError, match="needs the Keras model"):
        shop.tried(training.change(shop, State.of(net.int8(), net.file), None))


def test_what_the_data_lack_for_one_rung_ends_that_rung_only(sound: Sound) -> None:
    net = sound["digits"]

    def refuse(*_: object) -> State:
        raise DataError("too few samples", "give more")

    shop, state = Workshop(net.file, net.data()), State.of(net.int8(), net.file)
    rung, tried = ladder._tried(shop, Measure("hungry", refuse, ""), state, None)
    assert (rung.score, rung.note, rung.kept, tried) == (None, "too few samples", False, None)


def _swished() -> bytes:
    """A hard-swish between two float convolutions of 1x1."""
    toy = Toy()
    x, inner, swished, out = (toy.tensor((1, 8, 8, 4)) for _ in range(4))
    kernel, bias = toy.tensor((4, 1, 1, 4), data=np.eye(4).reshape(4, 1, 1, 4)), toy.tensor((4,), data=np.zeros(4))
    options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    toy.operator("CONV_2D", [x, kernel, bias], [inner], "Conv2DOptions", **options)
    toy.operator("HARD_SWISH", [inner], [swished])
    toy.operator("CONV_2D", [swished, kernel, bias], [out], "Conv2DOptions", **options)
    return toy.bytes([x], [out])


def test_a_repaired_file_is_rewritten_where_the_one_that_came_was(tmp_path: Path) -> None:
    source, x = _swished(), np.random.default_rng(0).normal(size=(64, 8, 8, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=x, x_test=x[:8] + 1, y_test=x[:8])
    contents = read_contents(source)
    specs = real_specs(contents.inputs), real_specs(contents.outputs)
    data = load_for(*specs, tmp_path / "data.npz", {"task": "regression"})
    stage = Quantize("int8", "per-channel", "per-channel", "int8", "converter")
    plain = quantize(Source(source, calibrate(source, [x])), stage)
    for came, kept in ((plain, True), (rewrite(plain).file, False)):
        made = Workshop(source, data, rules=ladder._rules(came, None)).tried(State.of(came, source))
        assert ("HARD_SWISH" in names(came)) == ("HARD_SWISH" in names(made.file)) == kept
        assert "HARD_SWISH" in names(made.plain)
    assert not ladder._rules(rewrite(plain).file, load_target("cortex-m4"))


def test_a_sound_file_is_given_back(sound: Sound) -> None:
    net = sound["digits"]
    file = net.int8()
    same, done = repair(file, net.file, net.data())
    assert same == file
    assert [rung.name for rung in done.rungs] == ["as given"]
    assert done.rungs[0].latency is not None
    assert done.float_latency is not None
    assert 0 < min(done.rungs[0].latency, done.float_latency) < 1


def test_the_data_are_mended_first(sound: Sound) -> None:
    patient = planted.labels(sound["digits"])
    with pytest.raises(DataError, match="numbered otherwise"):
        repair(patient.quantized, patient.source, patient.data)


def test_a_floor_above_float_is_refused(sound: Sound) -> None:
    net = sound["digits"]
    with pytest.raises(DataError, match="the float model itself scores"):
        repair(net.int8(), net.file, net.data(), Floor(1.5))


@pytest.mark.parametrize(("text", "bound"), [("0.9", 0.9), ("90%", 0.9), (3, 3.0)])
def test_floors_as_they_are_written(text: str | float, bound: float) -> None:
    assert Floor.parse(text).bound == pytest.approx(bound)


def test_a_percentage_of_what_is_no_share_is_no_floor() -> None:
    with pytest.raises(DataError, match="a percentage of mae is not defined"):
        Floor.parse("90%").check("mae", 0.5)


@pytest.mark.parametrize("text", ["", "much", "-3%", "9 MB"])
def test_what_is_no_floor(text: str) -> None:
    with pytest.raises(DataError, match="no score"):
        Floor.parse(text)


@pytest.mark.parametrize(
    ("metric", "score", "bound"), [("accuracy", 0.9, 0.895), ("mae", 2.0, 2.02), ("accuracy", 0.001, 0.0)]
)
def test_the_floor_where_none_is_given(metric: str, score: float, bound: float) -> None:
    floor = default_floor(metric, score)
    assert floor.bound == pytest.approx(bound)
    assert floor.met(metric, score)


def test_a_score_beyond_float_is_luck_and_less_noise_goes_before_it(sound: Sound) -> None:
    net = sound["digits"]
    shop, state = Workshop(net.file, net.data()), State.of(net.int8(), net.file)
    lucky, near, worse = (
        Tried(state, b"", shop.float_score + gain, noise) for gain, noise in ((0.01, 0.2), (0.0, 0.1), (-0.01, 0.0))
    )
    assert shop.better(near, lucky)
    assert shop.better(lucky, worse)


def test_the_settings_of_a_file_are_read_from_it(sound: Sound) -> None:
    net = sound["digits"]
    for granularity in ("per-channel", "per-tensor"):
        stage = State.of(net.int8(granularity), net.file).stage
        assert (stage.granularity, stage.io) == (granularity, "int8")
    with pytest.raises(ModelError, match="repairs are for int8 files"):
        State.of(net.file, net.file)


@pytest.mark.parametrize("kind", ["int8", "uint8", "float32"])
def test_the_type_of_inputs_and_outputs_is_read_from_the_file(kind: Any, sound: Sound) -> None:
    net = sound["digits"]
    assert State.of(with_io_type(net.int8(), kind), net.file).stage.io == kind


def test_indices_say_nothing_of_the_type_of_outputs() -> None:
    toy = Toy()
    words, table, row, out = (
        toy.tensor((1, 1), "int32"),
        toy.tensor((8, 4), "int8", data=True),
        toy.tensor((1, 4), "int8"),
        toy.tensor((1, 4)),
    )
    toy.operator("GATHER", [table, words], [row], "GatherOptions")
    toy.operator("DEQUANTIZE", [row], [out], "DequantizeOptions")
    assert State.of(toy.bytes([words], [out]), b"").stage.io == "float32"


def test_a_file_of_unlike_inputs_and_outputs_is_not_made_anew_as_another() -> None:
    toy = Toy()
    x, inner, out = toy.tensor((1, 4), "uint8"), toy.tensor((1, 4), "int8"), toy.tensor((1, 4))
    toy.operator("QUANTIZE", [x], [inner], "QuantizeOptions")
    toy.operator("DEQUANTIZE", [inner], [out], "DequantizeOptions")
    with pytest.raises(ModelError, match="of this file are float32, uint8"):
        State.of(toy.bytes([x], [out]), b"")


def _bias(toy: Toy, kind: str) -> int:
    return toy.tensor((1,), "int32", [0.01], data=[0]) if kind == "int8" else toy.tensor((1,), data=[0])


def _transposed(kind: str) -> bytes:
    """A transposed convolution of stride 2 with a window of 2x2: each position of the output reads one weight."""
    toy = Toy()
    shape, x = toy.tensor((4,), "int32", data=[1, 8, 8, 1]), toy.tensor((1, 4, 4, 1), kind)
    kernel = toy.tensor((1, 2, 2, 1), kind, data=np.full((1, 2, 2, 1), 12 if kind == "int8" else 1))
    bias, out = _bias(toy, kind), toy.tensor((1, 8, 8, 1), kind)
    options = {"strideH": 2, "strideW": 2}
    toy.operator("TRANSPOSE_CONV", [shape, kernel, x, bias], [out], "TransposeConvOptions", 3, **options)
    return toy.bytes([x], [out])


def _two_heads(kind: str) -> bytes:
    """Two dense layers that read one bias."""
    toy = Toy()
    x, bias, *ends = toy.tensor((1, 2), kind), _bias(toy, kind), toy.tensor((1, 1), kind), toy.tensor((1, 1), kind)
    for end in ends:
        kernel = toy.tensor((1, 2), kind, data=np.full((1, 2), 12 if kind == "int8" else 1))
        toy.operator("FULLY_CONNECTED", [x, kernel, bias], [end], "FullyConnectedOptions")
    return toy.bytes([x], ends)


@pytest.mark.parametrize(
    ("make", "shape", "stored"), [(_transposed, (4, 4, 1), -20), (_two_heads, (2,), 0)], ids=["transposed", "shared"]
)
def test_a_bias_takes_the_mean_error_of_one_output_or_none(
    make: Callable[[str], bytes], shape: tuple[int, ...], stored: int
) -> None:
    """Weights are 0.2 too large, inputs are 1, and a step of the bias is 0.01."""
    file = correct_biases(make("int8"), make("float32"), [np.ones((2, *shape), np.float32)])
    (bias,) = [t for t in read_graph(file).tensors if t.dtype == "int32" and t.scales]
    assert bias.values().tolist() == [stored]


def test_a_file_of_a_large_batch_is_looked_into_and_repaired_by_whole_batches(sound: Sound, digits: Path) -> None:
    net = sound["digits"]
    source = lowered(load_model(digits / "digits.keras"), 64)
    stage = State.of(net.int8(), net.file).stage
    file = quantize(Source(source, calibrate(source, [net.arrays["x_train"][:128]])), stage)
    assert diagnose(file, source, net.data()).layers
    shop, state = Workshop(source, net.data(), load_model(digits / "digits.keras")), State.of(file, source)
    assert shop.worst(shop.tried(replace(state, corrected=True)), 1)
    with pytest.raises(ModelError, match="this one takes 64"):
        shop.tried([*measures(None)][-1].change(shop, state, None))


@pytest.mark.parametrize("kept", ["FULLY_CONNECTED", "CONV_2D"])
def test_layers_that_stayed_in_float_are_no_riddle(kept: str, sound: Sound) -> None:
    net = sound["digits"]
    stage = Quantize("int8", "per-channel", "per-channel", "int8", "litert", keep_float=(kept,))
    file = quantize(Source(net.file, calibrate(net.file, [net.arrays["x_train"][:200]])), stage)
    found = diagnose(file, net.file, net.data())
    assert found.layers
    assert not {"other-weights", "outlier-weights", "per-tensor-weights"} & {one.code for one in found.findings}


def test_constants_keep_shape_and_type(sound: Sound) -> None:
    graph = read_graph(sound["digits"].file)
    kernel = graph.operators[0].inputs[1]
    with pytest.raises(ModelError, match="cannot hold"):
        with_constants(sound["digits"].file, {kernel: np.zeros(3, np.float32)})
    with pytest.raises(ModelError, match="cannot hold"):
        with_constants(sound["digits"].file, {graph.inputs[0]: np.zeros((1, 8, 8, 1), np.float32)})


@pytest.fixture
def files(sound: Sound, tmp_path: Path) -> Path:
    patient = planted.scale_disparity(sound["digits"])
    (tmp_path / "int8.tflite").write_bytes(patient.quantized)
    (tmp_path / "float.tflite").write_bytes(patient.source)
    np.savez(tmp_path / "data.npz", **sound["digits"].arrays)
    return tmp_path


def test_repairs_are_those_that_the_target_of_an_artifact_permits(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = (files / "int8.tflite").read_bytes()
    made = Artifact(manifest("cortex-m4", "int8", file, None), file)
    path = made.save(files / "artifact")
    for place in (path, files / "artifact"):
        found = command._target(str(place), None)
        assert found is not None
        assert found.name == "cortex-m4"
        assert "cortex-m4" in capsys.readouterr().err
    named = command._target(str(path), "host")
    assert named is not None
    assert named.name == "host"
    assert command._target(str(files / "int8.tflite"), None) is None
    foreign = Artifact(msgspec.structs.replace(made.manifest, target="of-mine"), file).save(files / "foreign")
    with pytest.raises(TargetError, match="unknown target 'of-mine'") as refused:
        command._target(str(foreign), None)
    assert "--target" in refused.value.mend


def test_the_command_repairs_for_the_target_of_an_artifact(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = (files / "int8.tflite").read_bytes()
    Artifact(manifest("cortex-m4", "int8", file, None), file).save(files / "artifact")
    given: list[Any] = []

    def repaired(*_: Any, target: Any, **others: Any) -> None:
        given.append(target.name)
        raise DataError("far enough", "none")

    monkeypatch.setattr("edgekit.doctor.repair.repair", repaired)
    words = ["--float", files / "float.tflite", "--data", files / "data.npz", "--repair", "-o", files / "mended.tflite"]
    done = CliRunner().invoke(command.command, [str(files / "artifact"), *map(str, words)])
    assert isinstance(done.exception, DataError), done.output
    assert given == ["cortex-m4"]


def test_the_command_explains(files: Path, edgekit_cli: Cli) -> None:
    told = edgekit_cli("doctor", "int8.tflite", "--float", "float.tflite", "--data", "data.npz", "--floor", "99%")
    assert told.returncode == 1
    assert "scale-disparity at" in told.stdout
    assert "--repair" in told.stderr


@pytest.mark.slow
def test_the_command_repairs(files: Path, edgekit_cli: Cli) -> None:
    words = ("doctor", "int8.tflite", "--float", "float.tflite", "--data", "data.npz")
    done = edgekit_cli(*words, "--repair", "-o", "mended.tflite")
    assert done.returncode == 0, done.stderr
    assert "reaches the floor" in done.stdout
    assert (files / "mended.tflite").stat().st_size
    again = edgekit_cli(*words, "--repair", "-o", "mended.tflite")
    assert (again.returncode, "exists already" in again.stderr) == (3, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--float", "float.tflite"), 2, "go with a MODEL"),
        (("int8.tflite", "--data", "data.npz"), 2, "--float and --data"),
        (("int8.tflite", "--float", "float.tflite", "--data", "data.npz", "--repair"), 2, "-o OUT"),
        (("float.tflite", "--float", "float.tflite", "--data", "data.npz"), 3, "no quantized activation"),
        (("int8.tflite", "--float", "int8.tflite", "--data", "data.npz"), 3, "quantized itself"),
        (("int8.tflite", "--float", "float.tflite", "--data", "data.npz", "--floor", "lots"), 3, "no score"),
    ],
)
def test_the_command_refuses(words: tuple[str, ...], code: int, said: str, files: Path, edgekit_cli: Cli) -> None:
    done = edgekit_cli("doctor", *words)
    assert done.returncode == code
    assert said in done.stderr
    assert not done.stdout
