"""Sound models of every kind load, and bad ones are refused with what was found and what to do."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgekit.errors import DataError, EdgekitError, ModelError, RunError
from edgekit.model import Model, TensorSpec, load_model
from edgekit.model.line import line_of
from edgekit.model.saved_model import reaches_out
from edgekit.stages.convert import export
from edgekit.tf import import_keras, import_tensorflow
from edgekit.tflite.inspect import read_contents

pytestmark = pytest.mark.filterwarnings("ignore")


def two_in_two_out(as_dictionary: bool) -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(1)
    left, right = keras.Input((3,), name="z"), keras.Input((2,), name="a")
    first = keras.layers.Dense(4, name="late")(left)
    second = keras.layers.Dense(5, name="early")(keras.layers.Concatenate()([left, right]))
    if as_dictionary:
        return keras.Model({"z": left, "a": right}, {"q": first, "p": second})
    return keras.Model([left, right], [first, second])


@pytest.mark.parametrize(
    ("as_dictionary", "inputs", "outputs"), [(False, ["z", "a"], ["late", "early"]), (True, ["a", "z"], ["p", "q"])]
)
def test_names_orders_and_predictions_of_several_tensors(
    as_dictionary: bool, inputs: list[str], outputs: list[str], tmp_path: Path
) -> None:
    keras_model = two_in_two_out(as_dictionary)
    keras_model.save(tmp_path / "two.keras")
    model = load_model(tmp_path / "two.keras")
    assert [spec.name for spec in model.inputs] == inputs
    assert [spec.name for spec in model.outputs] == outputs
    rng = np.random.default_rng(0)
    given = {"z": rng.normal(size=(7, 3)), "a": rng.normal(size=(7, 2))}
    wanted = keras_model.predict(given if as_dictionary else [given["z"], given["a"]], verbose=0)
    ours = model.predict([given[name] for name in inputs], batch_size=3)
    for name, array in zip(outputs, ours, strict=True):
        np.testing.assert_allclose(array, wanted[name] if as_dictionary else wanted[outputs.index(name)], atol=1e-6)


def test_every_format_gives_the_same_outputs(tmp_path: Path) -> None:
    keras_model = two_in_two_out(as_dictionary=True)
    keras_model.save(tmp_path / "m.keras")
    keras_model.save(tmp_path / "m.h5")
    keras_model.export(tmp_path / "folder", verbose=False)
    models = [load_model(tmp_path / name) for name in ("m.keras", "m.h5", "folder")]
    assert [model.kind for model in models] == ["keras", "keras", "saved_model"]
    assert len({(model.inputs, model.outputs) for model in models}) == 1
    given = [np.ones((2, 2), np.float32), np.ones((2, 3), np.float32)]
    first, *others = [model.predict(given) for model in models]
    for other in others:
        for ours, theirs in zip(first, other, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_preprocessing_inside_and_a_fixed_batch(tmp_path: Path) -> None:
    keras = import_keras()
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(4, 8, 8, 3), dtype="uint8", name="image"),
            keras.layers.RandomFlip(),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Resizing(4, 4),
            keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
            keras.layers.Conv2D(2, 3),
        ]
    )
    model.save(tmp_path / "m.keras")
    loaded = load_model(str(tmp_path / "m.keras"))
    assert loaded.inputs == (TensorSpec("image", (4, 8, 8, 3), "uint8"),)
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    [ours] = loaded.predict([images])
    assert ours.shape == (6, 2, 2, 2)
    np.testing.assert_allclose(ours[:4], model(images[:4], training=False), atol=1e-5)


def test_tflite_file_needs_no_tensorflow(shared_data: Path) -> None:
    file = shared_data / "models" / "mlperf_tiny_ic" / "pretrainedResnet.tflite"
    code = f"import sys; from edgekit.model import load_model; print(load_model({str(file)!r}).outputs[0].shape[-1])"
    code += "; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["10", "False"], "")


def test_real_saved_model_keeps_its_output_names(shared_data: Path) -> None:
    model = load_model(shared_data / "models" / "basic_pitch" / "nmp")
    assert (model.kind, model.name, model.keras) == ("saved_model", "nmp", None)
    assert [spec.name for spec in model.outputs] == ["contour", "note", "onset"]
    again = load_model(shared_data / "models" / "basic_pitch" / "nmp.tflite")
    given = [np.random.default_rng(0).normal(size=(2, 43844, 1)).astype(np.float32)]
    ours = {array.shape: array.mean() for array in model.predict(given)}
    assert {array.shape for array in again.predict(given)} == set(ours)


def test_a_model_with_the_wrong_extension_is_known_by_its_content(tmp_path: Path) -> None:
    two_in_two_out(as_dictionary=False).save(tmp_path / "m.h5")
    two_in_two_out(as_dictionary=False).save(tmp_path / "m.keras")
    (tmp_path / "m.h5").rename(tmp_path / "is-h5.keras")
    (tmp_path / "m.keras").rename(tmp_path / "is keras.bin")
    assert load_model(tmp_path / "is-h5.keras").name == "is-h5"
    assert load_model(tmp_path / "is keras.bin").name == "is-keras"


def test_digest_is_that_of_the_content(tmp_path: Path) -> None:
    two_in_two_out(as_dictionary=False).export(tmp_path / "one", verbose=False)
    first = load_model(tmp_path / "one").sha256
    (tmp_path / "one").rename(tmp_path / "two")
    assert load_model(tmp_path / "two").sha256 == first
    (tmp_path / "two" / "more.txt").write_text("x")
    assert load_model(tmp_path / "two").sha256 != first


PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.keras", b"", "empty"),
        ("m.keras", PNG, "a PNG image"),
        ("m.h5", b"<!DOCTYPE html><html>", "a web page"),
        ("m.keras", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("m.keras", b"PK\x03\x04" + bytes(100), "damaged or truncated .keras"),
        ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged or truncated HDF5"),
        ("m.tflite", bytes(4) + b"TFL3" + b"\xff" * 100, "damaged or truncated TFLite"),
        ("m.tflite", b"nothing of the kind", "not a .tflite file"),
        ("m.onnx", b"\x08\x07\x12\x07pytorch", "ONNX"),
        ("m.pt", b"PK\x03\x04" + bytes(100), "PyTorch"),
        ("m.keral", b"anything at all", "did you mean m.keras"),
        ("m.xyz", b"anything at all", "SavedModel folder"),
    ],
)
def test_bad_files(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / name)
    assert words in str(caught.value)
    assert caught.value.mend


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["m.keras", "m.h5", "folder"])
def test_truncated_at_any_place(name: str, share: float, tmp_path: Path) -> None:
    model = two_in_two_out(as_dictionary=False)
    if name == "folder":
        model.export(tmp_path / name, verbose=False)
        files = [tmp_path / name / "saved_model.pb"]
    else:
        model.save(tmp_path / name)
        files = [tmp_path / name]
    for file in files:
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(ModelError):
        load_model(tmp_path / name)


def test_missing_names_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"did you mean .*model\.keras"):
        load_model(tmp_path / "modle.keras")
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path / "elsewhere" / "m.keras")


def test_a_folder_that_is_no_saved_model_names_the_model_in_it(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"give .*m\.keras"):
        load_model(tmp_path)


@pytest.mark.parametrize("kind", ["weights.h5", "legacy"])
def test_weights_without_architecture(kind: str, tmp_path: Path) -> None:
    model = two_in_two_out(as_dictionary=False)
    file = tmp_path / "m.weights.h5"
    if kind == "legacy":
        model.save(tmp_path / "m.h5")
        with h5py.File(tmp_path / "m.h5") as source, h5py.File(file, "w") as out:
            source.copy("model_weights", out)
            out.attrs["layer_names"] = source["model_weights"].attrs["layer_names"]
    else:
        model.save_weights(file)
    with pytest.raises(ModelError, match="weights only") as caught:
        load_model(file)
    assert "load_weights" in caught.value.mend


def test_optimizer_without_model(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_group("optimizer_weights")
    with pytest.raises(ModelError, match="optimizer only"):
        load_model(tmp_path / "m.h5")


def test_a_bundle_of_files_is_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.task", "w") as archive:
        archive.writestr("detector.tflite", b"TFL3")
    with pytest.raises(ModelError, match=r"a bundle of \.tflite files") as caught:
        load_model(tmp_path / "m.task")
    assert "unzip" in caught.value.mend


@pytest.mark.parametrize("kind", ["m.keras", "m.h5", "folder"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_unsound_weights_name_their_layer(kind: str, value: float, tmp_path: Path) -> None:
    model = two_in_two_out(as_dictionary=False)
    model.get_layer("early").bias.assign(np.full(5, value))
    if kind == "folder":
        model.export(tmp_path / kind, verbose=False)
    else:
        model.save(tmp_path / kind)
    with pytest.raises(ModelError, match="NaN or infinity") as caught:
        load_model(tmp_path / kind)
    assert kind == "folder" or "early" in caught.value.problem


def test_text_inputs_are_refused(tmp_path: Path) -> None:
    keras = import_keras()
    x = keras.Input((1,), dtype="string", name="words")
    y = keras.layers.Embedding(9, 2)(keras.layers.StringLookup(vocabulary=["a", "b"])(x))
    keras.Model(x, y).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match="'words' holds text") as caught:
        load_model(tmp_path / "m.keras")
    assert "strip" in caught.value.mend


def test_custom_layer_is_named_with_its_mend(tmp_path: Path) -> None:
    keras = import_keras()
    strange = type("Strange", (keras.layers.Layer,), {"call": lambda self, x: x})
    keras.Sequential([keras.Input((3,)), strange(name="odd")]).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match="Strange 'odd'") as caught:
        load_model(tmp_path / "m.keras")
    assert "package.module:function" in caught.value.mend


def test_a_custom_layer_stays_unknown_where_the_file_is_trusted(tmp_path: Path) -> None:
    keras = import_keras()
    strange = type("Strange", (keras.layers.Layer,), {"call": lambda self, x: x})
    keras.Sequential([keras.Input((3,)), strange(name="odd")]).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match="Could not locate class 'Strange'") as caught:
        load_model(tmp_path / "m.keras", trust=True)
    assert "package.module:function" in caught.value.mend


@pytest.mark.parametrize(("old", "new"), [('"Dense"', '"DenserDense"'), ('"units"', '"newer_units"')])
def test_a_file_of_a_newer_keras_names_the_version_that_opens_it(old: str, new: str, tmp_path: Path) -> None:
    keras = import_keras()
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as before, zipfile.ZipFile(tmp_path / "new.keras", "w") as after:
        for name in before.namelist():
            data = before.read(name).replace(old.encode(), new.encode())
            after.writestr(name, data.replace(f'"{keras.__version__}"'.encode(), b'"99.1.0"'))
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "new.keras")
    assert caught.value.mend.startswith("pip install 'keras>=99.1.0'")


def test_a_registered_class_is_the_users_own_code(tmp_path: Path) -> None:
    keras = import_keras()

    class Doubled(keras.layers.Layer):  # type: ignore[misc,name-defined]
        def call(self, x: Any) -> Any:
            return 2 * x

    with keras.saving.custom_object_scope({"Doubled": Doubled}):
        keras.Sequential([keras.Input((3,)), Doubled()]).save(tmp_path / "m.keras")
        [doubled] = load_model(tmp_path / "m.keras").predict([np.ones((1, 3))])
    np.testing.assert_array_equal(doubled, [[2, 2, 2]])


def test_signatures(tmp_path: Path) -> None:
    tf = import_tensorflow()
    module = tf.Module()
    module.one = tf.function(lambda x: {"y": x + 1}, input_signature=[tf.TensorSpec([None, 2], name="x")])
    module.two = tf.function(lambda x: {"y": x + 2}, input_signature=[tf.TensorSpec([None, 2], name="x")])
    tf.saved_model.save(module, str(tmp_path / "only"), signatures={"two": module.two})
    tf.saved_model.save(module, str(tmp_path / "both"), signatures={"one": module.one, "two": module.two})
    tf.saved_model.save(module, str(tmp_path / "none"))
    assert load_model(tmp_path / "only").predict([np.zeros((1, 2))])[0].tolist() == [[2, 2]]
    with pytest.raises(ModelError, match=r"several signatures \(one, two\)"):
        load_model(tmp_path / "both")
    with pytest.raises(ModelError, match="no signature"):
        load_model(tmp_path / "none")


def test_a_saved_model_of_tensorflow_1(tmp_path: Path) -> None:
    tf = import_tensorflow()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        weights = tf.compat.v1.get_variable("w", initializer=np.eye(3, 2, dtype=np.float32) * 2)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": tf.matmul(x, weights)})
    model = load_model(tmp_path / "m")
    assert model.outputs == (TensorSpec("y", (None, 2), "float32"),)
    assert model.predict([np.array([[1, 2, 3]])])[0].tolist() == [[2, 4]]
    file = export(model, 1, tmp_path / "exported").lower()
    assert [operator.name for operator in read_contents(file).operators] == ["FULLY_CONNECTED"]


def test_of_what_keras_says_the_innermost_cause_is_kept() -> None:
    around = "Dense could not be deserialized properly.\n\nconfig={'a': 1}.\n\nException encountered: "
    assert line_of(TypeError(f"{around}\x1b[1mno unit\x1b[0m\n\nArguments received by call():\n x=1")) == "no unit"
    assert line_of(ValueError()) == "ValueError"
    graph = "Graph execution error:\n\nDetected at node a:\n<unavailable>\n9 is not in [0, 5)\n\t [[{{node a}}]] [Op:f]"
    assert line_of(ValueError(graph)) == "9 is not in [0, 5)"


def test_an_input_of_one_value_is_refused(tmp_path: Path) -> None:
    tf = import_tensorflow()
    module, specs = tf.Module(), [tf.TensorSpec([None, 2], name="x"), tf.TensorSpec([], name="gain")]
    module.scale = tf.function(lambda x, gain: {"y": gain * x}, input_signature=specs)
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.scale})
    with pytest.raises(ModelError, match="'gain' is a single value, without a batch axis"):
        load_model(tmp_path / "m")


def test_operations_that_reach_out() -> None:
    known = set(dir(import_tensorflow().raw_ops))
    refused = {
        *("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc", "PrintV2", "Print"),
        *("SaveV2", "RestoreV2", "Save", "MergeV2Checkpoints", "TFRecordDataset", "TFRecordDatasetV2", "SqlDataset"),
        *("TextLineReaderV2", "ReaderReadV2", "CSVDatasetV2", "CacheDatasetV2", "DataServiceDatasetV4", "RemoteCall"),
        *("InitializeTableFromTextFileV2", "GenerateVocabRemapping", "ImmutableConst", "DecodeProtoV2", "EncodeProto"),
        *("DebugIdentityV3", "DebugNanCount", "CreateSummaryFileWriter", "CreateSummaryDbWriter", "SnapshotDatasetV2"),
        *("SaveDatasetV2", "LoadDataset", "DistributedSave", "LMDBReader", "LoadAndRemapMatrix", "Send", "Recv"),
        *("DatasetToTFRecord", "ExperimentalDatasetToTFRecord", "FileSystemSetConfiguration", "RegisterDatasetV2"),
    }
    harmless = {
        *("ReadVariableOp", "VarHandleOp", "AssignVariableOp", "TensorArrayReadV3", "TensorArrayWriteV3", "Assert"),
        *("Conv2D", "Placeholder", "PartitionedCall", "LookupTableFindV2", "HashTableV2", "NoOp", "ShardedFilename"),
        *("DecodeRaw", "DecodeJpeg", "Exit", "MutableDenseHashTable", "DisableCopyOnRead", "Cast", "DecodeCSV"),
    }
    assert refused | harmless <= known
    assert {name for name in refused if not reaches_out(name)} == set()
    assert {name for name in harmless if reaches_out(name)} == set()


def loaded() -> Model:
    keras = import_keras()
    from edgekit.model.live import from_keras

    return from_keras(keras.Sequential([keras.Input((3, 2)), keras.layers.Flatten()]), "m", "m", None)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ([np.zeros((4, 3, 3))], r"takes samples of shape \[3, 2\], got \[3, 3\]"),
        ([np.zeros(())], "takes samples of shape"),
        ([np.zeros((4, 3, 2))] * 2, "takes 1 inputs"),
        ([np.zeros((0, 3, 2))], "no samples"),
    ],
)
def test_data_that_does_not_fit_is_refused_before_it_runs(arrays: list[np.ndarray], words: str) -> None:
    with pytest.raises(DataError, match=words):
        loaded().predict(arrays)


REFERENCES = """
import keras
def built():
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
def other():
    keras.utils.set_random_seed(4)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
def unbuilt():
    return keras.Sequential([keras.layers.Dense(2)])
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)
    def call(self, x):
        return {"score": self.dense(x), "twice": 2 * self.dense(x)}
def own():
    model = Own()
    model(keras.ops.ones((1, 4)))
    return model
class Sized(keras.Model):
    def __init__(self, rule):
        super().__init__()
        self.rule, self.dense = rule, keras.layers.Dense(2)
    def call(self, inputs):
        return self.rule(self.dense(inputs["left"]) + self.dense(inputs["right"]))
def sized():
    keras.utils.set_random_seed(3)
    model = Sized(lambda x: 2 * x)
    model({"left": keras.ops.ones((1, 4)), "right": keras.ops.ones((1, 4))})
    return model
class Narrow(keras.Model):
    def call(self, x):
        if x.shape[0] is None:
            raise ValueError("the batch must be known")
        return x
def narrow():
    model = Narrow()
    model(keras.ops.ones((1, 4)))
    return model
def uncalled():
    return Own()
def nothing():
    return None
def failing():
    raise RuntimeError("no weights here")
built_model = built()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "small.py").write_text(REFERENCES)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "nets"]:
        monkeypatch.delitem(sys.modules, name)
    return "nets.small"


def test_python_reference_from_the_current_folder(package: str) -> None:
    before = list(sys.path)
    model = load_model(f"{package}:built")
    assert (model.kind, model.name, model.inputs[0].shape) == ("keras", "small-built", (None, 4))
    assert load_model(f"{package}:built").sha256 == model.sha256
    assert load_model(f"{package}:built_model").sha256 == model.sha256
    assert load_model(f"{package}:other").sha256 != model.sha256
    assert sys.path == before


def test_subclassed_model_that_was_called(package: str) -> None:
    model = load_model(f"{package}:own")
    assert [spec.name for spec in model.outputs] == ["score", "twice"]
    score, twice = model.predict([np.ones((3, 4))])
    np.testing.assert_allclose(twice, 2 * score, rtol=1e-6)
    assert model.inputs[0].shape == (None, 4)


def test_subclassed_model_that_keras_cannot_write_down(package: str) -> None:
    model = load_model(f"{package}:sized")
    assert [spec.name for spec in model.inputs] == ["left", "right"]
    once, thrice = model.predict([np.ones((1, 4))] * 2), model.predict([np.full((1, 4), 3.0)] * 2)
    np.testing.assert_allclose(3 * once[0], thrice[0], rtol=1e-5)
    assert load_model(f"{package}:sized").sha256 == model.sha256


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("unbuilt", "without input shape"),
        ("narrow", "the batch must be known"),
        ("uncalled", "never called"),
        ("nothing", "NoneType, not a Keras model"),
        ("failing", "raised RuntimeError: no weights here"),
        ("bilt", "did you mean 'built'"),
    ],
)
def test_python_references_that_give_no_model(package: str, function: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(f"{package}:{function}")
    assert words in str(caught.value)


def test_a_model_in_memory(tmp_path: Path) -> None:
    keras_model = two_in_two_out(as_dictionary=False)
    model = load_model(keras_model)
    assert (model.keras, model.kind) == (keras_model, "keras")
    assert model.sha256 == load_model(two_in_two_out(as_dictionary=False)).sha256
    with pytest.raises(ModelError, match="is int, not a Keras model"):
        load_model(3)


def test_python_references_that_lead_nowhere(package: str) -> None:
    with pytest.raises(ModelError, match=r"no module 'nets\.large'"):
        load_model("nets.large:built")
    with pytest.raises(ModelError, match=r"No such file .*nets/large\.py"):
        load_model("nets/large.py:built")


def test_a_file_is_as_good_as_a_module(package: str) -> None:
    by_file, by_module = load_model("nets/small.py:built"), load_model("nets.small:built")
    assert (by_file.name, by_file.sha256) == (by_module.name, by_module.sha256)


BUILDS = """
import keras
from nets.layers import Scaled, squashed
def built():
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation=squashed), Scaled()])
"""
LAYERS = """
import keras
class Scaled(keras.layers.Layer):
    def call(self, x):
        return 2 * x
def squashed(x):
    return keras.ops.tanh(x)
"""


def test_edited_code_of_a_layer_is_another_model(package: str, tmp_path: Path) -> None:
    found = set()
    (tmp_path / "nets" / "builds.py").write_text(BUILDS)
    for text in (LAYERS, LAYERS.replace("2 * x", "3 * x"), LAYERS.replace("tanh", "sigmoid"), LAYERS):
        (tmp_path / "nets" / "layers.py").write_text(text)
        sys.modules.pop("nets.layers", None)
        sys.modules.pop("nets.builds", None)
        found.add(load_model("nets.builds:built").sha256)
    assert len(found) == 3


def test_code_enters_the_digest_of_a_file_only_where_the_file_needs_it(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    keras, folder = import_keras(), tmp_path / "nets"
    two_in_two_out(as_dictionary=False).save(tmp_path / "plain.keras")
    plain = load_model(tmp_path / "plain.keras").sha256
    assert plain == hashlib.sha256((tmp_path / "plain.keras").read_bytes()).hexdigest()
    found = set()
    for text in (LAYERS, LAYERS.replace("2 * x", "3 * x")):
        (folder / "layers.py").write_text(text)
        sys.modules.pop("nets.layers", None)
        scaled = importlib.import_module("nets.layers").Scaled
        with keras.saving.custom_object_scope({"Scaled": scaled}):
            if not found:
                keras.Sequential([keras.Input((3,)), scaled()]).save(tmp_path / "own.keras")
            found.add(load_model(tmp_path / "own.keras").sha256)
    assert len(found) == 2


def test_a_file_of_python_finds_its_neighbours_inside_its_functions(package: str, tmp_path: Path) -> None:
    (tmp_path / "nets" / "late_nets.py").write_text(REFERENCES)
    (tmp_path / "nets" / "late.py").write_text("def built():\n    import late_nets as n\n    return n.other()\n")
    assert load_model("nets/late.py:built").sha256 == load_model("nets.small:other").sha256


def test_a_tf_keras_model_is_told_apart(package: str, tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    (tmp_path / "nets" / "old.py").write_text(
        "import tf_keras\ndef built():\n    return tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(4,))])\n"
    )
    with pytest.raises(ModelError, match="a tf_keras model") as caught:
        load_model("nets.old:built")
    assert ".h5" in caught.value.mend


def test_random_damage_is_always_a_told_error(tmp_path: Path) -> None:
    """Bytes overwritten anywhere: the file loads or is refused, and nothing else is raised."""
    model = two_in_two_out(as_dictionary=False)
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    rng = np.random.default_rng(7)
    for name in ("m.keras", "m.h5"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(25):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 40):
                damaged[place] = rng.integers(0, 256)
            (tmp_path / "damaged").write_bytes(damaged)
            try:
                load_model(tmp_path / "damaged")
            except EdgekitError:
                continue


def test_names_that_tensorflow_cannot_trace_go_the_whole_way(tmp_path: Path) -> None:
    from edgekit.stages.convert import export
    from edgekit.tflite.inspect import inspect_model

    keras = import_keras()
    inner = keras.Sequential([keras.layers.Dense(3, name="_f\u00fcr")], name="in ner")
    layers = [keras.Input((4,), name="in put"), keras.layers.Dense(5, name="first layer"), inner]
    model = keras.Sequential(layers, name="my\nmodel")
    x = np.ones((2, 4), np.float32)
    expected = np.asarray(model(x))
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert np.allclose(loaded.predict([x])[0], expected, atol=1e-6)
    assert [note.partition(" is called")[0] for note in loaded.healed] == [
        "layer 'my\\nmodel'",
        "layer 'first layer'",
        "layer 'in ner'",
        "layer '_f\u00fcr'",
    ]
    file = export(loaded, 1, tmp_path / "export").lower()
    assert inspect_model(file).inputs[0].name == "in put"


def test_samples_that_the_model_cannot_take_are_named(tmp_path: Path) -> None:
    keras = import_keras()
    model = keras.Sequential([keras.Input((2,), dtype="int32"), keras.layers.Embedding(10, 3)])
    tokens = np.zeros((70, 2), np.int32)
    tokens[69] = 10
    with pytest.raises(RunError, match=r"samples 64 to 69: .*10 is not in \[0, 10\)"):
        load_model(model).predict([tokens])


def test_a_name_that_is_no_text_is_refused_before_it_breaks_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not text"):
        load_model(tmp_path / os.fsdecode(b"\xff.keras"))


def test_a_long_file_name_leaves_room_for_the_recipe(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{'m' * 240}.tflite"
    path.write_bytes((shared_data / "models/tflm/hello_world_float.tflite").read_bytes())
    assert load_model(path).name == "m" * 100
