"""What a model is fed with while it is measured: random numbers, or samples of the user's data, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner, Result
from test_agent_conditions import load_agent

from edgekit.bench.plan import plan_for
from edgekit.bench.result import Fed, Results
from edgekit.bench.run import measure
from edgekit.cli.benchmark import command
from edgekit.cli.vectors import command as vectors
from edgekit.errors import DataError, EdgekitError
from edgekit.real_inputs import real_inputs

AGENT = load_agent()


class Recorder:
    """A model that notes what it is fed with."""

    inputs: tuple[dict[str, object], ...] = ({"shape": np.array([1, 2])},)
    rows = 1

    def __init__(self) -> None:
        self.fed: list[float] = []
        self.runs = 0
        self.interpreter = self

    def feed(self, arrays: list[np.ndarray]) -> None:
        self.fed.append(float(arrays[0].flat[0]))

    def invoke(self) -> None:
        self.runs += 1

    def run(self, arrays: list[np.ndarray]) -> None:
        self.feed(arrays)
        self.invoke()


def fed_in(runs: int, samples: int, with_io: bool) -> Recorder:
    model = Recorder()
    arrays = [np.arange(samples * 2, dtype=np.float32).reshape(samples, 2)]
    call, prepare = AGENT.measured_call(model, AGENT.model_feeds(model, arrays, None), with_io)
    AGENT.timed(call, runs, runs, 0, 100, prepare)
    return model


@pytest.mark.parametrize("with_io", [False, True])
def test_each_run_gets_the_next_sample(with_io: bool) -> None:
    model = fed_in(7, 3, with_io)
    assert model.fed == [0, 2, 4, 0, 2, 4, 0]
    assert model.runs == 7


def test_one_sample_is_put_in_once_unless_that_is_measured() -> None:
    assert fed_in(5, 1, with_io=False).fed == []
    assert fed_in(5, 1, with_io=True).fed == [0] * 5


def test_putting_in_and_taking_out_is_in_the_time_if_asked() -> None:
    model = tiny_models.negative((1, 2**18))
    alone = measure(model, plan_for(runs=60))
    whole = measure(model, plan_for(runs=60, with_io=True))
    assert whole.plan.with_io
    assert min(whole.steady_ns) > 1.2 * min(alone.steady_ns)


def test_the_result_says_what_was_fed() -> None:
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert measure(tiny_models.negative(), plan_for(runs=2)).fed == Fed("random", 1)
    one = measure(tiny_models.negative(), plan_for(runs=2), inputs=[x], data="mine.npz").fed
    other = measure(tiny_models.negative(), plan_for(runs=2), inputs=[x + 1]).fed
    assert one is not None
    assert other is not None
    assert (one.source, one.samples, one.data) == ("data", 5, "mine.npz")
    assert (other.source, other.data) == ("arrays", None)
    assert one.sha256 != other.sha256
    assert measure(tiny_models.negative(), plan_for(runs=2), inputs=[np.asfortranarray(x)], data="mine.npz").fed == one


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path, generator = tmp_path / "data.npz", np.random.default_rng(0)
    arrays = {f"x_{part}": generator.normal(size=(100, 4)).astype(np.float32) for part in ("train", "test")}
    np.savez(path, y_train=np.arange(100) % 3, y_test=np.arange(100) % 3, **arrays)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_models.negative())
    return path


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(word) for word in arguments])
    if isinstance(result.exception, EdgekitError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_samples_are_of_the_test_part(model: Path, data: Path) -> None:
    (array,) = real_inputs(model, str(data)).arrays
    test = np.load(data)["x_test"]
    assert array.shape == (64, 4)
    assert all(any(np.array_equal(sample, row) for row in test) for sample in array)


def test_quantized_files_get_stored_numbers(tmp_path: Path, data: Path) -> None:
    path = tmp_path / "q.tflite"
    path.write_bytes(tiny_models.dequantize(0.5, 3))
    (array,) = real_inputs(path, str(data), count=10).arrays
    assert (array.dtype, array.shape) == (np.int8, (10, 4))


def test_the_command_measures_on_real_data(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    result = run(model, "--runs", 3, "--data", data, "-o", out)
    assert f"64 samples of {data}" in result.stdout
    assert "random inputs (seed 5)" in run(model, "--runs", 3, "--seed", 5).stdout
    (kept,) = Results.from_json(out.read_bytes()).measurements
    assert kept.fed is not None
    assert kept.fed.data == str(data)
    (row,) = json.loads(run(model, "--runs", 3, "--data", data, "--json").stdout)["rows"]
    assert row["fed"]["sha256"] == kept.fed.sha256


def test_data_that_does_not_fit_is_refused_before_anything_runs(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, x_train=np.zeros((20, 5), np.float32), x_test=np.zeros((20, 5), np.float32))
    with pytest.raises(DataError):
        run(model, "--data", path)


def drawn(dtype: type, quantized: bool = False, seed: int = 0, shape: tuple[int, ...] = (50, 1000)) -> np.ndarray:
    detail = {"name": "x", "dtype": dtype, "shape": np.array(shape), "quantization": (0.1 if quantized else 0.0, 0)}
    return np.asarray(AGENT.random_input(detail, seed))


def test_random_numbers_fill_their_range_evenly() -> None:
    floats, integers, flags = drawn(np.float32), drawn(np.int8, quantized=True), drawn(np.int32)
    assert (floats.dtype, integers.dtype, flags.dtype) == (np.float32, np.int8, np.int32)
    assert -1 <= floats.min() < -0.99 < 0.99 < floats.max() <= 1
    assert abs(float(floats.mean())) < 0.01
    assert float(floats.std()) == pytest.approx(1 / np.sqrt(3), abs=0.01)
    assert set(np.unique(integers)) == set(range(-128, 128))
    assert set(np.unique(flags)) == {0, 1}
    assert abs(float(np.corrcoef(floats.reshape(-1)[:-1], floats.reshape(-1)[1:])[0, 1])) < 0.02


def test_random_numbers_are_those_of_the_seed_alone() -> None:
    np.testing.assert_array_equal(drawn(np.float32, seed=1), drawn(np.float32, seed=1))
    assert not np.array_equal(drawn(np.float32, seed=1), drawn(np.float32, seed=2))
    assert drawn(np.float32, shape=()).shape == ()
    assert drawn(np.float32, shape=(0, 3)).size == 0


def test_the_words_are_those_of_the_published_generator() -> None:
    """First outputs of SplitMix64 for the seed 1234567, as in the test vectors of its reference implementation."""
    found = AGENT.random_words(1234567, 0, 3).tolist()
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_a_data_file_that_names_code_is_taken_only_if_it_is_trusted(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def own(y, out):\n    return 0.0\n")
    settings = tmp_path / "data.toml"
    settings.write_text(f'source = "{data.name}"\nmetric = "own.py:own"\n')
    with pytest.raises(DataError, match="runs no code from a file"):
        run(model, "--runs", 3, "--data", settings)
    assert "64 samples of" in run(model, "--runs", 3, "--data", settings, "--trust").stdout
    words = [str(model), "--data", str(settings), "-o", str(tmp_path / "v.npz"), "--trust"]
    assert CliRunner().invoke(vectors, words).exit_code == 0
