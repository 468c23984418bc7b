"""Data beside a model: what fits, what is made to fit and noted, what is refused with the mend."""

from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.dataset import load_dataset, match
from edgekit.errors import DataError


@dataclass(frozen=True)
class Tensor:
    shape: tuple
    name: str = "input"
    dtype: object = np.float32
    scale: float | None = None
    alias: str = ""


RNG = np.random.default_rng(0)
Y = np.arange(40) % 10


def loaded(tmp_path, *, overrides=None, **arrays):
    np.savez(tmp_path / "d.npz", **arrays)
    return load_dataset(tmp_path / "d.npz", overrides=overrides or {})


def images(*shape):
    return RNG.integers(0, 255, (40, *shape)).astype(np.uint8)


@pytest.mark.parametrize(
    ("ours", "theirs", "noted"),
    [
        ((28, 28), (None, 28, 28), False),
        ((28, 28), (1, 28, 28, 1), True),
        ((28, 28), (-1, -1, -1, 1), True),
        ((28, 28, 1), (None, 28, 28), True),
        ((20, 6), (None, None, 6), False),
    ],
)
def test_batches_have_the_shape_of_the_model(tmp_path, ours, theirs, noted):
    dataset = match(loaded(tmp_path, x=images(*ours), y=Y), [Tensor(theirs)], [Tensor((None, 10))])
    batch = next(dataset.part("train").batches(4))[0]
    assert len(batch.shape) == len(theirs)
    assert batch.dtype == np.float32
    assert any("axis" in note for note in dataset.notes) == noted
    assert match(dataset, [Tensor(theirs)], [Tensor((None, 10))]).notes == dataset.notes


@pytest.mark.parametrize(
    ("ours", "theirs", "mend"),
    [
        ((8, 8, 3), (None, 8, 8, 1), 'images.color = "gray"'),
        ((8, 8, 1), (None, 8, 8, 3), 'images.color = "rgb"'),
        ((8, 8, 3), (None, 16, 16, 3), "images.size = [16, 16]"),
        ((12, 25), (None, 25, 12), 'layout = "channels_first"'),
        ((8, 8), (None, 64), "reshape the samples to (64)"),
        ((8, 6), (None, 6), "each sample is a whole batch here"),
        ((7,), (None, 9), "the shape the model was trained on"),
    ],
)
def test_shapes_that_do_not_fit_are_both_named(tmp_path, ours, theirs, mend):
    with pytest.raises(DataError) as caught:
        match(loaded(tmp_path, x=images(*ours), y=Y), [Tensor(theirs)], [Tensor((None, 10))])
    assert str(ours) in caught.value.problem
    assert ", ".join(map(str, theirs[1:])) in caught.value.problem
    assert mend in caught.value.mend


def test_channels_first_data_fits_after_its_layout_is_said(tmp_path):
    x = images(12, 25)
    dataset = loaded(tmp_path, x_test=x, y_test=Y, overrides={"preprocessing.layout": "channels_first"})
    part = match(dataset, [Tensor((None, 25, 12))], [Tensor((None, 10))]).part("test")
    assert np.array_equal(part.array()[0], x.transpose(0, 2, 1))


@pytest.mark.parametrize("prefix", ["", "serving_default_"])
def test_several_inputs_go_by_name(tmp_path, prefix):
    arrays = {"x_test.near": images(4), "x_test.far": images(4), "y_test": Y}
    tensors = [Tensor((None, 4), f"{prefix}far"), Tensor((None, 4), f"{prefix}near")]
    part = match(loaded(tmp_path, **arrays), tensors, [Tensor((None, 10))]).part("test")
    assert np.array_equal(part.inputs[0], arrays["x_test.far"])
    assert np.array_equal(part.inputs[1], arrays["x_test.near"])


def test_inputs_with_other_names_go_by_order_if_shapes_fit(tmp_path):
    arrays = {"x_test.a": images(4), "x_test.b": images(6), "y_test": Y}
    part = match(loaded(tmp_path, **arrays), [Tensor((1, 4), "p"), Tensor((1, 6), "q")], [Tensor((1, 10))]).part("test")
    assert np.array_equal(part.inputs[1], arrays["x_test.b"])
    with pytest.raises(DataError, match="'p' of the model takes"):
        match(loaded(tmp_path, **arrays), [Tensor((1, 6), "p"), Tensor((1, 4), "q")], [Tensor((1, 10))])
    with pytest.raises(DataError, match="the data has 2 inputs"):
        match(loaded(tmp_path, **arrays), [Tensor((1, 4), "p")], [Tensor((1, 10))])


def test_names_of_a_signature_go_before_the_order(tmp_path):
    """The stock converter calls its outputs StatefulPartitionedCall:0 and so on; the names are in the signature."""
    arrays = {"x_test.a": images(4), "x_test.b": images(4), "y_test.kind": Y, "y_test.size": Y % 3}
    inputs = [Tensor((None, 4), "p:0", alias="b"), Tensor((None, 4), "q:0", alias="a")]
    outputs = [
        Tensor((None, 10), f"StatefulPartitionedCall:{place}", alias=name)
        for place, name in enumerate(("size", "kind"))
    ]
    dataset = match(loaded(tmp_path, **arrays), inputs, outputs)
    assert np.array_equal(dataset.part("test").inputs[0], arrays["x_test.b"])
    assert dataset.labelled_outputs == (1, 0)
    assert dataset.output_names == ("StatefulPartitionedCall:1", "StatefulPartitionedCall:0")
    assert not any("in this order" in said for said in dataset.warnings)


def test_an_order_that_decides_between_several_is_told_once(tmp_path):
    arrays = {"x_test.a": images(4), "x_test.b": images(4), "y_test.kind": Y, "y_test.size": Y % 3}
    tensors = [Tensor((None, 4), "p"), Tensor((None, 4), "q")], [Tensor((None, 10), "r"), Tensor((None, 10), "s")]
    dataset = match(loaded(tmp_path, **arrays), *tensors)
    told = [said for said in dataset.warnings if "in this order" in said]
    assert told == [
        "the inputs a, b are taken in this order: the model calls its own p, q",
        "the labels kind, size are taken in this order: the model calls its own r, s",
    ]
    assert match(dataset, *tensors).warnings == dataset.warnings


def test_an_input_of_text_is_named(tmp_path):
    with pytest.raises(DataError, match="'input' takes strings") as caught:
        match(loaded(tmp_path, x_test=images(4), y_test=Y), [Tensor((None, 4), dtype="string")], [Tensor((None, 10))])
    assert "edgekit inspect" in caught.value.mend


def test_one_name_that_the_model_lacks_is_taken_for_the_one_left_and_two_are_refused(tmp_path):
    one, other = images(4), images(4) + 1
    arrays = {"x_test.accelerometer": one, "x_test.gyro": other, "y_test.kind": Y, "y_test.color": Y[::-1]}
    inputs = [Tensor((None, 4), "serving_default_gyro:0"), Tensor((None, 4), "serving_default_accel:0")]
    outputs = [Tensor((None, 10), "colour"), Tensor((None, 10), "kind")]
    found = match(loaded(tmp_path, **arrays), inputs, outputs)
    assert [x[0, 0] for x in found.part("test").array()] == [other[0, 0], one[0, 0]]
    assert found.labelled_outputs == (1, 0)
    assert "of the inputs 'accelerometer' is taken for 'accel'" in found.warnings[0]
    assert "of the labels 'color' is taken for 'colour'" in found.warnings[1]
    three = [*inputs, Tensor((None, 4), "magnet")]
    arrays = {"x_test.accelerometer": one, "x_test.gyro": other, "x_test.magnetometer": one, "y_test": Y}
    with pytest.raises(DataError, match="calls an input 'accelerometer', the model has gyro, accel, magnet") as caught:
        match(loaded(tmp_path, **arrays), three, [Tensor((None, 10))])
    assert "accel" in caught.value.mend


def test_names_of_a_model_that_data_was_matched_to_say_nothing_to_another(tmp_path):
    arrays = {"x_test.image": images(4), "x_test.args_1": images(4) + 1, "y_test": Y}
    first = [Tensor((None, 4), "image"), Tensor((None, 4), "args_1")]
    found = match(loaded(tmp_path, **arrays), first, [Tensor((None, 10))])
    second = [
        Tensor((None, 4), "input_layer_1"),
        Tensor((None, 4), "image"),
    ]
    again = match(found, second, [Tensor((None, 10))])
    assert again.warnings == found.warnings


def test_integer_inputs_stay_integers_and_quantized_ones_are_real(tmp_path):
    dataset = loaded(tmp_path, x_test=images(4).astype(np.int64), y_test=Y)
    tokens = match(dataset, [Tensor((None, 4), dtype="int32")], [Tensor((None, 10))]).part("test")
    assert tokens.array()[0].dtype == np.int32
    quantized = match(dataset, [Tensor((1, 4), dtype="int8", scale=0.5)], [Tensor((1, 10))]).part("test")
    assert quantized.array()[0].dtype == np.float32
    with pytest.raises(DataError, match="the data goes from"):
        match(dataset, [Tensor((None, 4), dtype="int8")], [Tensor((None, 10))])
    fractions = loaded(tmp_path, x_test=images(4) / 7, y_test=Y)
    with pytest.raises(DataError, match="fractions"):
        match(fractions, [Tensor((None, 4), dtype="int32")], [Tensor((None, 10))])


@pytest.mark.parametrize(
    ("labels", "outputs", "problem"),
    [
        (Y, (None, 9), "labels 0 to 9, output 'input' has 9 value(s)"),
        (Y + 1, (None, 10), "subtract 1"),
        (Y, (None, 1), 'task = "regression"'),
        (RNG.normal(size=(40, 3)), (None, 2), "labels have shape (3,)"),
        (np.zeros((40, 5, 5), np.uint8), (None, 4, 4, 2), "masks have shape (5, 5)"),
    ],
)
def test_labels_the_outputs_cannot_express_are_named(tmp_path, labels, outputs, problem):
    with pytest.raises(DataError) as caught:
        match(loaded(tmp_path, x_test=images(4), y_test=labels), [Tensor((None, 4))], [Tensor(outputs)])
    assert problem in str(caught.value)


STEPS = RNG.integers(0, 3, (40, 6))
SEVERAL = np.concatenate([np.ones((40, 1)), RNG.integers(0, 2, (40, 4))], axis=1).astype(int)
SEVERAL[0, 1] = 1


def test_the_class_of_each_step_of_a_sequence_goes_by_the_task(tmp_path):
    arrays, outputs = {"x_test": images(4), "y_test": STEPS}, [Tensor((None, 6, 3))]
    with pytest.raises(DataError, match=r"labels have shape \(6,\)") as caught:
        match(loaded(tmp_path, **arrays), [Tensor((None, 4))], outputs)
    assert 'task = "classification"' in caught.value.mend
    found = match(loaded(tmp_path, **arrays, overrides={"task": "classification"}), [Tensor((None, 4))], outputs)
    assert np.array_equal(found.part("test").labels[0], STEPS)


@pytest.mark.parametrize(
    ("labels", "outputs"), [(Y % 3, (None, 6, 3)), (Y % 3, (None, 2, 2, 3)), (STEPS[:, :5], (None, 6, 3))]
)
def test_one_class_is_no_answer_for_each_step(tmp_path, labels, outputs):
    overrides = {"task": "classification"}
    arrays, model = {"x_test": images(4), "y_test": labels}, ([Tensor((None, 4))], [Tensor(outputs)])
    with pytest.raises(DataError, match="labels have shape") as caught:
        match(loaded(tmp_path, **arrays, overrides=overrides), *model)
    assert "a class for each step" in caught.value.mend
    own = {**overrides, "metric": "statistics:mean"}
    assert match(loaded(tmp_path, **arrays, overrides=own), *model).task == "classification"


@pytest.mark.parametrize(
    ("labels", "outputs", "problem"),
    [(SEVERAL, (None, 4), "labels have shape (5,)"), (2 * SEVERAL, (None, 5), "has labels 0 to 2")],
)
def test_several_classes_at_once_need_a_value_each(tmp_path, labels, outputs, problem):
    overrides = {"task": "classification", "metric": "auc"}
    arrays = {"x_test": images(4), "overrides": overrides}
    assert match(loaded(tmp_path, **arrays, y_test=SEVERAL), [Tensor((None, 4))], [Tensor((None, 5))]).metric == "auc"
    with pytest.raises(DataError) as caught:
        match(loaded(tmp_path, **arrays, y_test=labels), [Tensor((None, 4))], [Tensor(outputs)])
    assert problem in caught.value.problem


@pytest.mark.parametrize("metric", ["auto", "top2", "mean_iou"])
def test_several_classes_at_once_are_no_matter_of_one_decision(tmp_path, metric):
    overrides = {"task": "classification", "metric": metric}
    dataset = loaded(tmp_path, x_test=images(4), y_test=SEVERAL, overrides=overrides)
    with pytest.raises(DataError, match="judges one class a sample") as caught:
        match(dataset, [Tensor((None, 4))], [Tensor((None, 5))])
    assert caught.value.mend == 'give metric = "auc"'


@pytest.mark.parametrize(
    ("labels", "outputs", "metric"),
    [
        (SEVERAL, (None, 5), "mae"),
        (np.eye(5, dtype=int)[Y % 5], (None, 5), "auto"),
        (np.eye(3, dtype=int)[STEPS], (None, 6, 3), "auto"),
        (STEPS % 2, (None, 6, 1), "auto"),
        (STEPS % 2, (None, 6), "auc"),
        (STEPS, (None, None, 3), "auto"),
        (Y % 3, (None, 1, 1, 3), "auto"),
        (Y % 3, (None, None, 3), "auto"),
    ],
)
def test_labels_that_the_metric_judges_pass(tmp_path, labels, outputs, metric):
    overrides = {"task": "classification", "metric": metric}
    dataset = loaded(tmp_path, x_test=images(4), y_test=labels, overrides=overrides)
    assert match(dataset, [Tensor((None, 4))], [Tensor(outputs)]).labelled_outputs == (0,)


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [(Y % 2, (None, 1)), (Y, (None, 12)), (Y, (None, None)), (RNG.normal(size=40), (None, 1))],
)
def test_labels_the_outputs_can_express_pass(tmp_path, labels, outputs):
    dataset = match(loaded(tmp_path, x_test=images(4), y_test=labels), [Tensor((None, 4))], [Tensor(outputs)])
    assert dataset.labelled_outputs == (0,)


@pytest.mark.parametrize(
    ("labels", "names", "places", "said"),
    [
        (Y % 3, ("a", "b", "c"), 99, "3 classes, the output 99 places: they are taken for places 0 to 2; give classes"),
        (Y % 3, ("a", "b", "c"), 3, ""),
        (Y % 2, ("a", "b"), 1, ""),
        (Y % 3, ("a", "b", "c"), None, ""),
        (Y % 3, (), 1000, ""),
    ],
)
def test_fewer_names_of_classes_than_places_are_warned_of_once(tmp_path, labels, names, places, said):
    data = loaded(tmp_path, x_test=images(4), y_test=labels, overrides={"classes": names})
    tensors = [Tensor((None, 4))], [Tensor((None, places))]
    found = match(match(data, *tensors), *tensors).warnings
    assert [said in warning for warning in found] == [True] * bool(said)


def test_labels_find_their_output_among_several(tmp_path):
    arrays = {"x_test": images(4), "y_test.kind": Y}
    outputs = [Tensor((None, 6), "features"), Tensor((None, 10), "kind")]
    dataset = match(loaded(tmp_path, **arrays), [Tensor((None, 4))], outputs)
    given = (np.zeros((40, 6)), np.eye(10)[Y])
    labels, judged = dataset.judged(dataset.part("test"), given)
    assert dataset.output_names == ("kind",)
    assert judged[0] is given[1]
    assert np.array_equal(labels[0], Y)
    with pytest.raises(DataError, match="do not meet") as caught:
        match(loaded(tmp_path, x_test=images(4), y_test=Y), [Tensor((None, 4))], outputs)
    assert "y_test.features" in caught.value.mend


def test_a_model_that_gives_back_its_input_is_an_autoencoder(tmp_path):
    from edgekit.metrics import score

    x = RNG.normal(size=(40, 6)).astype(np.float32)
    dataset = match(loaded(tmp_path, x_test=x), [Tensor((None, 6))], [Tensor((None, 6))])
    labels, outputs = dataset.judged(dataset.part("test"), (x + 0.5,))
    assert (dataset.task, dataset.metric) == ("autoencoder", "mse")
    assert "taken for an autoencoder" in dataset.warnings[-1]
    with pytest.raises(DataError, match="only an autoencoder is to give its input"):
        dataset.refuse_guess()
    tensors = [Tensor((None, 6))]
    said = match(loaded(tmp_path, x_test=x, overrides={"task": "autoencoder"}), tensors, tensors)
    said.refuse_guess()
    assert not said.warnings
    assert score("mse", labels, outputs).value == pytest.approx(0.25)
    assert match(loaded(tmp_path, x_test=x), [Tensor((None, 6))], [Tensor((None, 3))]).task == "none"
    with pytest.raises(DataError, match="no autoencoder"):
        match(loaded(tmp_path, x_test=x, overrides={"task": "autoencoder"}), [Tensor((None, 6))], [Tensor((None, 3))])


@pytest.mark.parametrize(
    ("labels", "output", "mend"),
    [
        (np.where(images(4, 4) > 0, 255, 0).astype(np.uint8), (None, 4, 4, 1), "divide the masks by 255"),
        (images(17, 2).astype(np.int32), (None, 17, 2), 'if these are quantities: task = "regression"'),
        (np.zeros((40, 4, 4), np.uint8), (None, 5, 5, 1), "resize the masks"),
    ],
    ids=["black and white", "key points", "another size"],
)
def test_masks_that_do_not_fit_are_told_what_they_may_be(tmp_path, labels, output, mend):
    with pytest.raises(DataError) as caught:
        match(loaded(tmp_path, x_test=images(4, 4), y_test=labels), [Tensor((None, 4, 4, 1))], [Tensor(output)])
    assert caught.value.mend == mend


def test_an_autoencoder_with_labels_is_judged_by_its_error(tmp_path):
    from edgekit.metrics import score

    x, anomaly = RNG.normal(size=(40, 6)).astype(np.float32), (np.arange(40) % 4 == 0).astype(int)
    loose = loaded(tmp_path, x_train=x, x_test=x, y_test=anomaly, overrides={"task": "autoencoder"})
    dataset = match(loose, [Tensor((None, 6))], [Tensor((None, 6))])
    outputs = (x + np.where(anomaly, 2, 0.1)[:, None] * RNG.normal(size=x.shape),)
    labels, errors = dataset.judged(dataset.part("test"), outputs)
    assert dataset.metric == "auc"
    assert score("auc", labels, errors).value > 0.9


def test_labels_of_0_and_1_for_an_output_like_the_input_need_a_task(tmp_path):
    x, tensors = RNG.normal(size=(40, 6)).astype(np.float32), [Tensor((None, 6))]
    with pytest.raises(DataError, match="shaped like the input, and the labels are 0 and 1") as caught:
        match(loaded(tmp_path, x_test=x, y_test=Y % 2), tensors, tensors)
    assert caught.value.mend == 'say task = "autoencoder", or task = "classification"'
    for task in ("autoencoder", "classification"):
        assert match(loaded(tmp_path, x_test=x, y_test=Y % 2, overrides={"task": task}), tensors, tensors).task == task
    assert match(loaded(tmp_path, x_test=x, y_test=Y % 3), tensors, tensors).task == "classification"
    pair = [Tensor((None, 2))]
    assert match(loaded(tmp_path, x_test=x[:, :2], y_test=Y % 2), pair, pair).task == "classification"


def test_inputs_that_take_integers_go_without_the_preprocessing_of_the_others(tmp_path):
    overrides = {"preprocessing.mean": [1, 2, 3]}
    arrays = {"x_test.picture": images(4, 4, 3), "x_test.words": images(5), "y_test": Y}
    tensors = [Tensor((None, 4, 4, 3), "picture"), Tensor((None, 5), "words", "int32")]
    part = match(loaded(tmp_path, **arrays, overrides=overrides), tensors, [Tensor((None, 10))]).part("test")
    assert np.array_equal(part.array()[0], arrays["x_test.picture"] - np.float32([1, 2, 3]))
    assert np.array_equal(part.array()[1], arrays["x_test.words"])


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [({"preprocessing.scale": [2]}, "mean and scale"), ({"preprocessing.layout": "channels_first"}, "layout does not")],
)
def test_preprocessing_that_no_input_gets_is_refused(tmp_path, overrides, problem):
    dataset = loaded(tmp_path, x_test=images(3, 4, 4), y_test=Y, overrides=overrides)
    with pytest.raises(DataError, match=problem):
        match(dataset, [Tensor((None, 3, 4, 4), dtype="uint8")], [Tensor((None, 10))])
