"""`.keras` files: a zip with `config.json`, `metadata.json` and `model.weights.h5` (the Keras 3 native format)."""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.errors import ModelError
from edgekit.magic import ZIP_DAMAGE
from edgekit.model.guard import CUSTOM, check_config, check_expansion, check_hdf5
from edgekit.model.heal import OLD_CLASSES, Healing, heal_config, register
from edgekit.model.legacy import refuse_unportable
from edgekit.model.line import line_of
from edgekit.model.tfmot import WRAPPERS
from edgekit.tf import import_keras

_CONFIG, _WEIGHTS, _METADATA = "config.json", "model.weights.h5", "metadata.json"
_MOST_METADATA = 1 << 16
_AGAIN = "save it again with `model.save('name.keras')`, and compare checksums after copying"
_AS_H5 = "in tf_keras: `model.save('name.h5')`, and give that file"


def load_archive(path: Path, origin: str, trust: bool) -> tuple[Any, tuple[str, ...]]:
    """The Keras model in a `.keras` file, uncompiled, and what was healed where Keras 2 wrote it.

    Raises ModelError for a damaged, hostile or custom file, and for what Keras 3 has no counterpart of.
    """
    register()
    old, healing = keras_version(path).startswith("2."), Healing()
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder, "model.keras")
        if old:
            _heal(path, named, origin, healing)
        else:
            named.symlink_to(path.resolve())  # Keras goes by the extension, whatever the user called the file
        if not trust:
            check_archive(named, origin)
        try:
            model = import_keras().saving.load_model(named, compile=False, safe_mode=not trust)
        except Exception as cause:
            mend = _AS_H5 if old else _newer(path) or (CUSTOM if "Could not locate" in str(cause) else _AGAIN)
            raise ModelError(f"{origin}: Keras cannot load it: {line_of(cause)}", mend) from cause
    return model, healing.told()


def keras_version(path: Path) -> str:
    """The version of Keras that wrote a `.keras` file; empty where it does not say."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_METADATA).file_size > _MOST_METADATA:
                return ""
            return str(json.loads(archive.read(_METADATA))["keras_version"])
    except (*ZIP_DAMAGE, OSError, KeyError, ValueError, TypeError, RecursionError):
        return ""


def _newer(path: Path) -> str:
    """How to read a file of a Keras newer than the installed one; empty for any other."""
    version, installed = keras_version(path), str(import_keras().__version__)
    if not re.fullmatch(r"\d+(\.\d+)+", version) or _numbers(version) <= _numbers(installed):
        return ""
    return f"pip install 'keras>={version}': the file is of Keras {version}, and {installed} is installed"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _heal(path: Path, healed: Path, origin: str, healing: Healing) -> None:
    """Write a `.keras` file of Keras 2 once more, with its configuration in the words of Keras 3."""
    with _opened(path, origin) as archive:
        config = json.loads(archive.read(_CONFIG))
        members = {name: archive.read(name) for name in archive.namelist()}
    refuse_unportable(config, origin)
    try:
        members[_CONFIG] = json.dumps(heal_config(config, healing)).encode()
    except ModelError as error:
        raise ModelError(f"{origin}: {error.problem}", error.mend) from error
    except (KeyError, TypeError) as cause:
        raise ModelError(f"{origin}: its {_CONFIG} is no configuration of a model", _AS_H5) from cause
    with zipfile.ZipFile(healed, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)


def check_archive(path: Path, origin: str, of_tf_keras: bool = False) -> None:
    """Raise ModelError for a `.keras` file that is damaged, hostile or custom, before anything in it is run.

    `of_tf_keras` allows the classes that only Keras 2 has.
    """
    with _opened(path, origin) as archive:
        config = json.loads(archive.read(_CONFIG))
        weights = archive.read(_WEIGHTS)
    if not isinstance(config, dict):
        raise ModelError(f"{origin}: its {_CONFIG} is no configuration of a model", _AGAIN)
    _refuse_wrappers(config, origin)
    check_config(
        {key: value for key, value in config.items() if key != "compile_config"},
        origin,
        OLD_CLASSES if of_tf_keras else (),
        "" if of_tf_keras else _newer(path),
    )
    _check_weights(weights, origin)


@contextmanager
def _opened(path: Path, origin: str) -> Iterator[zipfile.ZipFile]:
    """A `.keras` file whose members are harmless; damage that shows while it is read becomes a ModelError."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, origin)
            yield archive
    except (*ZIP_DAMAGE, OSError) as cause:
        raise ModelError(f"{origin}: damaged or truncated .keras file ({cause})", _AGAIN) from cause
    except (ValueError, RecursionError) as cause:
        raise ModelError(f"{origin}: its {_CONFIG} is not JSON ({cause})", _AGAIN) from cause


def _refuse_wrappers(config: Any, origin: str) -> None:
    """Raise ModelError for a tf_keras model with wrappers: its .keras files have a layout of their own."""
    found = sorted(WRAPPERS & set(re.findall(r'"class_name": "(\w+)"', json.dumps(config))))
    if found:
        raise ModelError(
            f"{origin}: a tf_keras model with {', '.join(found)} of tensorflow-model-optimization in a .keras file",
            _AS_H5,
        )


def _check_members(archive: zipfile.ZipFile, origin: str) -> None:
    names = archive.namelist()
    if any(name.endswith((".tflite", ".task")) for name in names):
        raise ModelError(f"{origin}: a bundle of .tflite files", f"unzip {origin}, and give one of them")
    if _CONFIG not in names or _WEIGHTS not in names:
        raise ModelError(
            f"{origin}: a zip file without {_CONFIG} and {_WEIGHTS} (it holds: {', '.join(names[:5])})",
            "give a file written by `model.save('name.keras')`",
        )
    for member in archive.infolist():
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in member.filename:
            raise ModelError(
                f"{origin}: holds {member.filename!r}, a path out of the file", "get it from its source again"
            )
        check_expansion(f"{origin}: {member.filename}", member.file_size, member.compress_size)
    members = archive.infolist()
    check_expansion(origin, sum(one.file_size for one in members), sum(one.compress_size for one in members))


def _check_weights(weights: bytes, origin: str) -> None:
    import h5py

    try:
        with h5py.File(io.BytesIO(weights), "r") as file:
            check_hdf5(file, origin)
    except (OSError, RuntimeError, KeyError) as cause:
        raise ModelError(f"{origin}: its {_WEIGHTS} is damaged ({cause})", _AGAIN) from cause
