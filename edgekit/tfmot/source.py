"""A model for the second engine: checked as every file is, then opened by tf_keras and saved as plain `.h5`."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import ModelError
from edgekit.model import Model, load_model
from edgekit.model.archive import check_archive
from edgekit.model.legacy import load_hdf5
from edgekit.model.live import from_keras
from edgekit.model.load import identity
from edgekit.talk import Say
from edgekit.tfmot import process
from edgekit.tfmot.job import Job
from edgekit.tfmot.settings import NATIVE, refuse_missing

_METADATA = "keras_metadata.pb"


def open_model(reference: str | Path | Any, folder: Path, *, trust: bool = False, say: Say = lambda _: None) -> Model:
    """A model of tf_keras from a file or a SavedModel folder; `path` of it is an `.h5` in `folder`.

    Raises MissingDependency without the packages, ModelError for anything that tf_keras does not open.
    """
    refuse_missing()
    path = Path(reference) if isinstance(reference, str | Path) else None
    if path is None or not path.exists():
        raise _no_file(reference, trust)
    loaded = _checked(path, str(reference), trust)
    name, sha256 = identity(path)
    out = folder / f"{sha256[:24]}.h5"
    if not out.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        say("open the model in tf_keras")
        try:
            process.run(Job(origin=str(reference), model=str(path.resolve()), out=str(out), trust=trust), {}, say)
        except ModelError as cause:
            raise _of_keras_3(path, str(reference)) or cause from cause
    if loaded is None:
        model, healed = load_hdf5(out, str(reference), trust)
        loaded = from_keras(model, str(reference), name, sha256, healed)
    return replace(loaded, path=out)


def _no_file(reference: Any, trust: bool) -> ModelError:
    load_model(reference, trust=trust)  # names what is wrong with a path or a reference
    return ModelError(
        f"{reference if isinstance(reference, str) else 'the model given'}: a Keras 3 model in Python, "
        "and engine 'tfmot' opens files of tf_keras",
        f"in tf_keras: `model.save('name.h5')`, and give that file; or {NATIVE}",
    )


def _checked(path: Path, origin: str, trust: bool) -> Model | None:
    """The model where Keras 3 opens the file as well. Nothing in a file that is not trusted is run by tf_keras."""
    if zipfile.is_zipfile(path):
        if not trust:
            check_archive(path, origin, of_tf_keras=True)
        return None
    found = load_model(path, trust=trust)
    if found.kind == "saved_model":
        _check_metadata(path, origin, trust)
        return None
    if found.keras is None:
        raise ModelError(
            f"{origin}: engine 'tfmot' trains a tf_keras model, and this is a {found.kind}",
            "give the .h5 file that it was made from",
        )
    return found


def _check_metadata(folder: Path, origin: str, trust: bool) -> None:
    """Raise ModelError for a SavedModel without the layers it was made of, or with a layer that carries code."""
    if not (folder / _METADATA).is_file():
        raise ModelError(
            f"{origin}: a SavedModel without {_METADATA}: what was exported has no layers to train",
            "in tf_keras: `model.save('name.h5')` of the model itself, and give that file",
        )
    if not trust and re.search(rb'"class_name": "(Lambda|TFSMLayer)"', (folder / _METADATA).read_bytes()):
        raise ModelError(
            f"{origin}: holds a Lambda layer, which carries Python code, and loading runs no code from a file",
            "only if you trust where the file comes from: --trust (trust=True); else replace it with a Keras layer",
        )


def _of_keras_3(path: Path, origin: str) -> ModelError | None:
    """The error for a file that tf_keras does not open because Keras 3 wrote it; None for any other."""
    version = _keras_version(path)
    if not version.startswith("3."):
        return None
    return ModelError(
        f"{origin}: this is a Keras 3 model (written by {version}), and tf_keras does not open it", NATIVE
    )


def _keras_version(path: Path) -> str:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
    if path.is_dir():
        return ""
    import h5py

    with h5py.File(path, "r") as file:
        found = file.attrs.get("keras_version", "")
        return found.decode() if isinstance(found, bytes) else str(found)
