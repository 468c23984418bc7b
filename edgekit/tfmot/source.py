"""A model for the second engine: checked as every file is, then opened by tf_keras and saved as plain `.h5`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import ModelError
from edgekit.magic import ZIP
from edgekit.model import Model, load_model
from edgekit.model.archive import check_archive, keras_version
from edgekit.model.legacy import load_hdf5
from edgekit.model.live import from_keras
from edgekit.model.load import identity
from edgekit.talk import Say
from edgekit.tfmot import process
from edgekit.tfmot.job import Job
from edgekit.tfmot.opening import METADATA
from edgekit.tfmot.settings import NATIVE, refuse_missing


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
        _convert(path, str(reference), out, trust, say)
    if loaded is None:
        model, healed = load_hdf5(out, str(reference), trust)
        loaded = from_keras(model, str(reference), name, sha256, healed)
    return replace(loaded, path=out)


def _convert(path: Path, origin: str, out: Path, trust: bool, say: Say) -> None:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as name:
        named = Path(name, f"model{'' if path.is_dir() else '.keras' if _is_zip(path) else '.h5'}")
        named.symlink_to(path.resolve())  # tf_keras goes by the extension: it must read what was checked
        try:
            process.run(Job(origin=origin, model=str(named), out=str(out), trust=trust), {}, say)
        except ModelError as cause:
            version = _keras_version(path)
            if not version.startswith("3."):
                raise
            problem = f"{origin}: this is a Keras 3 model (written by {version}), and tf_keras does not open it"
            raise ModelError(problem, NATIVE) from cause


def _is_zip(path: Path) -> bool:
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(4) == ZIP


def _no_file(reference: Any, trust: bool) -> ModelError:
    load_model(reference, trust=trust)  # names what is wrong with a path or a reference
    return ModelError(
        f"{reference if isinstance(reference, str) else 'the model given'}: a Keras 3 model in Python, "
        "and engine 'tfmot' opens files of tf_keras",
        f"in tf_keras: `model.save('name.h5')`, and give that file; or {NATIVE}",
    )


def _checked(path: Path, origin: str, trust: bool) -> Model | None:
    """The model where Keras 3 opens the file as well. Nothing in a file that is not trusted is run by tf_keras."""
    if _is_zip(path):
        if not trust:
            check_archive(path, origin, of_tf_keras=True)
        return None
    found = load_model(path, trust=trust)
    if found.kind == "saved_model":
        _refuse_without_layers(path, origin)
        return None
    if found.keras is None:
        raise ModelError(
            f"{origin}: engine 'tfmot' trains a tf_keras model, and this is a {found.kind}",
            "give the .h5 file that it was made from",
        )
    return found


def _refuse_without_layers(folder: Path, origin: str) -> None:
    if not (folder / METADATA).is_file():
        raise ModelError(
            f"{origin}: a SavedModel without {METADATA}: what was exported has no layers to train",
            "in tf_keras: `model.save('name.h5')` of the model itself, and give that file",
        )


def _keras_version(path: Path) -> str:
    """The version of Keras that wrote a file; empty where it does not say."""
    import h5py

    if _is_zip(path):
        return keras_version(path)
    if path.is_dir() or not h5py.is_hdf5(path):
        return ""
    with h5py.File(path, "r") as file:
        found = file.attrs.get("keras_version", "")
        return found.decode() if isinstance(found, bytes) else str(found)
