"""Clustering: no more values than asked, also after training and int8 quantization; zeros stay; sizes are real."""

from __future__ import annotations

import dataclasses
import itertools
import os
import zlib
from pathlib import Path
from typing import Any

import architectures
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import strict_toml
from edgekit.data.parts import Dataset
from edgekit.dataset import load_dataset, match
from edgekit.errors import ModelError, RecipeError
from edgekit.model import load_model
from edgekit.stages.calibrate import calibrate
from edgekit.stages.centroids import ClusterPreserve, centroids_of
from edgekit.stages.cluster import HEADER, Cluster, ClusterLayers, apply, cluster, plan, report
from edgekit.stages.codebook import assign, codebook, huffman_bytes, huffman_lengths
from edgekit.stages.convert import export
from edgekit.stages.kernels import kernels_of
from edgekit.stages.numerics import Quantize
from edgekit.stages.quantize import Source, quantize
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Training
from edgekit.tf import import_keras
from edgekit.tflite import flatbuffer

Array = np.ndarray[Any, Any]
STARTS = ("kmeans++", "linear", "density")


@pytest.fixture(scope="module")
def network(digits: Path) -> Any:
    model = load_model(digits / "digits.keras").keras
    for number, layer in enumerate(model.layers[:-1]):
        layer.name = f"{type(layer).__name__.lower()}_{number}"
    return model


@pytest.fixture(scope="module")
def arrays(digits: Path) -> dict[str, Array]:
    with np.load(digits / "digits.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def data(digits: Path, network: Any, arrays: dict[str, Array]) -> Dataset:
    x, y = arrays["x_train"], arrays["y_train"]
    path = digits / f"clustering-{os.getpid()}.npz"
    rest = {"x_validation": x[800:], "y_validation": y[800:], "x_calibration": x[:20]}
    np.savez(path, x_train=x[:800], y_train=y[:800], x_test=arrays["x_test"], y_test=arrays["y_test"], **rest)
    return match(load_dataset(path), network.inputs, network.outputs)


def kernels(model: Any) -> dict[str, Array]:
    return {kernel.name: kernel.value for kernel in kernels_of(model)}


def accuracy(model: Any, arrays: dict[str, Array]) -> float:
    return float((np.asarray(model(arrays["x_test"])).argmax(1) == arrays["y_test"]).mean())


def error(values: Array, book: Array) -> float:
    return float(((values - book[assign(values, book, zero=False)]) ** 2).sum())


# Codebooks.


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40),
    st.integers(2, 9),
    st.sampled_from(STARTS),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_codebook_is_small_sorted_and_keeps_zeros(values: list[float], count: int, init: Any, zero: bool) -> None:
    weights = np.array(values, np.float32)
    book = codebook(weights, count, init, seed=0, zero=zero)
    assert 1 <= len(book) <= count
    assert (np.diff(book) > 0).all()
    found = book[assign(weights, book, zero)]
    if zero:
        assert (found[weights == 0] == 0).all()
        assert 0 in book
    nearest = np.abs(weights[:, None] - book).min(axis=1)
    assert np.abs(found - weights) == pytest.approx(nearest, abs=1e-9)
    if len(np.unique(weights)) <= count - zero:
        assert (found == weights).all()


@pytest.mark.parametrize("init", STARTS)
def test_lloyd_ends_where_every_centroid_is_the_mean_of_its_weights(init: Any) -> None:
    weights = np.random.default_rng(0).normal(size=3000)
    book = codebook(weights, 6, init, seed=3, zero=False)
    found = assign(weights, book, zero=False)
    assert [weights[found == number].mean() for number in range(6)] == pytest.approx(list(book), abs=1e-6)


def test_k_means_comes_near_the_best_of_all_partitions() -> None:
    """In one dimension the best clusters are intervals, so few values allow to try all of them."""
    for seed in range(5):
        weights = np.sort(np.random.default_rng(seed).normal(size=24))
        cuts = itertools.combinations(range(1, 24), 3)
        best = min(sum(part.var() * len(part) for part in np.split(weights, cut)) for cut in cuts)
        tries = [error(weights, codebook(weights, 4, init, seed, zero=False)) for init in STARTS]
        assert best - 1e-9 <= min(tries) <= 1.35 * best


def test_many_weights_are_sampled_without_harm() -> None:
    weights = np.random.default_rng(0).normal(size=600_000).astype(np.float32)
    book = codebook(weights, 16, "kmeans++", seed=0, zero=False)
    optimum = 0.009497  # of 16 levels for a normal distribution (Max 1960, table 1)
    assert error(weights, book) / len(weights) == pytest.approx(optimum, rel=0.05)
    assert (book == codebook(weights, 16, "kmeans++", seed=0, zero=False)).all()


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60).filter(any))
@settings(max_examples=100, deadline=None)
def test_huffman_codes_can_be_decoded_and_are_within_a_bit_of_the_entropy(counts: list[int]) -> None:
    lengths, used = huffman_lengths(np.array(counts)), np.array(counts) > 0
    assert ((lengths > 0) == used).all()
    assert (0.5 ** lengths[used]).sum() <= 1  # Kraft: a prefix code of these lengths exists
    share = np.array(counts)[used] / sum(counts)
    entropy = -(share * np.log2(share)).sum()
    mean = (share * lengths[used]).sum()
    assert entropy - 1e-9 <= mean < max(entropy + 1, 1 + 1e-9)


def test_huffman_size_of_a_known_histogram() -> None:
    counts = np.array([45, 13, 12, 16, 9, 5])  # Cormen et al., figure 16.5: 2.24 bits a symbol
    assert list(huffman_lengths(counts)) == [1, 3, 3, 3, 4, 4]
    assert huffman_bytes(np.repeat(np.arange(6), counts), centroids=6) == 28 + 6 + 6 * 4


# Models.


@pytest.mark.parametrize("granularity", ["per-layer", "per-channel"])
def test_each_kernel_has_no_more_values_than_asked(granularity: Any, network: Any) -> None:
    before = kernels(network)
    made = plan(network, Cluster(clusters=8, granularity=granularity))
    clustered = apply(network, made)
    for book in made.codebooks:
        kernel = next(kernel for kernel in kernels_of(clustered) if kernel.name == book.name)
        rows = kernel.matrix(kernel.value) if granularity == "per-channel" else kernel.value.reshape(1, -1)
        assert max(len(np.unique(row)) for row in rows) == 8
    told = report(network, clustered, made)
    assert {kernel.values for kernel in told.kernels} == {8}
    assert all((value == before[name]).all() for name, value in kernels(network).items())
    untouched = {name for name, _ in told.kept}
    assert all((kernels(clustered)[name] == before[name]).all() for name in untouched)
    assert not untouched & {book.name for book in made.codebooks}


def test_per_channel_is_nearer_than_per_layer_and_more_clusters_than_fewer(network: Any) -> None:
    errors = []
    for stage in (Cluster(4), Cluster(16), Cluster(64), Cluster(16, granularity="per-channel")):
        made = plan(network, stage)
        told = {k.name: k.relative_error for k in report(network, apply(network, made), made).kernels}
        errors.append(told["conv2d_4/kernel"])
    assert errors[0] > errors[1] > errors[2]
    assert errors[3] < errors[1]


def test_the_report_tells_real_sizes(network: Any) -> None:
    made = plan(network, Cluster(clusters=16))
    clustered = apply(network, made)
    told = next(k for k in report(network, clustered, made).kernels if k.name == "conv2d_4/kernel")
    weights = kernels(clustered)["conv2d_4/kernel"]
    assert told.weights == weights.size == 9 * 32 * 64
    assert told.deflated_after_bytes == len(zlib.compress(weights.tobytes(), 9))
    assert told.deflated_after_bytes < 0.25 * told.deflated_before_bytes
    assert weights.size * 3 / 8 < told.huffman_bytes < weights.size * 4 / 8 + 16 * 5
    assert told.huffman_bytes < told.deflated_after_bytes
    rows = report(network, clustered, made).rows()
    assert all(len(row) == len(HEADER) for row in rows)
    assert "the latency stay" in report(network, clustered, made).note


def test_a_pruned_network_stays_pruned(network: Any) -> None:
    pruned = apply(network, plan(network, Cluster(layers=(ClusterLayers("*", keep=True),))))
    for kernel in kernels_of(pruned):
        value = kernel.value
        kernel.variable.assign(np.where(np.abs(value) < np.quantile(np.abs(value), 0.6), 0, value))
    made = plan(pruned, Cluster(clusters=8))
    clustered = apply(pruned, made)
    assert all(book.zero for book in made.codebooks)
    for name, value in kernels(clustered).items():
        assert (value[kernels(pruned)[name] == 0] == 0).all()
        assert "depthwise" in name or len(np.unique(value)) == 8
    free = plan(pruned, Cluster(clusters=8, zeros="free"))
    assert not any(book.zero for book in free.codebooks)
    assert all(0 in book.values[0] for book in plan(network, Cluster(zeros="preserve")).codebooks)


def test_only_what_is_asked_for_is_clustered(network: Any) -> None:
    def reasons(**settings: Any) -> dict[str, str]:
        return {kept.name: kept.reason for kept in plan(network, Cluster(**settings)).kept}

    assert set(reasons(clusters=16)) == {"separableconv2d_7/depthwise_kernel"}
    assert "depthwise = true" in reasons()["separableconv2d_7/depthwise_kernel"]
    assert not reasons(depthwise=True)
    ends = reasons(skip_first=True, skip_last=True, depthwise=True)
    assert ends == {"conv2d_1/kernel": "the first layer, as asked", "digit/kernel": "the last layer, as asked"}
    assert len(reasons(only=("digit",))) == len(kernels(network)) - 1
    assert reasons(clusters=256)["conv2d_1/kernel"] == "288 weights in all: too few to share 256 values"
    few = plan(network, Cluster(layers=(ClusterLayers("conv*", clusters=4), ClusterLayers("digit", keep=True))))
    sizes = {book.name: len(book.values[0]) for book in few.codebooks}
    assert (sizes["conv2d_1/kernel"], sizes["separableconv2d_7/pointwise_kernel"]) == (4, 16)
    assert "digit/kernel" not in sizes


def test_every_kind_of_layer_is_found_once() -> None:
    keras = import_keras()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    shared = layers.Dense(12, name="shared")
    tokens = keras.Input((6,), name="tokens")
    x = layers.Embedding(40, 12, name="embedding")(tokens)
    x = shared(layers.EinsumDense("abc,cd->abd", (6, 12), name="einsum")(x)) + shared(x)
    x = layers.MultiHeadAttention(2, 6, name="attention")(x, x)
    x = layers.Conv1DTranspose(8, 3, name="transposed")(layers.SeparableConv1D(12, 3, name="separable")(x))
    model = keras.Model(tokens, layers.Bidirectional(layers.GRU(6), name="gru")(x))
    for granularity in ("per-layer", "per-channel"):
        made = plan(model, Cluster(clusters=2, granularity=granularity))
        found = {book.name for book in made.codebooks}
        assert found >= {"embedding/embeddings", "einsum/kernel", "shared/kernel", "attention/query/kernel"}
        assert found >= {"transposed/kernel", "separable/pointwise_kernel"}
        assert [kept.name for kept in made.kept] == ["separable/depthwise_kernel"]
        assert set(centroids_of(apply(model, made))) == found


# Training.


def together(old: Array, new: Array) -> bool:
    """Whether weights that shared a value still do, zeros are zeros, and nothing else became zero."""
    groups = [new[old == value] for value in np.unique(old)]
    return all(len(np.unique(group)) == 1 for group in groups) and bool(((old == 0) == (new == 0)).all())


def test_one_step_of_gradient_descent_is_one_step_of_each_centroid() -> None:
    """New centroid = old one - rate * mean of the gradients of its weights (Han et al. 2016, section 3.3)."""
    keras, tf = import_keras(), pytest.importorskip("tensorflow")
    keras.utils.set_random_seed(1)
    inputs = keras.Input((20,))
    model = keras.Model(inputs, keras.layers.Dense(10, name="dense")(inputs))
    clustered = apply(model, plan(model, Cluster(clusters=5)))
    before = kernels(clustered)["dense/kernel"]
    x, y = np.random.default_rng(0).normal(size=(2, 30, 20)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((clustered(x) - y[:, :10]) ** 2)
    gradients = tape.gradient(loss, clustered.trainable_variables)
    preserve = ClusterPreserve()
    preserve.start(clustered)
    keras.optimizers.SGD(0.5).apply(gradients, clustered.trainable_variables)
    preserve.after_update()
    after, slope = kernels(clustered)["dense/kernel"], np.asarray(gradients[0])
    for value in np.unique(before):
        held = before == value
        assert after[held] == pytest.approx(value - 0.5 * slope[held].mean(), abs=1e-6)


def test_training_moves_centroids_and_nothing_else(network: Any, data: Dataset, arrays: dict[str, Array]) -> None:
    stage = Cluster(clusters=3, training=Training(epochs=4, batch_size=64, learning_rate=2e-3, patience=0))
    made = plan(network, stage)
    start = apply(network, made)
    done = cluster(network, stage, data)
    assert accuracy(done.model, arrays) > accuracy(start, arrays) + 0.02
    assert accuracy(done.model, arrays) > accuracy(network, arrays) - 0.03
    before, after = kernels(start), kernels(done.model)
    for name in centroids_of(start):
        assert len(np.unique(after[name])) == 3
        assert together(before[name], after[name])
        assert (before[name] != after[name]).any()
    assert len(done.history) == 5


def test_a_later_training_keeps_clusters_and_zeros(network: Any, data: Dataset) -> None:
    made = plan(network, Cluster(clusters=6, zeros="preserve", granularity="per-channel"))
    start = apply(network, made)
    quick = Training(epochs=1, batch_size=64, patience=0, monitor="loss", learning_rate=1e-2)
    trained = fine_tune(start, without_validation(data), quick, callbacks=[ClusterPreserve()]).model
    before, after = kernels(start), kernels(trained)
    assert len(centroids_of(start)) == len(made.codebooks) == 4
    for book in made.codebooks:
        kernel = next(kernel for kernel in kernels_of(start) if kernel.name == book.name)
        pairs = zip(kernel.matrix(before[book.name]), kernel.matrix(after[book.name]), strict=True)
        assert all(together(old, new) for old, new in pairs)
        assert (before[book.name] != after[book.name]).any()
    assert not centroids_of(network)


def without_validation(data: Dataset) -> Dataset:
    """So that the last weights are the result, whether they are better or not."""
    return dataclasses.replace(data, validation=None)


@pytest.mark.covers("clusters")
@pytest.mark.parametrize(
    "name",
    [
        *architectures.OWN,
        *(pytest.param(name, marks=pytest.mark.slow) for name in architectures.APPLICATIONS),
    ],
)
def test_the_clusters_of_an_architecture_are_recovered_from_its_weights(name: str) -> None:
    model = architectures.build(name)
    made = plan(model, Cluster(clusters=4, granularity="per-channel"))
    clustered = apply(model, made)
    assert set(centroids_of(clustered)) == {book.name for book in made.codebooks}
    outputs = architectures.outputs(clustered, architectures.samples(model))
    assert all(np.isfinite(output).all() for output in outputs)


def test_what_was_not_clustered_is_not_held() -> None:
    keras = import_keras()
    inputs = keras.Input((16,))
    x = keras.layers.Dense(16, kernel_initializer="zeros", name="zeros")(inputs)
    x = keras.layers.Dense(16, kernel_initializer="ones", name="ones")(x)
    model = keras.Model(inputs, keras.layers.Dense(16, name="pruned")(x))
    kernel = model.get_layer("pruned").kernel
    kernel.assign(np.where(np.arange(256).reshape(16, 16) % 4 == 0, kernel, 0))
    assert not centroids_of(model)


# After quantization.


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("engine", ["litert", "converter"])
def test_int8_weights_have_no_more_values_than_clusters(
    engine: Any, granularity: Any, clustered_source: Source, plain_source: Source
) -> None:
    """Folding a batch normalization scales whole channels: one scale a channel keeps the values of each channel few,
    one scale a tensor keeps those of layers that fold none, as the last."""
    file = quantize(clustered_source, Quantize("int8", granularity, granularity, "int8", engine))
    found = int8_weights(file)
    sizes = [len(np.unique(row)) for weights in found for row in weights]
    assert len(found) >= 5
    assert max(sizes) <= 8
    dense = [weights for weights in found if weights.shape == (10, 64)]
    assert len(np.unique(dense[0])) <= 8 or granularity == "per-channel"
    plain = quantize(plain_source, Quantize("int8", granularity, granularity, "int8", engine))
    assert max(len(np.unique(row)) for weights in int8_weights(plain) for row in weights) > 60
    assert len(zlib.compress(file, 9)) < 0.8 * len(zlib.compress(plain, 9))


@pytest.fixture(scope="module")
def plain_source(float_file: bytes, arrays: dict[str, Array]) -> Source:
    return Source(float_file, calibrate(float_file, [arrays["x_train"][:50]]))


@pytest.fixture(scope="module")
def clustered_source(network: Any, arrays: dict[str, Array], tmp_path_factory: Any) -> Source:
    folder = tmp_path_factory.mktemp("clustered")
    clustered = apply(network, plan(network, Cluster(clusters=8)))
    clustered.save(folder / "clustered.keras")
    file = export(load_model(folder / "clustered.keras"), 1, folder / "export").lower()
    return Source(file, calibrate(file, [arrays["x_train"][:50]]))


def int8_weights(file: bytes) -> list[Array]:
    """The int8 weights `[outputs, inputs]` of convolutions and dense layers, depthwise left out."""
    model = flatbuffer.open_model(file, "model")
    graph = model.Subgraphs(0)
    found = []
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        shape, buffer = tensor.ShapeAsNumpy(), model.Buffers(tensor.Buffer())
        if tensor.Type() == 9 and buffer.DataLength() and len(shape) in (2, 4) and shape[0] > 1:
            found.append(buffer.DataAsNumpy().view(np.int8).reshape(shape[0], -1))
    return found


# Bad input.


@pytest.mark.parametrize("clusters", [-1, 0, 1, 257])
def test_impossible_numbers_of_clusters_are_refused(clusters: int) -> None:
    with pytest.raises(ValueError, match="clusters must be 2 to 256"):
        Cluster(clusters=clusters)
    with pytest.raises(ValueError, match="clusters must be 2 to 256"):
        ClusterLayers("conv", clusters=clusters)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"stage": "cluster", "clusters": clusters}, Cluster)


def test_settings_make_the_round_trip_through_toml() -> None:
    stage = Cluster(32, granularity="per-channel", layers=(ClusterLayers("head*", keep=True),), one_shot=True)
    assert strict_toml.loads(strict_toml.dumps(stage), Cluster, RecipeError) == stage


def test_what_does_not_fit_is_refused(network: Any) -> None:
    with pytest.raises(RecipeError, match="'head\\*' matches no layer"):
        plan(network, Cluster(only=("head*",)))
    with pytest.raises(RecipeError, match="did you mean 'digit'"):
        plan(network, Cluster(layers=(ClusterLayers("digits", keep=True),)))
    with pytest.raises(RecipeError, match="no data was given"):
        cluster(network, Cluster())
    with pytest.raises(ValueError, match="give either"):
        ClusterLayers("conv")
    broken = apply(network, plan(network, Cluster()))
    broken.get_layer("digit").kernel.assign(np.full((64, 10), np.inf))
    with pytest.raises(ModelError, match="NaN or infinity in the weights digit/kernel"):
        plan(broken, Cluster())
    keras = import_keras()
    inputs = keras.Input((4,))
    with pytest.raises(RecipeError, match="no kernel to cluster"):
        plan(keras.Model(inputs, keras.layers.ReLU()(inputs)), Cluster())
