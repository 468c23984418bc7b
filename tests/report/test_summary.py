"""The table that `edgekit optimize` prints: a golden, and that it fits a terminal."""

from __future__ import annotations

import msgspec
from run_examples import int8_file, judged, manifest, run_of

from edgekit.report.summary import summary_table


def test_the_table_of_two_targets_fits_eighty_columns() -> None:
    made = [manifest(name, "int8", int8_file(), judged(0.965, -0.005)) for name in ("raspberry-pi-4", "coral-usb")]
    table = summary_table(run_of(made))
    assert max(map(len, table.splitlines())) <= 80
    lines = table.splitlines()
    assert lines[0].split() == [
        "target",
        "recipe",
        "accuracy",
        "change",
        "[95",
        "%",
        "interval]",
        "size",
        "p50",
        "here",
    ]
    assert lines[2].split() == ["(float", "model)", "-", "0.9700"]
    assert lines[4].startswith("raspberry-pi-4  int8")
    assert "-0.0050 [" in lines[4]
    assert lines[-1] == "change: file minus float model, on the same test samples"


def test_without_labels_there_is_agreement_and_no_change() -> None:
    unlabelled = msgspec.structs.replace(judged(0.9, 0.0), scores=(), differences=())
    run = run_of([manifest("host", "int8", int8_file(), unlabelled)])
    reference = msgspec.structs.replace(run.reference, scores=(), tflite={1: unlabelled})
    table = summary_table(msgspec.structs.replace(run, metric=None, reference=reference))
    assert "agreement" in table.splitlines()[0]
    assert "change" not in table


def test_no_zero_is_negative_and_large_scores_have_fewer_decimals() -> None:
    made = manifest("host", "int8", int8_file(), judged(0.97, -0.00001))
    table = summary_table(run_of([made]))
    assert "-0.0000" not in table.splitlines()[-3]
    large = judged(126.7954, 0.0, "mse")
    assert "126.80" in summary_table(run_of([manifest("host", "int8", int8_file(), large)]))
