"""`.keras` files: a zip with `config.json`, `metadata.json` and `model.weights.h5` (the Keras 3 native format)."""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.errors import ModelError
from edgekit.magic import ZIP_DAMAGE
from edgekit.model.guard import check_config, check_expansion, check_hdf5
from edgekit.model.heal import OLD_CLASSES
from edgekit.model.line import line_of
from edgekit.model.tfmot import WRAPPERS
from edgekit.tf import import_keras

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_AGAIN = "save it again with `model.save('name.keras')`, and compare checksums after copying"


def load_archive(path: Path, origin: str, trust: bool) -> Any:
    """The Keras model in a `.keras` file, uncompiled. Raises ModelError for a damaged, hostile or custom one."""
    if not trust:
        check_archive(path, origin)
    keras = import_keras()
    try:
        with tempfile.TemporaryDirectory() as folder:
            named = Path(folder, "model.keras")
            named.symlink_to(path.resolve())  # Keras goes by the extension, whatever the user called the file
            return keras.saving.load_model(named, compile=False, safe_mode=not trust)
    except Exception as cause:
        raise ModelError(f"{origin}: Keras cannot load it: {line_of(cause)}", _AGAIN) from cause


def check_archive(path: Path, origin: str, of_tf_keras: bool = False) -> None:
    """Raise ModelError for a `.keras` file that is damaged, hostile or custom, before anything in it is run.

    `of_tf_keras` allows the classes that only Keras 2 has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, origin)
            config = json.loads(archive.read(_CONFIG))
            weights = archive.read(_WEIGHTS)
    except (*ZIP_DAMAGE, OSError) as cause:
        raise ModelError(f"{origin}: damaged or truncated .keras file ({cause})", _AGAIN) from cause
    except (ValueError, RecursionError) as cause:
        raise ModelError(f"{origin}: its {_CONFIG} is not JSON ({cause})", _AGAIN) from cause
    if not isinstance(config, dict):
        raise ModelError(f"{origin}: its {_CONFIG} is no configuration of a model", _AGAIN)
    _refuse_wrappers(config, origin)
    check_config(
        {key: value for key, value in config.items() if key != "compile_config"},
        origin,
        OLD_CLASSES if of_tf_keras else (),
    )
    _check_weights(weights, origin)


def _refuse_wrappers(config: Any, origin: str) -> None:
    """Raise ModelError for a tf_keras model with wrappers: its .keras files have a layout of their own."""
    found = sorted(WRAPPERS & set(re.findall(r'"class_name": "(\w+)"', json.dumps(config))))
    if found:
        raise ModelError(
            f"{origin}: a tf_keras model with {', '.join(found)} of tensorflow-model-optimization in a .keras file",
            "in tf_keras: `model.save('name.h5')`, and give that file",
        )


def _check_members(archive: zipfile.ZipFile, origin: str) -> None:
    names = archive.namelist()
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


def _check_weights(weights: bytes, origin: str) -> None:
    import h5py

    try:
        with h5py.File(io.BytesIO(weights), "r") as file:
            check_hdf5(file, origin)
    except (OSError, RuntimeError, KeyError) as cause:
        raise ModelError(f"{origin}: its {_WEIGHTS} is damaged ({cause})", _AGAIN) from cause
