"""Which techniques pay: held against files that are really made, published tables, and what each target runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.draft import drafts
from edgekit.errors import ModelError, RecipeError
from edgekit.model import load_model
from edgekit.recommendation import networks
from edgekit.recommendation.evidence import EVIDENCE
from edgekit.recommendation.files import drafted, sparse
from edgekit.recommendation.judging import saved, verdict
from edgekit.recommendation.recommend import recommend, techniques
from edgekit.recommendation.suggestions import suggestions
from edgekit.recommendation.technique import ORDER, Latency, Limits, Recommendation, Size, Technique
from edgekit.target import load_target
from edgekit.tflite.surgery import unpack

WORDS = {*networks.WORDS, "float16", "dynamic-int8", "int8", "int16x8", "qat"}
RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


@pytest.fixture(scope="module")
def on_pi(tiny_cnn: Path) -> Recommendation:
    return recommend(tiny_cnn / "tiny.keras", "raspberry-pi-4")


def _named(found: Recommendation) -> dict[str, Technique]:
    return {one.name: one for one in found.techniques}


def test_every_technique_is_judged_and_the_best_come_first(on_pi: Recommendation) -> None:
    assert {one.name for one in on_pi.techniques} == WORDS
    order = [ORDER[one.verdict] for one in on_pi.techniques]
    assert order == sorted(order)
    assert all(one.reason for one in on_pi.techniques)


def test_sizes_are_those_of_the_draft_that_check_judges(on_pi: Recommendation, tiny_cnn: Path) -> None:
    (draft,) = drafts(load_model(tiny_cnn / "tiny.keras"), [load_target("raspberry-pi-4")], "int8")
    size = _named(on_pi)["int8"].size
    assert size is not None
    assert size.file_bytes == pytest.approx(len(draft.data), abs=600)  # the signature, and longer names
    assert size.macs == drafted(draft.data, load_target("raspberry-pi-4")).contents.macs


def test_zeros_shrink_a_compressed_copy_and_nothing_that_runs(on_pi: Recommendation) -> None:
    pruned, whole = _named(on_pi)["prune80"], _named(on_pi)["int8"]
    assert pruned.verdict == "does-not-pay"
    assert pruned.size is not None
    assert whole.size is not None
    assert pruned.size.file_bytes == whole.size.file_bytes
    assert pruned.saves["download"] > 0.3
    assert "XNNPACK" in pruned.notes[0]


def test_a_sparse_file_has_the_share_of_zeros(tiny_cnn: Path) -> None:
    target = load_target("raspberry-pi-4")
    (draft,) = drafts(load_model(tiny_cnn / "tiny.keras"), [target], "int8")
    before = drafted(draft.data, target)
    after = sparse(before, 0.8, target)
    tree = unpack(after.file)
    for op in before.contents.operators:
        if op.name == "CONV_2D":
            values = np.frombuffer(bytes(tree.buffers[before.contents.tensors[op.inputs[1]].buffer].data), np.int8)
            assert (values == 0).mean() == pytest.approx(0.8, abs=0.01)


def test_weights_in_halves_become_zeros_too(tiny_cnn: Path) -> None:
    target = load_target("raspberry-pi-4")
    (draft,) = drafts(load_model(tiny_cnn / "tiny.keras"), [target], "float16")
    before = drafted(draft.data, target)
    assert sparse(before, 0.8, target).size.download_bytes < 0.6 * before.size.download_bytes


def test_a_plan_comes_close_to_the_file(on_pi: Recommendation, tiny_cnn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "MOST_CALLS", 0)
    only_planned = _named(recommend(tiny_cnn / "tiny.keras", "raspberry-pi-4"))["channels50"].size
    made = _named(on_pi)["channels50"].size
    assert only_planned is not None
    assert made is not None
    assert (only_planned.kind, made.kind) == ("planned", "converted")
    assert made.file_bytes <= only_planned.file_bytes <= 1.15 * made.file_bytes  # scales of channels go, too
    assert only_planned.macs == pytest.approx(made.macs, rel=0.02)
    assert only_planned.download_bytes is None


def test_what_a_target_does_not_run_is_not_allowed_and_its_only_format_pays(tiny_cnn: Path) -> None:
    found = {one.name: one for one in techniques(tiny_cnn / "tiny.keras", "coral-usb")}
    assert {name for name in ("float16", "dynamic-int8", "int16x8") if found[name].verdict == "not-allowed"} == {
        "float16",
        "dynamic-int8",
        "int16x8",
    }
    assert found["int8"].verdict == "pays"
    assert not found["drop10"].worth_trying
    assert found["channels50"].worth_trying


def test_this_host_is_measured_and_no_other_target_is(tiny_cnn: Path, on_pi: Recommendation) -> None:
    here = recommend(tiny_cnn / "tiny.keras", "host")
    kinds = {one.name: one.latency.kind for one in here.techniques if one.latency}
    assert set(kinds.values()) == {"measured"}
    assert all(one.latency.seconds for one in here.techniques if one.latency and one.latency.seconds is not None)
    assert "measured" not in {one.latency.kind for one in on_pi.techniques if one.latency}


def test_limits_choose_a_recipe_that_could_meet_them(on_pi: Recommendation, tiny_cnn: Path) -> None:
    whole = _named(on_pi)["int8"].size
    assert whole is not None
    limits = Limits(file_bytes=whole.file_bytes - 1000)
    found = recommend(tiny_cnn / "tiny.keras", "raspberry-pi-4", limits=limits)
    assert found.suggestions
    for one in found.suggestions:
        assert one.meets == {"file": True}
        assert one.size is not None
        assert one.size.file_bytes < whole.file_bytes
    (nearest,) = suggestions(found.techniques, "int8", "m.keras", "raspberry-pi-4", Limits(file_bytes=10))
    assert not nearest.could_meet
    assert nearest.size == min((one.size for one in found.techniques if one.size), key=lambda size: size.file_bytes)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match="limit"):
        Limits(file_bytes=0)


def test_a_finished_file_is_told_what_it_cannot_become(shared_data: Path) -> None:
    path = shared_data / "models" / "mlperf_tiny_ic" / "pretrainedResnet_quant.tflite"
    found = _named(recommend(path, "raspberry-pi-4"))
    assert found["int8"].verdict == "does-not-pay"
    assert found["float16"].verdict == found["channels50"].verdict == "not-allowed"
    assert "2 -> 1 pieces" in found["rewrite"].reason


def test_commands_name_files_so_that_they_can_be_copied(shared_data: Path, tmp_path: Path) -> None:
    file, board = tmp_path / "my model.tflite", tmp_path / "my board.toml"
    file.write_bytes((shared_data / "models" / "mlperf_tiny_ic" / "pretrainedResnet_quant.tflite").read_bytes())
    board.write_text('name = "my-board"\ntitle = "My board"\nextends = "raspberry-pi-4"\n')
    (command,) = _named(recommend(file, board))["rewrite"].notes
    assert command == f"edgekit rewrite '{file}' -t '{board}' -o faster.tflite"
    (first, *_) = recommend(shared_data / "models" / "mlperf_tiny_ic" / "pretrainedResnet.tflite", board).suggestions
    assert f"-t '{board}' -r" in first.command


def test_a_float_file_takes_formats_and_no_change_of_the_network(tiny_cnn: Path) -> None:
    found = _named(recommend(tiny_cnn / "tiny.tflite", "cortex-m7"))
    assert found["int8"].verdict == "pays"
    assert "Keras" in found["channels50"].reason
    assert found["channels50"].verdict == "not-allowed"


def test_a_loop_is_said_to_be_unrolled_by_training() -> None:
    import keras

    steps = keras.Input((6, 4))
    network = keras.Model(steps, keras.layers.Dense(2)(keras.layers.LSTM(8)(steps)))
    found = {one.name: one for one in techniques(network, "raspberry-pi-4")}
    assert "unroll" in found["qat"].reason
    assert found["qat"].size is None


def test_a_network_that_no_training_takes_is_given_no_command_for_it() -> None:
    import keras

    image = keras.Input(batch_shape=(1, 8, 8, 3))
    network = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Conv2D(32, 3)(image))))
    found = {one.name: one for one in techniques(network, "raspberry-pi-4")}
    refused = {name for name, one in found.items() if "fixed batch of 1" in one.reason}
    assert set(networks.WORDS) <= refused
    assert {found[name].verdict for name in refused} == {"not-allowed"}


def test_a_model_that_tflite_has_no_operators_for_is_refused() -> None:
    import keras

    x = keras.Input((6,))
    with pytest.raises(ModelError, match="Erfinv"):
        recommend(keras.Model(x, keras.ops.erfinv(keras.layers.Dense(4)(x) / 100)), "raspberry-pi-4")


def test_the_result_is_json_and_back(on_pi: Recommendation) -> None:
    assert msgspec.json.decode(msgspec.json.encode(on_pi), type=Recommendation) == on_pi


@pytest.mark.parametrize(
    ("saves", "expected"),
    [
        ({"file": 0.25}, "pays"),
        ({"file": 0.06}, "pays-little"),
        ({"file": 0.04, "download": 0.9}, "does-not-pay"),
        ({"file": 0.5, "latency": -0.2}, "pays-little"),
        ({"file": 0.7, "latency": -1.5}, "does-not-pay"),
        ({"ram": 0.9}, "does-not-pay"),
        ({}, "does-not-pay"),
    ],
)
def test_verdicts_on_a_cpu(saves: Any, expected: str) -> None:
    assert verdict(saves, load_target("raspberry-pi-4")) == expected


def test_memory_counts_on_a_microcontroller_and_a_download_on_a_phone() -> None:
    assert verdict({"ram": 0.5}, load_target("cortex-m4")) == "pays"
    assert verdict({"download": 0.5}, load_target("android-arm64")) == "pays"


def test_latencies_of_different_kinds_are_not_compared() -> None:
    size = Size("converted", 100, 10)
    measured, estimate = Latency("measured", "", 1.0), Latency("estimate", "", 0.1)
    assert "latency" not in saved(size, size, measured, estimate)
    assert saved(size, size, measured, Latency("measured", "", 0.5))["latency"] == 0.5


def test_measured_latencies_whose_intervals_meet_are_alike() -> None:
    size = Size("converted", 100, 10)
    one, noisy = Latency("measured", "", 1.0, 0.6, 1.4), Latency("measured", "", 0.5, 0.3, 0.7)
    assert saved(size, size, one, noisy)["latency"] == 0.0
    assert saved(size, size, one, Latency("measured", "", 0.5, 0.4, 0.55))["latency"] == 0.5


def test_techniques_that_change_values_only_have_the_latency_of_the_file(tiny_cnn: Path) -> None:
    found = {one.name: one for one in techniques(tiny_cnn / "tiny.keras", "host")}
    assert found["prune80"].latency == found["cluster16"].latency == found["int8"].latency
    assert found["prune80"].verdict == found["cluster16"].verdict == "does-not-pay"


_ROWS = {
    "int8": "float",
    "channels": "half the MACs, channels",
    "prune": "80 % sparse",
    "cluster": "16 clusters",
    "student": "student distilled",
    "qat": "float, QAT",
}


@pytest.mark.parametrize("name", _ROWS)
def test_evidence_is_what_the_tables_say(name: str) -> None:
    """The least and the greatest drop of the int8 file over all networks and tasks."""
    rows = [line.split("|")[1:-1] for line in (RESULTS / "compression.md").read_text().splitlines() if line[:1] == "|"]
    drops = [float(row[10].split()[0]) for row in rows if row[0].strip() == _ROWS[name]]
    assert len(drops) == 6
    assert f"lost {min(drops):+.2f} to {max(drops):+.2f} points" in EVIDENCE[name]


def test_evidence_on_speed_is_what_the_tables_say() -> None:
    speed = (RESULTS / "compression_speed.md").read_text()
    found = {
        kind: re.findall(rf"\| {kind}-\S+ \| int8 latency[^|]*\| ([\d.]+)", speed) for kind in ("channels", "sparse")
    }
    cut, zeros = ([float(one) for one in found[kind]] for kind in ("channels", "sparse"))
    assert f"{min(cut):.2f} to {max(cut):.2f} times faster" in EVIDENCE["channels"]
    assert f"latency was {min(zeros):.2f} to {max(zeros):.2f}" in EVIDENCE["prune"]
    one_thread = (RESULTS / "int8_speed.md").read_text().split("## 2 threads")[0]
    ratios = [float(row) for row in re.findall(r"^[A-Z]\w+ .* ([\d.]+)  +\d+  +\d+$", one_thread, re.MULTILINE)]
    assert len(ratios) == 13
    assert f"{min(ratios):.2f} to {max(ratios):.2f} times faster" in EVIDENCE["int8"]
