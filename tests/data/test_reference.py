"""Python references: everything a function may return."""

import os
import sys
import textwrap
import types
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from edgekit.data.reference import resolve
from edgekit.dataset import load_dataset
from edgekit.errors import DataError
from edgekit.metrics import load_metric
from edgekit.python_reference import code_digest

HEAD = "import numpy as np\nx = np.arange(240, dtype='float32').reshape(40, 6)\ny = np.arange(40) % 4\n"


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """Write a function's body; get `file.py:data`."""

    def write(body, head=HEAD):
        text = head + "def data():\n" + textwrap.indent(textwrap.dedent(body), "    ")
        (tmp_path / "mine.py").write_text(text)
        return f"{tmp_path / 'mine.py'}:data"

    monkeypatch.chdir(tmp_path)
    return write


@pytest.mark.parametrize(
    "body",
    [
        "return x, y",
        "return {'x': x, 'y': y}",
        "return (x[:30], y[:30]), (x[30:], y[30:])",
        "return {'train': (x[:30], y[:30]), 'test': (x[30:], y[30:])}",
        "return {'x_train': x[:30], 'y_train': y[:30], 'x_test': x[30:], 'y_test': y[30:]}",
        "return {'train': ({'a': x[:30], 'b': x[:30]}, y[:30]), 'test': ({'a': x[30:], 'b': x[30:]}, y[30:])}",
        "return {'x_train': {'a': x[:30]}, 'y_train': {'k': y[:30]}, 'x_test': {'a': x[30:]}, 'y_test': {'k': y[30:]}}",
    ],
)
def test_arrays_in_every_arrangement(reference, body):
    dataset = load_dataset(reference(body))
    assert sum(map(len, dataset.parts)) == 40
    for part in dataset.parts:
        assert np.array_equal(part.labels[0], part.inputs[0][:, 0] // 6 % 4)


def test_inputs_and_labels_in_a_dict_keep_their_names():
    dataset = load_dataset({"x": {"a": np.ones((9, 2))}, "y": {"kind": np.arange(9) % 2, "value": np.arange(9.0)}})
    assert (dataset.input_names, dataset.output_names) == (("a",), ("kind", "value"))


def test_text_may_come_in_an_array_of_objects():
    names = np.array(["cat", "dog"] * 10, object)
    dataset = load_dataset((np.arange(40.0).reshape(20, 2), names))
    assert dataset.class_names == ("cat", "dog")
    with pytest.raises(DataError, match="Python objects"):
        load_dataset((np.ones((20, 2)), np.where(names == "cat", None, names)))


def test_a_module_of_the_working_folder_is_found(reference):
    reference("return x")
    assert load_dataset("mine:data").task == "none"


def test_files_named_in_data_toml_lie_beside_it(reference, tmp_path, monkeypatch):
    reference("return x, y")
    (tmp_path / "data.toml").write_text('source = "mine.py:data"\nseed = 3\n')
    monkeypatch.chdir("/")
    assert load_dataset(tmp_path / "data.toml", trust=True).spec.seed == 3


def test_metrics_and_losses_lie_beside_it_too_and_count_the_same_wherever_that_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for folder in map(Path, ("here", "there/inside")):
        folder.mkdir(parents=True)
        np.savez(folder / "d.npz", **{"x": np.ones((9, 2)), "y.kind": np.arange(9.0)})
        (folder / "mine.py").write_text("def half(y, out):\n    return 0.5\n")
        names = '[heads.kind]\nmetric = "mine.py:half"\nloss = "mine.py:half"\n'
        (folder / "data.toml").write_text(f'source = "d.npz"\n{names}')
        dataset = load_dataset(folder / "data.toml", trust=True)
        assert load_metric(dataset.heads[0].metric).name == f"{folder}/mine.py:half"
        assert dataset.loss_of(0, "auto") == f"{folder}/mine.py:half"
        found.append(dataset.fingerprint)
    assert found[0] == found[1]


@pytest.mark.parametrize("settings", ["", 'metric = "{0}"\n', '[heads.kind]\nmetric = "{0}"\n', 'source = "{0}"\n'])
def test_python_that_a_file_names_runs_only_if_the_file_is_trusted(reference, tmp_path, settings):
    named = reference("return 0.0", head=f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    source = "" if "source" in settings else 'source = "d.npz"\n'
    labels = "y.kind" if "heads" in settings else "y"
    np.savez(tmp_path / "d.npz", **{"x": np.ones((9, 2)), labels: np.arange(9.0)})
    (tmp_path / "data.toml").write_text(source + settings.format(named))
    if not settings:
        assert load_dataset(tmp_path / "data.toml").metrics
        return
    with pytest.raises(DataError, match="runs no code from a file"):
        load_dataset(tmp_path / "data.toml")
    with pytest.raises(DataError, match="would run Python code"):
        load_dataset(tmp_path / "data.toml", trust=True, allow_code=False)
    assert not (tmp_path / "ran").exists()
    with suppress(DataError):  # what it gives is no data, but it was run
        load_metric(load_dataset(tmp_path / "data.toml", trust=True).metric)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise OSError('disk')", "raised OSError: disk"),
        ("return None", "None is no data"),
        ("return [object()]", "Python objects"),
        ("return x, y, x", "a tuple of 3"),
        ("return [[1, 2], [3]]", "no array"),
        ("return {'val': (x, y), 'validation': (x, y)}", "one part twice"),
        (
            "class Pipeline:\n    element_spec = as_numpy_iterator = None\n"
            "    def cardinality(self): raise OSError('torn')\nreturn Pipeline()",
            "raised OSError: torn",
        ),
    ],
)
def test_functions_that_fail_are_named(reference, body, problem):
    with pytest.raises(DataError) as caught:
        load_dataset(reference(body))
    assert problem in str(caught.value)


def test_functions_that_do_not_exist_are_named(reference, tmp_path):
    path = reference("return x").removesuffix(":data")
    with pytest.raises(DataError, match="did you mean 'data'"):
        load_dataset(f"{path}:dat")
    with pytest.raises(DataError, match="no module 'nowhere'"):
        load_dataset("nowhere:data")
    with pytest.raises(DataError, match=r"none\.py"):
        load_dataset(f"{tmp_path / 'none.py'}:data")
    reference("return x", head="raise ValueError('no')\n")
    with pytest.raises(DataError, match=r"importing .*mine\.py raised ValueError"):
        load_dataset(f"{path}:data")


def test_code_runs_only_if_allowed(reference, tmp_path):
    path = reference(f"open({str(tmp_path / 'ran')!r}, 'w'); return x")
    with pytest.raises(DataError, match="would run Python code"):
        load_dataset(path, allow_code=False)
    np.savez(tmp_path / "d.npz", x=np.ones((9, 2)))
    with pytest.raises(DataError, match="would run Python code"):
        load_dataset(tmp_path / "d.npz", overrides={"metric": path}, allow_code=False)
    assert not (tmp_path / "ran").exists()


TENSORFLOW = HEAD + "import tensorflow as tf\nmade = tf.data.Dataset.from_tensor_slices\n"


@pytest.mark.parametrize(
    "body",
    [
        "return made((x, y))",
        "return made((x, y)).batch(7)",
        "return made((x, y)).batch(8, drop_remainder=True).prefetch(2)",
        "return made((x, y)).map(lambda a, b: (a * 1, b)).batch(40)",
        "return made(({'a': x}, y)).batch(5)",
        "return {'train': made((x[:30], y[:30])), 'test': made((x[30:], y[30:])).batch(4)}",
        "return made((x[:30], y[:30])), made((x[30:], y[30:]))",
    ],
)
def test_tensorflow_data_is_drained_batched_or_not(reference, body):
    pytest.importorskip("tensorflow")
    dataset = load_dataset(reference(body, TENSORFLOW))
    assert sum(map(len, dataset.parts)) == 40
    for part in dataset.parts:
        assert part.inputs[0].shape[1:] == (6,)
        assert np.array_equal(part.labels[0], part.inputs[0][:, 0] // 6 % 4)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return made((x, y)).repeat()", "without end"),
        ("return made((x, y, y))", "yields 3 values"),
        ("return made((x, y)).take(0)", "empty dataset"),
    ],
)
def test_tensorflow_data_that_cannot_be_drained_is_named(reference, body, problem):
    pytest.importorskip("tensorflow")
    with pytest.raises(DataError, match=problem):
        load_dataset(reference(body, TENSORFLOW))


@pytest.mark.parametrize(
    "body",
    [
        "return made((x, y)).shuffle(40)",
        "return made((x, y)).shuffle(40).batch(8)",
        "return {'train': made((x, y)).shuffle(40)}",
        "return made((x, y)).map(lambda a, b: (a + tf.random.uniform([6]), b))",
        "return made((x, y)).shuffle(40, reshuffle_each_iteration=False)",
        "return made((x, y)).shuffle(40).cache()",
        "place = np.random.permutation(40)\nreturn made((x[place], y[place])).batch(8)",
    ],
)
def test_samples_that_have_to_be_split_come_in_one_order(reference, body):
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.random.set_seed(None)  # that of an earlier test would make each reading alike
    with pytest.raises(DataError, match="gives other samples, or another order, each time") as caught:
        load_dataset(reference(body, TENSORFLOW))
    assert "give shuffle a seed" in caught.value.mend


@pytest.mark.parametrize(
    "body",
    [
        "return made((x, y)).shuffle(40, seed=1)",
        "return made((x, y)).shuffle(40, seed=1).cache()",
        "return {'train': made((x[:30], y[:30])).shuffle(30), 'test': made((x[30:], y[30:]))}",
        "return made((x[:30], y[:30])).shuffle(30), made((x[30:], y[30:]))",
        "rows = zip(x, y)\n"
        "kinds = (tf.TensorSpec((6,), tf.float32), tf.TensorSpec((), tf.int64))\n"
        "return tf.data.Dataset.from_generator(lambda: rows, output_signature=kinds)",
    ],
)
def test_parts_that_are_given_may_be_shuffled_and_a_generator_may_be_read_once(reference, body):
    pytest.importorskip("tensorflow")
    dataset = load_dataset(reference(body, TENSORFLOW))
    assert {tuple(row) for part in dataset.parts for row in part.inputs[0]} == {
        tuple(row) for row in np.arange(240, dtype="float32").reshape(40, 6)
    }


@pytest.mark.parametrize(
    ("train", "test", "warned"),
    [
        (".shuffle(30)", "", True),
        (".shuffle(30).batch(8)", ".batch(8)", True),
        (".shuffle(30, seed=1)", "", False),
        ("", ".shuffle(10)", False),
    ],
)
@pytest.mark.parametrize("form", ["{{'train': {}, 'test': {}}}", "({}, {})"])
def test_a_train_part_in_another_order_each_time_is_warned_of(reference, form, train, test, warned):
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.random.set_seed(None)
    parts = form.format(f"made((x[:30], y[:30])){train}", f"made((x[30:], y[30:])){test}")
    said = [told for told in load_dataset(reference(f"return {parts}", TENSORFLOW)).warnings if "another order" in told]
    assert len(said) == warned
    assert all("an interrupted run begins anew" in told and "give shuffle a seed" in told for told in said)


def test_a_pipeline_is_refused_before_it_fills_the_memory(reference, monkeypatch):
    pytest.importorskip("tensorflow")
    path = reference("return made(x).repeat(1000).filter(lambda row: row[0] >= 0)", TENSORFLOW)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    with pytest.raises(DataError, match=r"would take .* of memory"):
        load_dataset(path)


def test_a_pipeline_in_memory_has_to_keep_its_order():
    made = pytest.importorskip("tensorflow").data.Dataset.from_tensor_slices
    x = np.arange(240, dtype="float32").reshape(40, 6)
    assert sum(map(len, load_dataset(made(x)).parts)) == 40
    assert len(load_dataset({"train": made(x[:30]).shuffle(30), "test": made(x[30:])}).part("test")) == 10
    assert sum(map(len, load_dataset(lambda: made(x).shuffle(40, seed=1)).parts)) == 40
    with pytest.raises(DataError, match="the data given gives other samples, or another order") as caught:
        load_dataset(made(x).shuffle(40, seed=1))
    assert "a function that makes it" in caught.value.mend


def test_a_file_may_define_dataclasses_and_runs_once_until_it_is_changed(reference):
    head = f"from __future__ import annotations\nfrom dataclasses import dataclass\n{HEAD}ran = []\n"
    named = reference("ran.append(1)\nreturn Both(x, y)[0]", f"{head}@dataclass\nclass Own:\n    n: int = 1\n")
    first = resolve(named)
    assert resolve(named) is first
    assert resolve(reference("return x", head)) is not first


def test_a_module_of_no_package_has_no_digest():
    assert code_digest("no_package.module:function") == ""


def test_a_module_that_was_edited_is_run_anew(reference):
    path = Path(reference("return x").partition(":")[0])
    path.rename(path.with_name("edited.py"))
    named, path = "edited:data", path.with_name("edited.py")
    first, before = resolve(named), code_digest(named)
    assert resolve(named) is first
    path.write_text(path.read_text().replace("return x", "return y"))
    assert code_digest(named) != before
    assert np.array_equal(resolve(named)(), np.arange(40) % 4)
    assert resolve(named) is resolve(named) is not first
    path.unlink()
    assert resolve(named) is not None


def test_what_was_typed_in_a_notebook_has_a_digest_of_its_own(monkeypatch):
    def typed(body):
        main = types.ModuleType("__main__")
        exec(f"def loss(y, out):\n    return {body}\n", vars(main))
        monkeypatch.setitem(sys.modules, "__main__", main)
        return code_digest("__main__:loss")

    bodies = ["(y - out) ** 2", "(y - out) ** 3", "abs(out)", "max(out)", "(lambda a: a)(y)", "(lambda a: -a)(y)"]
    assert len({typed(body) for body in bodies} - {""}) == len(bodies)
    assert typed(bodies[-1]) == typed(bodies[-1])
    assert code_digest("__main__:nothing") == ""


def test_a_script_has_the_digest_of_its_file(monkeypatch, tmp_path):
    main = types.ModuleType("__main__")
    main.__file__ = str(tmp_path / "run.py")
    monkeypatch.setitem(sys.modules, "__main__", main)
    found = []
    for text in ("one = 1\n", "one = 2\n"):
        (tmp_path / "run.py").write_text(text)
        found.append(code_digest("__main__:loss"))
    assert found[0] != found[1] != ""


def test_a_file_that_fails_leaves_no_module_behind(reference):
    before = set(sys.modules)
    with pytest.raises(DataError, match="ZeroDivisionError"):
        resolve(reference("return x", "1 / 0\n"))
    assert set(sys.modules) == before
