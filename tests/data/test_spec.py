"""Preprocessing and `data.toml`."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import strict_toml
from edgekit.data.spec import DataSpec, Head, read_spec
from edgekit.dataset import Preprocessing, load_dataset
from edgekit.errors import DataError

finite = st.floats(-100, 100, width=32)
steps = st.builds(
    Preprocessing,
    mean=st.lists(finite, max_size=1).map(tuple),
    scale=st.lists(finite.filter(bool), max_size=1).map(tuple),
    layout=st.sampled_from(["channels_last", "channels_first"]),
)


@given(steps)
def test_preprocessing_travels_as_json_and_as_toml(preprocessing):
    assert msgspec.json.decode(msgspec.json.encode(preprocessing), type=Preprocessing) == preprocessing
    text = strict_toml.dumps(DataSpec(preprocessing=preprocessing))
    assert strict_toml.loads(text, DataSpec, DataError).preprocessing == preprocessing


def test_each_channel_has_its_mean_and_scale():
    x = np.random.default_rng(0).integers(0, 255, (2, 4, 5, 3)).astype(np.uint8)
    mean, scale = (1.0, 2.0, 3.0), (0.5, 0.25, 4.0)
    expected = (x.astype(np.float32) - np.float32(mean)) * np.float32(scale)
    last = Preprocessing(mean, scale).apply(x)
    first = Preprocessing(mean, scale, "channels_first").apply(np.moveaxis(x, -1, 1))
    assert last.dtype == np.float32
    assert np.array_equal(last, expected)
    assert np.array_equal(first, expected)


def test_nothing_to_do_changes_nothing():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.shares_memory(Preprocessing().apply(x), x)


def test_wrong_number_of_channels_is_named(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((9, 4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"preprocessing.mean has 2 numbers, the data 3 channels"):
        load_dataset(tmp_path / "d.npz", overrides={"preprocessing.mean": [1, 2]})


def test_overrides_win_over_the_file_and_none_means_not_given(tmp_path):
    (tmp_path / "data.toml").write_text('source = "d.npz"\nseed = 5\n[images]\nsize = [8, 8]\n')
    spec = read_spec(tmp_path / "data.toml", {"seed": None, "images.color": "gray", "test_fraction": "0.5"})
    assert (spec.seed, spec.images.size, spec.images.color, spec.test_fraction) == (5, (8, 8), "gray", 0.5)
    assert spec.source == str(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sorce = 'd.npz'", ":1: unknown key 'sorce'"),
        ("source = 'd.npz'\n[csv]\nlable = 'a'", ":3: unknown key 'lable'"),
        ("source = 'd.npz'\nseed = -1", ":2: seed"),
        ("source = 'd.npz'\n[preprocessing]\nscale = [0]", "erases the input"),
        ("source = 'd.npz'\nclasses = ['a', 'a']", "twice"),
        ("source = 'd.npz'\n[csv]\nstride = 3", "stride needs window"),
        ("seed = 1", "no source"),
        ("source = 'other.toml'", "source = 'other.toml'"),
        ("source = ", "not valid TOML"),
    ],
)
def test_a_file_that_does_not_fit_names_the_line(tmp_path, text, problem):
    (tmp_path / "data.toml").write_text(text)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path / "data.toml")
    assert problem in str(caught.value)


def test_overrides_reach_a_head_whether_the_file_names_it_or_not(tmp_path):
    (tmp_path / "data.toml").write_text('source = "d.npz"\n[heads.kind]\nmetric = "auc"\n')
    told = {"heads.kind.task": "classification", "heads.a.b.loss_weight": 2, "heads.other.task": None}
    spec = read_spec(tmp_path / "data.toml", told)
    assert spec.heads == {"kind": Head("classification", "auc"), "a.b": Head(loss_weight=2.0)}


def test_a_list_that_a_shell_took_the_quotes_of_is_shown_with_them():
    with pytest.raises(DataError, match=r"Expected `array`, got `str`.*classes") as caught:
        read_spec("d.npz", {"classes": "[cat,dog]"})
    assert caught.value.mend == """write a list, and in a shell quote it: 'classes=["cat", "dog"]'"""


def test_overrides_may_be_numbers_of_numpy():
    told = {"preprocessing.scale": np.float32([0.5, 2]), "seed": np.int64(3), "csv.label": np.int64(4)}
    spec = read_spec("d.npz", told | {"preprocessing.mean": [np.float64(1.5)]})
    assert (spec.preprocessing.scale, spec.preprocessing.mean) == ((0.5, 2.0), (1.5,))
    assert (spec.seed, spec.csv.label) == (3, "4")


@pytest.mark.parametrize(("value", "mend"), [(len, "module:function"), (object(), "numbers, text or a list")])
def test_overrides_that_are_no_values_are_named(value, mend):
    with pytest.raises(DataError, match=r"data option metric: .* is no value of it") as caught:
        read_spec("d.npz", {"metric": value})
    assert mend in caught.value.mend


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"heads.kind.metrc": "mae"}, "did you mean 'heads.NAME.metric'"),
        ({"sed": 1}, "did you mean 'seed'"),
        ({"images.colour": "gray"}, "images.color"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_overrides_that_do_not_fit_are_named(overrides, problem):
    with pytest.raises(DataError) as caught:
        read_spec("d.npz", overrides)
    assert problem in str(caught.value)
