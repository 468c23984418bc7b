"""Hostile files: nothing in them runs, nothing outside them is read; each is refused with its reason.

Every payload would leave a marker file. The controls at the end prove that the payloads work where `trust` lets them.
"""

from __future__ import annotations

import base64
import copy
import json
import marshal
import pickle
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgekit.errors import ModelError
from edgekit.model import load_model
from edgekit.model.guard import check_config
from edgekit.model.heal import keras_2_hard_sigmoid
from edgekit.tf import import_keras, import_tensorflow

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras = import_keras()
    folder = tmp_path_factory.mktemp("sound")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="dense")])
    model.save(folder / "sound.keras")
    model.save(folder / "sound.h5")
    return folder


def code_of(marker: Path) -> str:
    scope: dict[str, Any] = {}
    exec(f"f = lambda x: (open({str(marker)!r}, 'w').close(), x)[1]", scope)
    return base64.b64encode(marshal.dumps(scope["f"].__code__)).decode()


def layer(name: str, settings: dict[str, Any], module: str | None = "keras.layers") -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": {"name": "evil", **settings}, "registered_name": None}


def function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def as_lambda(marker: Path) -> dict[str, Any]:
    body = {"code": code_of(marker), "defaults": None, "closure": None}
    function = {"class_name": "__lambda__", "config": body}
    return layer("Lambda", {"function": function, "arguments": {}})


def gadget(module: str, name: str, **arguments: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda marker: layer("Lambda", {"function": function(module, name), "arguments": arguments})


def activation(module: str, name: str) -> Callable[[Path], dict[str, Any]]:
    return lambda marker: layer("Dense", {"units": 4, "activation": function(module, name)})


def registered() -> str:
    """The name of a function that Keras knows, because somebody registered it."""
    return str(import_keras().saving.get_registered_name(keras_2_hard_sigmoid()))


KERAS: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "marshalled code, CVE-2024-3660": (as_lambda, "runs no code"),
    "any module, CVE-2025-1550": (
        lambda marker: layer("Popen", {"args": ["touch", str(marker)]}, "subprocess"),
        "Popen",
    ),
    "any function, CVE-2025-1550": (activation("os", "system"), "os.system"),
    "get_file, CVE-2025-8747": (gadget("keras.utils", "get_file"), "runs no code"),
    "safe mode off, CVE-2025-9906": (gadget("keras.config", "enable_unsafe_deserialization"), "runs no code"),
    "keras function that is no activation": (activation("keras.utils", "get_file"), "keras.utils.get_file"),
    "configuration function as a class": (
        lambda marker: layer("enable_unsafe_deserialization", {}, "keras.config"),
        "keras.config",
    ),
    "loader as a class": (lambda marker: layer("load_model", {"filepath": "x"}, "keras.models"), "load_model"),
    "vocabulary from a path, CVE-2025-12058": (
        lambda marker: layer("IntegerLookup", {"vocabulary": "/etc/passwd"}),
        "reads the file '/etc/passwd'",
    ),
    "torch pickle, CVE-2025-49655": (lambda marker: layer("TorchModuleWrapper", {"module": "x"}), "carries a pickle"),
    "model from a path": (lambda marker: layer("TFSMLayer", {"filepath": "/tmp/x"}), "from a path"),
    "hidden in a wrapper": (lambda marker: layer("TimeDistributed", {"layer": as_lambda(marker)}), "runs no code"),
    "hidden in an initializer": (
        lambda marker: layer("Dense", {"units": 4, "kernel_initializer": layer("Popen", {}, "subprocess")}),
        "Popen",
    ),
    "function under the name of a registered one": (
        lambda marker: layer(
            "Dense",
            {"activation": {**function("keras.src.utils.file_utils", "get_file"), "registered_name": registered()}},
        ),
        "file_utils.get_file, which Keras does not have",
    ),
    "a private module of Keras": (lambda marker: layer("File", {}, "keras.src.utils.file_utils"), "file_utils"),
}


def rewritten(sound: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(target, "w") as out:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            out.writestr(name, data)
    return target


def with_layer(sound: Path, target: Path, evil: dict[str, Any]) -> Path:
    return rewritten(sound / "sound.keras", target, lambda config: config["config"]["layers"].insert(1, evil))


@pytest.mark.parametrize("case", KERAS)
def test_keras_file(case: str, sound: Path, tmp_path: Path, marker: Path) -> None:
    build, words = KERAS[case]
    file = with_layer(sound, tmp_path / "evil.keras", build(marker))
    with pytest.raises(ModelError, match=words) as caught:
        load_model(file)
    assert caught.value.mend
    assert not marker.exists()


@pytest.mark.parametrize("case", KERAS)
def test_hdf5_file(case: str, sound: Path, tmp_path: Path, marker: Path) -> None:
    build, words = KERAS[case]
    with pytest.raises(ModelError, match=words):
        load_model(hdf5_with(sound, tmp_path, build(marker)))
    assert not marker.exists()


def hdf5_with(sound: Path, folder: Path, evil: dict[str, Any]) -> Path:
    file = folder / "evil.h5"
    file.write_bytes((sound / "sound.h5").read_bytes())
    with h5py.File(file, "r+") as opened:
        config = json.loads(opened.attrs["model_config"])
        config["config"]["layers"].insert(1, evil)
        opened.attrs["model_config"] = json.dumps(config)
    return file


def old_lambda(sound: Path, folder: Path, marker: Path) -> Path:
    settings = {"function": [code_of(marker), None, None], "function_type": "lambda", "output_shape": None}
    return hdf5_with(sound, folder, {"class_name": "Lambda", "config": {"name": "evil", "arguments": {}, **settings}})


def test_hdf5_lambda_of_keras_2(sound: Path, tmp_path: Path, marker: Path) -> None:
    """CVE-2025-9905: the legacy format ignored safe mode."""
    with pytest.raises(ModelError, match="runs no code"):
        load_model(old_lambda(sound, tmp_path, marker))
    assert not marker.exists()


def test_every_sound_configuration_of_keras_passes() -> None:
    keras = import_keras()
    parts = [
        keras.layers.Dense(4, "gelu", kernel_regularizer="l2", kernel_constraint=keras.constraints.MaxNorm(2)),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(
            4, activation=keras.layers.LeakyReLU(0.1), kernel_initializer=keras.initializers.HeNormal(1)
        ),
        keras.layers.Dense(4, dtype="mixed_float16"),
        keras.layers.Dropout(0.1, seed=3),
        keras.layers.Activation("softmax"),
    ]
    x = keras.Input((4,))
    y = x
    for part in parts:
        y = part(y)
    model = keras.Model(x, keras.ops.relu(y) + 1.0)
    config = json.loads(model.to_json())
    before = copy.deepcopy(config)
    check_config(config, "sound")
    assert config == before


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped", "..\\escaped"])
def test_zip_member_out_of_the_file(name: str, sound: Path, tmp_path: Path) -> None:
    file = rewritten(sound / "sound.keras", tmp_path / "evil.keras", lambda config: None)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(ModelError, match="a path out of the file"):
        load_model(file)


def test_a_damaged_member_of_a_file_that_was_packed_again(sound: Path, tmp_path: Path) -> None:
    file = tmp_path / "again.keras"
    with zipfile.ZipFile(sound / "sound.keras") as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name in source.namelist():
            out.writestr(name, source.read(name))
    start = file.read_bytes().index(b"config.json") + len("config.json")
    with file.open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\xff" * 40)
    with pytest.raises(ModelError, match="damaged or truncated"):
        load_model(file)


def test_zip_bomb(sound: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.keras", "w", zipfile.ZIP_DEFLATED, compresslevel=2) as archive:
        archive.writestr("config.json", "{}")
        with archive.open("model.weights.h5", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
    with pytest.raises(ModelError, match="would grow"):
        load_model(tmp_path / "evil.keras")


def test_configuration_nested_without_end(sound: Path, tmp_path: Path) -> None:
    deep: Any = {}
    for _ in range(400):
        deep = {"config": deep}
    file = rewritten(sound / "sound.keras", tmp_path / "evil.keras", lambda config: config.update(more=deep))
    with pytest.raises(ModelError, match="nested more than"):
        load_model(file)


ODD = [
    b"null",
    b"[]",
    b"1",
    b'"x"',
    b"{}",
    b'{"class_name": 1}',
    b"[" * 9000,
    b"9" * 5000,
    b"\xff",
    b'{"class_name": "A"}',
]


@pytest.mark.parametrize("config", ODD, ids=lambda config: repr(config[:12]))
def test_configuration_that_is_none(config: bytes, sound: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(sound / "sound.keras") as whole, zipfile.ZipFile(tmp_path / "evil.keras", "w") as evil:
        for name in whole.namelist():
            evil.writestr(name, config if name == "config.json" else whole.read(name))
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "evil.keras")
    assert caught.value.mend


def damaged(data: bytes, seed: int) -> bytes:
    """The bytes with up to six of them changed, or cut."""
    copy, chance = bytearray(data), random.Random(seed)
    for _ in range(chance.randint(1, 6)):
        copy[chance.randrange(len(copy))] = chance.choice((0, 255, chance.randrange(256)))
    return bytes(copy[: chance.randrange(len(copy))] if seed % 10 == 0 else copy)


@pytest.mark.parametrize("name", ["sound.keras", "sound.h5"])
@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_are_opened_or_refused(seed: int, name: str, sound: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(damaged((sound / name).read_bytes(), seed))
    with suppress(ModelError):
        load_model(tmp_path / name)


def test_a_name_of_a_weight_that_is_no_text(sound: Path, tmp_path: Path) -> None:
    data = (sound / "sound.h5").read_bytes()
    for spelled in (b"dense/kernel", b"dense/bias", b"dense"):
        (tmp_path / "evil.h5").write_bytes(data.replace(spelled, spelled[:-2] + b"\xff\xfe"))
        with suppress(ModelError):
            load_model(tmp_path / "evil.h5")


def external_link(group: h5py.Group, secret: Path) -> None:
    group["kernel"] = h5py.ExternalLink(secret, "/secret")


def soft_link(group: h5py.Group, secret: Path) -> None:
    group["kernel"] = h5py.SoftLink("/model_weights")


def external_storage(group: h5py.Group, secret: Path) -> None:
    group.create_dataset("kernel", (4, 2), "f4", external=[(str(secret), 0, 32)])


def virtual(group: h5py.Group, secret: Path) -> None:
    layout = h5py.VirtualLayout((4, 2), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "secret", (4, 2))
    group.create_virtual_dataset("kernel", layout)


def shape_bomb(group: h5py.Group, secret: Path) -> None:
    group.create_dataset("kernel", (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10), compression="gzip")


def loop(group: h5py.Group, secret: Path) -> None:
    group["again"] = group
    group["kernel"] = h5py.SoftLink("again")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (external_link, "ExternalLink"),
        (soft_link, "SoftLink"),
        (external_storage, "another file"),
        (virtual, "another file"),
        (shape_bomb, "would grow"),
        (loop, "SoftLink"),
    ],
)
@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_hdf5_that_reaches_out(damage: Any, words: str, kind: str, sound: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["secret"] = np.ones((4, 2), "f4")
    inner = tmp_path / "weights.h5"
    inner.write_bytes((sound / "sound.h5").read_bytes())
    with h5py.File(inner, "r+") as file:
        damage(file.create_group("model_weights/evil"), secret)
    target = inner
    if kind == "keras":
        target = tmp_path / "evil.keras"
        with zipfile.ZipFile(sound / "sound.keras") as source, zipfile.ZipFile(target, "w") as out:
            out.writestr("config.json", source.read("config.json"))
            out.write(inner, "model.weights.h5")
    with pytest.raises(ModelError, match=words):
        load_model(target)


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.keras", "model.h5", "model"])
def test_pickle_under_any_name(name: str, tmp_path: Path, marker: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(ModelError, match="pickle"):
        load_model(tmp_path / name)
    assert not marker.exists()


def writing_signature(folder: Path, marker: Path) -> Path:
    tf = import_tensorflow()

    class Evil(tf.Module):  # type: ignore[misc,name-defined]
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            tf.io.write_file(str(marker), "ran")
            return {"y": tf.identity(x)}

    evil = Evil()
    tf.saved_model.save(evil, str(folder), signatures=evil.serve)
    return folder


def writing_at_load(folder: Path, marker: Path) -> Path:
    """The initializer of a lookup table runs while the folder is loaded; TensorFlow lets any function be one."""
    tf = import_tensorflow()
    from tensorflow.python.trackable.resource import CapturableResource

    class Resource(CapturableResource):  # type: ignore[misc]
        def _create_resource(self) -> Any:
            return tf.raw_ops.StackV2(max_size=1, elem_type=tf.float32)

        def _initialize(self) -> Any:
            tf.io.write_file(str(marker), "ran")
            return tf.constant(1)

    class Evil(tf.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.resource = Resource()

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            self.resource.resource_handle  # noqa: B018 - captured by the signature
            return {"y": tf.identity(x)}

    evil = Evil()
    tf.saved_model.save(evil, str(folder), signatures=evil.serve)
    return folder


def python_signature(folder: Path, marker: Path) -> Path:
    tf = import_tensorflow()

    class Evil(tf.Module):  # type: ignore[misc,name-defined]
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            return {"y": tf.numpy_function(lambda value: value, [x], tf.float32)}

    evil = Evil()
    tf.saved_model.save(evil, str(folder), signatures=evil.serve)
    return folder


@pytest.mark.parametrize(
    ("make", "operation"),
    [(writing_signature, "WriteFile"), (writing_at_load, "WriteFile"), (python_signature, "PyFunc")],
)
def test_saved_model_that_reaches_out(make: Any, operation: str, tmp_path: Path, marker: Path) -> None:
    folder = make(tmp_path / "evil", marker)
    marker.unlink(missing_ok=True)  # saving may have run it
    with pytest.raises(ModelError, match=operation):
        load_model(folder)
    assert not marker.exists()


def test_control_lambda_in_keras_file_runs_when_trusted(sound: Path, tmp_path: Path, marker: Path) -> None:
    load_model(with_layer(sound, tmp_path / "evil.keras", as_lambda(marker)), trust=True)
    assert marker.exists()


def test_control_lambda_in_hdf5_file_runs_when_trusted(sound: Path, tmp_path: Path, marker: Path) -> None:
    load_model(old_lambda(sound, tmp_path, marker), trust=True)
    assert marker.exists()


def test_control_pickle_runs_when_trusted(tmp_path: Path, marker: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(ModelError, match="not a Keras model"):
        load_model(tmp_path / "model.pkl", trust=True)
    assert marker.exists()


def test_control_saved_model_runs_when_trusted(tmp_path: Path, marker: Path) -> None:
    folder = writing_at_load(tmp_path / "evil", marker)
    marker.unlink(missing_ok=True)
    load_model(folder, trust=True)
    assert marker.exists()
