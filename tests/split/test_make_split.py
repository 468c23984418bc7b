"""Segments are whole files, hold what they need and no more, and compute together what the model computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from toy_networks import Network, chain, counting, skipping, two_branches, two_inputs

from edgekit.bench.run import infer
from edgekit.errors import InputError, ModelError
from edgekit.split.costs import Costs, estimated, parameter_bytes, step_bytes
from edgekit.split.edges import longest_way
from edgekit.split.flow import read_flow
from edgekit.split.make import Split, Wish, split_model
from edgekit.split.samples import random_samples
from edgekit.split.write import split_files
from edgekit.tflite.inspect import read_contents

NETWORKS = {
    f"{make.__name__}-{kind}": make(kind=kind)
    for make in (chain, skipping, two_branches, two_inputs)
    for kind in ("float32", "int8")
}


def together(split: Split, samples: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs of the segments one after the other, each by the real interpreter."""
    known = {port.tensor: array for port, array in zip(split.plan.inputs, samples, strict=True)}
    for segment, file in zip(split.plan.segments, split.files, strict=True):
        outputs = infer(file, [known[port.tensor] for port in segment.inputs]).outputs
        known |= {port.tensor: array for port, array in zip(segment.outputs, outputs, strict=True)}
    return [known[port.tensor] for port in split.plan.outputs]


@pytest.mark.parametrize("name", NETWORKS)
def test_segments_compute_what_the_model_computes(name: str) -> None:
    model = NETWORKS[name]
    split = split_model(model, Wish(3))
    assert len(split.files) == 3
    samples = [array[:, 0] for array in random_samples(split.plan.inputs, 5)]
    for found, whole in zip(together(split, samples), infer(model, samples).outputs, strict=True):
        np.testing.assert_array_equal(found, whole)
        assert (whole != whole[:1]).any()


def test_branches_compute_what_the_model_computes() -> None:
    model = two_branches("int8")
    split = split_model(model, Wish(4, branches=True))
    pairs = {(edge.source, edge.target) for edge in split.plan.edges}
    assert pairs == {(None, 0), (0, 1), (0, 2), (1, 3), (2, 3), (3, None)}
    samples = [array[:, 0] for array in random_samples(split.plan.inputs, 5)]
    np.testing.assert_array_equal(together(split, samples)[0], infer(model, samples).outputs[0])


def test_one_sample_takes_the_slowest_way() -> None:
    model = two_branches()
    costs = Costs(dict.fromkeys(range(8), 1.0), "a clock")
    assert split_model(model, Wish(4, branches=True), costs).plan.way_seconds == 6.0  # stem, 3 of 5, join and head
    assert split_model(model, Wish(4)).plan.way_seconds is None


def test_what_is_left_of_the_segments_cuts_the_heaviest_piece() -> None:
    split = split_model(two_branches(), Wish(6, branches=True))
    assert [len(one.operators) for one in split.plan.segments] == [1, 1, 2, 1, 1, 2]
    assert split.plan.reason == "segments end where branches do"


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_every_parameter_is_in_the_segment_that_reads_it_and_no_other(parts: int) -> None:
    model = chain((8, 16, 32, 8, 8))
    split = split_model(model, Wish(parts, "bytes"))
    whole = read_contents(model)
    sizes = [read_contents(file).parameter_bytes for file in split.files]
    assert sizes == [one.parameter_bytes for one in split.plan.segments]
    assert sum(sizes) == whole.parameter_bytes
    assert sum(one.macs for one in split.plan.segments) == whole.macs
    assert [number for one in split.plan.segments for number in one.operators] == [*range(5)]


def test_a_constant_of_two_segments_is_in_both_and_within_one_only_once() -> None:
    net = Network()
    at, shared = net.x, net.toy.tensor([8, 8], data=True)
    for _ in range(4):
        out = net.tensor(8)
        net.toy.operator("FULLY_CONNECTED", [at, shared, -1], [out], "FullyConnectedOptions", 6)
        at = out
    split = split_model(net.file(at), Wish(2, "bytes"))
    assert [one.parameter_bytes for one in split.plan.segments] == [256, 256]
    assert [read_contents(file).parameter_bytes for file in split.files] == [256, 256]
    assert step_bytes(read_flow(net.file(at)), (0, 1, 2, 4))[0].tolist() == [0, 256, 256, 256]


def test_the_contract_of_a_segment_is_that_of_its_file() -> None:
    split = split_model(two_branches("int8"), Wish(3))
    for segment, file in zip(split.plan.segments, split.files, strict=True):
        contents = read_contents(file)
        for ports, tensors in ((segment.inputs, contents.inputs), (segment.outputs, contents.outputs)):
            said = [(port.name, port.shape, port.dtype, port.scale, port.zero_point) for port in ports]
            assert said == [(one.name, one.shape, one.dtype, one.scale, one.zero_point) for one in tensors]


def test_a_skip_goes_from_its_maker_to_its_reader_and_is_handed_on_between() -> None:
    split = split_model(skipping(), Wish(3))
    skip = next(edge for edge in split.plan.edges if (edge.source, edge.target) == (0, 2))
    assert skip.hops == 2
    assert split.plan.segments[1].passes == skip.tensors


def test_the_longest_way() -> None:
    edges = [(-1, 0), (0, 1), (1, 2), (0, 2), (2, 4), (0, 3), (3, 4)]
    assert [longest_way(edges, *pair) for pair in ((-1, 0), (0, 2), (0, 4), (3, 4))] == [1, 2, 3, 1]


def test_a_segment_that_waits_for_nothing_runs_once_a_sample() -> None:
    plan = split_model(counting(), Wish(4)).plan
    at = next(number for number, one in enumerate(plan.segments) if not one.inputs)
    assert [(edge.source, edge.tensors) for edge in plan.edges if edge.target == at] == [(None, ())]


def test_a_state_is_kept_in_its_segment() -> None:
    net = Network()
    state, total = net.tensor(8), net.tensor(8)
    net.toy.graph.tensors[state].isVariable = True
    net.toy.operator("ADD", [net.dense(net.x), state], [total], "AddOptions")
    model = net.file(net.dense(total))
    split = split_model(model, Wish(2))
    assert all(port.tensor != state for one in split.plan.segments for port in (*one.inputs, *one.outputs))
    samples = [array[:, 0] for array in random_samples(split.plan.inputs, 3)]
    np.testing.assert_array_equal(together(split, samples)[0], infer(model, samples).outputs[0])


def test_the_same_model_gives_the_same_bytes() -> None:
    first, second = (split_files(split_model(two_branches(), Wish(3))) for _ in range(2))
    assert first == second


def test_bytes_are_balanced() -> None:
    plan = split_model(chain((16,) * 12), Wish(4, "bytes")).plan
    assert plan.uneven < 0.15
    assert not plan.reason


def test_what_cannot_be_even_has_its_reason() -> None:
    plan = split_model(chain((8, 8, 200)), Wish(3, "bytes")).plan
    assert plan.uneven > 1
    assert "FULLY_CONNECTED #2 in segment 2 alone is" in plan.reason


def test_latency_is_balanced_by_what_was_measured() -> None:
    costs = Costs(dict(enumerate([9.0, 1.0, 1.0, 1.0, 6.0])), "a clock")
    plan = split_model(chain((8,) * 5), Wish(2), costs).plan
    assert [one.seconds for one in plan.segments] == [9.0, 9.0]
    assert (plan.basis, plan.uneven) == ("a clock", 0.0)


def test_counts_are_no_seconds() -> None:
    plan = split_model(chain(), Wish(2)).plan
    assert [one.seconds for one in plan.segments] == [None, None]
    assert "no times" in plan.basis


def test_as_many_as_the_accelerator_needs() -> None:
    model = chain((32,) * 6)
    limit = 2 * parameter_bytes(read_flow(model), [3])
    plan = split_model(model, Wish("auto", "bytes", cache_bytes=limit)).plan
    assert len(plan.segments) == 3
    assert max(one.parameter_bytes for one in plan.segments) <= limit
    with pytest.raises(InputError, match="2 segments cannot have at most") as refused:
        split_model(model, Wish(2, cache_bytes=limit))
    assert refused.value.mend == "ask for 3"
    with pytest.raises(ModelError, match=r"alone has .* of parameters"):
        split_model(model, Wish("auto", cache_bytes=limit // 3))


def test_a_branch_beyond_the_accelerator_is_refused() -> None:
    limit = parameter_bytes(read_flow(two_branches()), [1])
    with pytest.raises(InputError, match=r"a branch has .* of parameters") as refused:
        split_model(two_branches(), Wish(4, branches=True, cache_bytes=limit))
    assert "more segments" in refused.value.mend
    plan = split_model(two_branches(), Wish(8, branches=True, cache_bytes=limit)).plan
    assert max(one.parameter_bytes for one in plan.segments) <= limit


def test_as_many_as_there_are_cores() -> None:
    assert len(split_model(chain(), Wish("auto", cores=3)).plan.segments) == 3
    assert len(split_model(chain(), Wish("auto", cores=99)).plan.segments) == 4
    assert len(split_model(two_branches(), Wish("auto", branches=True, cores=2)).plan.segments) == 4
    with pytest.raises(InputError, match="not known"):
        split_model(chain(), Wish("auto"))


@pytest.mark.parametrize(
    ("make", "wish", "words"),
    [
        (chain, Wish(1), "1 asked for, a split has at least 2"),
        (chain, Wish(5), "into 5 segments: it has 3 places"),
        (lambda: chain((8,)), Wish(2), "nothing to cut"),
        (chain, Wish(3, branches=True), "no two parts of it are independent"),
        (two_branches, Wish(2, branches=True), "too few for branches"),
    ],
    ids=["one", "too many", "one operator", "no branches", "too few for branches"],
)
def test_a_wish_that_cannot_be_is_refused(make: Callable[[], bytes], wish: Wish, words: str) -> None:
    with pytest.raises((InputError, ModelError), match=words) as refused:
        split_model(make(), wish)
    assert refused.value.mend


def test_nothing_to_count_is_said() -> None:
    net = Network()
    model = net.file(net.add(net.add(net.x, net.x), net.x))
    with pytest.raises(ModelError, match="no multiply-accumulates"):
        estimated(read_flow(model))
