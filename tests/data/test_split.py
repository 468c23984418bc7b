"""The law of splitting: nothing lost, nothing twice, groups whole, classes kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.data.split import carve, draw
from edgekit.dataset import load_dataset

WANTED = {"test": 0.2, "validation": 0.1, "calibration": 0.3}
labels = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(np.array)


@given(labels, st.integers(0, 99), st.data())
def test_parts_share_no_sample_and_lose_none(strata, seed, data):
    groups = data.draw(
        st.none() | st.lists(st.integers(0, 9), min_size=len(strata), max_size=len(strata)).map(np.array)
    )
    parts = carve(strata, groups, {name: round(share * len(strata)) for name, share in WANTED.items()}, seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(strata)))
    assert len(parts["train"])
    if groups is not None:
        homes = [set(groups[positions]) for positions in parts.values()]
        assert sum(map(len, homes)) == len(set().union(*homes))


@given(labels, st.integers(0, 130), st.integers(0, 99))
def test_a_draw_is_stratified_and_of_the_size_asked_for(strata, count, seed):
    chosen = draw(strata, count, seed)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(strata))
    assert np.array_equal(chosen, draw(strata, count, seed))
    _, sizes = np.unique(strata, return_counts=True)
    if (sizes > 1).sum() <= count <= (sizes - 1).sum():
        many = {stratum for stratum in strata.tolist() if (strata == stratum).sum() > 1}
        assert many <= set(strata[chosen].tolist())
        assert many <= set(np.delete(strata, chosen).tolist())
    if sizes.min() * min(count, len(strata)) >= len(strata) and count <= (sizes - 1).sum():
        for stratum in set(strata.tolist()):
            ideal = (strata == stratum).mean() * len(chosen)
            assert abs((strata[chosen] == stratum).sum() - ideal) < len(sizes)


@given(st.integers(1, 90), st.integers(1, 5), st.integers(0, 3))
def test_a_data_set_keeps_every_sample_once(tmp_path_factory, count, classes, seed):
    path = tmp_path_factory.mktemp("split") / "d.npz"
    np.savez(path, x=np.arange(count, dtype=np.float32)[:, None], y=np.arange(count) % classes)
    dataset = load_dataset(path, overrides={"seed": seed})
    together = np.concatenate([part.inputs[0][:, 0] for part in dataset.parts])
    assert sorted(together.tolist()) == list(range(count))
    for part in dataset.parts:
        assert np.array_equal(part.labels[0], part.inputs[0][:, 0].astype(int) % classes)


def test_test_is_a_fifth_and_validation_a_tenth_of_the_rest():
    strata = np.arange(1000) % 10
    parts = carve(strata, None, {"test": 200, "validation": 80, "calibration": 150}, 0)
    assert {name: len(found) for name, found in parts.items()} == {
        "test": 200,
        "validation": 80,
        "calibration": 150,
        "train": 570,
    }
    for found in parts.values():
        assert set(np.bincount(strata[found]).tolist()) == {len(found) // 10}


def test_every_class_is_in_the_calibration_of_a_small_set():
    strata = np.repeat(np.arange(10), 6)
    parts = carve(strata, None, {"test": 12, "validation": 5, "calibration": 200}, 0)
    assert set(strata[parts["calibration"]].tolist()) == set(range(10))
    assert set(strata[parts["train"]].tolist()) == set(range(10))


@pytest.mark.parametrize("seed", [1, 2])
def test_another_seed_is_another_split(seed):
    wanted = {"test": 20, "validation": 10, "calibration": 10}
    base, other = (carve(np.zeros(100, int), None, wanted, s)["test"] for s in (0, seed))
    assert not np.array_equal(base, other)
