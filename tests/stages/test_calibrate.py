"""Calibration: statistics of every tensor in one pass, the same whatever the batches, kept and used again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bench.run import infer
from edgekit.errors import DataError, ModelError, RecipeError, RunError
from edgekit.stages import calibrate as module
from edgekit.stages.calibrate import Observed, calibrate, load_observed, observe, ranges
from edgekit.stages.observed import observed_from
from edgekit.stages.observing import BINS, SMOOTHING, Running, widened

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def x(digits: Path) -> Array:
    with np.load(digits / "digits.npz") as stored:
        found: Array = stored["x_train"][:137]  # no multiple of any batch
        return found


@pytest.fixture(scope="module")
def observed(float_file: bytes, x: Array) -> Observed:
    return observe(float_file, [x])


def _edges(observed: Observed, index: int) -> Array:
    return (np.arange(BINS + 1) - BINS // 2) * 2.0 ** (int(observed.exponents[index]) + 1) / BINS


def test_statistics_are_those_of_the_values_themselves(float_file: bytes, x: Array, observed: Observed) -> None:
    outputs = infer(float_file, [x]).outputs[0]
    for name, values in (("image", x), ("digit", outputs)):
        place = observed.names.index(name)
        assert observed.extremes[place] == pytest.approx([values.min(), values.max()], abs=1e-5)
        smoothed = values[0].max()
        for sample in values:
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * sample.max()
        assert observed.smoothed[place, 1] == pytest.approx(smoothed, rel=1e-4)
    place = observed.names.index("image")
    expected = np.histogram(x, _edges(observed, place))[0]
    assert np.array_equal(observed.counts[place], expected)
    assert (observed.samples, observed.slow) == (137, "")


def test_every_value_of_every_tensor_is_counted(observed: Observed, x: Array) -> None:
    per_sample = observed.counts.sum(axis=1) / len(x)
    assert (per_sample == per_sample.astype(int)).all()
    assert (per_sample > 0).all()


def test_batches_do_not_matter(
    float_file: bytes, x: Array, observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST_BATCH", 3)
    other = observe(float_file, [x])
    assert np.allclose(other.extremes, observed.extremes, atol=1e-5)
    assert np.allclose(other.smoothed, observed.smoothed, atol=1e-5)
    place = observed.names.index("image")
    assert np.array_equal(other.counts[place], observed.counts[place])


def test_the_same_samples_give_the_same_bytes(float_file: bytes, x: Array, observed: Observed) -> None:
    assert observe(float_file, [x]).to_bytes() == observed.to_bytes()


def test_the_slow_ways_give_the_same_and_say_so(
    float_file: bytes, x: Array, observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = module._ways

    def broken_first(model: bytes, contents: Any) -> list[Any]:
        found = ways(model, contents)
        assert [way.name for way in found] == [
            "ran in batches",
            "ran sample by sample",
            "ran with the reference kernels",
        ]
        return [replace(found[0], model=b"no model"), replace(found[1], model=b"no model"), found[2]]

    monkeypatch.setattr(module, "_ways", broken_first)
    slow = observe(float_file, [x[:20]])
    monkeypatch.setattr(module, "_ways", ways)
    fast = observe(float_file, [x[:20]])
    assert slow.slow.startswith("ran with the reference kernels, because the model could not be run")
    assert slow.names == fast.names
    assert np.allclose(slow.extremes, fast.extremes, atol=1e-4)


def test_a_twin_that_computes_something_else_is_not_used(
    float_file: bytes, x: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batched copy is held against single samples before it is believed."""
    ways = module._ways

    def other_single(model: bytes, contents: Any) -> list[Any]:
        found = ways(model, contents)
        return [replace(found[0], model=_with_other_weights(found[0].model)), *found[1:]]

    monkeypatch.setattr(module, "_ways", other_single)
    found = observe(float_file, [x[:20]])
    assert "other values than single samples" in found.slow


def _with_other_weights(model: bytes) -> bytes:
    from edgekit.tflite.surgery import pack, unpack

    tree = unpack(model)
    largest = max((b for b in tree.buffers if b.data is not None), key=lambda b: len(b.data))
    largest.data = np.frombuffer((np.frombuffer(largest.data.tobytes(), np.float32) * 1.5).tobytes(), np.uint8)
    return pack(tree)


def test_doubling_the_bins_adds_neighbours() -> None:
    values = np.random.default_rng(0).normal(size=(4, 1000)).astype(np.float32)
    grown, wide = Running(1, True), Running(1, True)
    far = np.full((1, 1), 1000, np.float32)
    grown.add(iter([(0, values)]), 4)
    grown.add(iter([(0, far)]), 1)
    wide.add(iter([(0, far)]), 1)
    wide.add(iter([(0, values)]), 4)
    assert grown.exponents[0] == wide.exponents[0] == 10
    assert np.array_equal(grown.counts, wide.counts)
    assert grown.counts.sum() == 4001
    assert widened(grown.counts[0], 100)[BINS // 2 - 1 : BINS // 2 + 1].sum() == 4001


@pytest.mark.parametrize("largest", [0.0, 1e-30, 2.0**20, 3e38])
def test_any_size_of_values_finds_its_bins(largest: float) -> None:
    values = np.array([[-largest, 0.0, largest]], np.float32)
    running = Running(1, True)
    running.add(iter([(0, values)]), 1)
    assert running.counts.sum() == 3


def test_it_is_kept_and_used_again(float_file: bytes, observed: Observed, tmp_path: Path) -> None:
    path = tmp_path / "digits.calibration"
    observed.save(path)
    again = load_observed(path, float_file)
    for method in ("minmax", "moving_average", "percentile:99", "mse", "entropy"):
        assert ranges(again, method) == ranges(observed, method)
    with pytest.raises(ModelError, match="another float32 file"):
        load_observed(path, float_file + b"\0")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match="no calibration file"):
        load_observed(path, float_file)
    with pytest.raises(DataError, match="observe"):
        load_observed(tmp_path / "absent", float_file)


def test_a_calibration_file_whose_parts_do_not_fit_is_told(float_file: bytes, observed: Observed) -> None:
    fewer = replace(observed, names=observed.names[:-1])
    headless = replace(observed, given=None)  # type: ignore[arg-type]
    for broken in (fewer, headless):
        with pytest.raises(DataError, match="no calibration file"):
            observed_from(broken.to_bytes(), float_file)


def test_what_a_method_needs_is_asked_for(float_file: bytes, x: Array) -> None:
    light = observe(float_file, [x[:8]], histograms=False)
    assert ranges(light) == calibrate(float_file, [x[:8]])
    with pytest.raises(DataError, match="needs histograms"):
        ranges(light, "mse")
    with pytest.raises(RecipeError, match="did you mean 'mse'"):
        calibrate(float_file, [x[:8]], "mes")


def test_data_that_does_not_fit_is_told_before_anything_runs(float_file: bytes, x: Array) -> None:
    with pytest.raises(DataError, match=r"shape \(8, 8\) for the input 'image' of shape \(8, 8, 1\)"):
        observe(float_file, [x[..., 0]])
    with pytest.raises(DataError, match="2 inputs, the model 1"):
        observe(float_file, [x, x])
    with pytest.raises(DataError, match="no calibration data"):
        observe(float_file, [])
    with pytest.raises(DataError, match="infinite or undefined"):
        calibrate(float_file, [np.full((2, 8, 8, 1), np.inf, np.float32)])


def test_a_model_that_cannot_run_at_all_is_told_as_such(
    float_file: bytes, x: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = module._ways
    monkeypatch.setattr(
        module, "_ways", lambda *given: [replace(way, model=b"no model", single=b"") for way in ways(*given)]
    )
    with pytest.raises(RunError, match="could not be run for calibration"):
        observe(float_file, [np.repeat(x, 50, axis=0)])


@pytest.mark.slow
def test_ten_thousand_samples_take_no_more_memory_than_a_hundred(tmp_path: Path) -> None:
    """MobileNetV2, 96x96: the peak of the child and of a parent that reads the samples from a map of a file."""
    from edgekit.model import load_model
    from edgekit.stages.convert import export
    from edgekit.tf import import_keras

    keras = import_keras()
    network = keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=10)
    (tmp_path / "model.tflite").write_bytes(export(load_model(network), 1, tmp_path / "export").lower())
    peaks = [int(subprocess.check_output([sys.executable, "-c", _PEAK, str(tmp_path), str(n)])) for n in (200, 10_000)]
    assert peaks[1] < 1.5 * 2**30
    assert peaks[1] < peaks[0] + 2**28


_PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from edgekit.stages.calibrate import observe
folder, count = Path(sys.argv[1]), int(sys.argv[2])
few = np.random.default_rng(0).random((8, 96, 96, 3), np.float32)
class Lazy:
    shape, dtype = (count, 96, 96, 3), few.dtype
    def __len__(self): return count
    def __getitem__(self, part): return np.resize(few, (len(range(*part.indices(count))), 96, 96, 3))
observe((folder / "model.tflite").read_bytes(), [Lazy()])
print(sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024)
"""
