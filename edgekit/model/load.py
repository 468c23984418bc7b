"""Find out what a model reference is, by its content and not by its name, and load it."""

from __future__ import annotations

import difflib
import hashlib
import re
from pathlib import Path
from typing import Any

from edgekit.errors import ModelError
from edgekit.magic import HDF5, ZIP
from edgekit.model.archive import load_archive
from edgekit.model.legacy import load_hdf5
from edgekit.model.live import from_keras, refuse_text
from edgekit.model.loaded import Model, TensorSpec
from edgekit.model.reference import build_reference, checked, load_pickle
from edgekit.model.saved_model import digest, load_saved_model
from edgekit.python_reference import split
from edgekit.tflite.artifact_folder import is_artifact, tflite_path

_KNOWN = (".keras", ".h5", ".hdf5", ".tflite")
_WAYS = "give a .keras, .h5, .hdf5 or .tflite file, a SavedModel folder, or `package.module:function`"

_PICKLES = (".pkl", ".pickle", ".joblib")
_OTHERS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip file (unpack it first)",
    b"\x93NUMPY": "a NumPy array",
    b"<!DO": "a web page, so the download failed",
    b"<htm": "a web page, so the download failed",
    b"version ": "a Git LFS pointer in place of the file (run `git lfs pull`)",
}
_FOREIGN = {
    ".onnx": "an ONNX model",
    ".pt": "a PyTorch model",
    ".pth": "a PyTorch model",
    ".pb": "a frozen graph or the inside of a SavedModel (give the folder)",
    ".ckpt": "a checkpoint, weights without architecture",
    ".index": "a checkpoint, weights without architecture",
    ".safetensors": "weights without architecture",
    ".npz": "arrays, weights without architecture",
    ".json": "an architecture without weights",
}


def load_model(reference: str | Path | Any, *, trust: bool = False) -> Model:
    """Load a model: a file, a folder, a reference `package.module:function`, or a Keras model in memory.

    A folder is that of a SavedModel or of an artifact.
    Nothing in a file is run unless `trust`; a Python reference is the user's own code and is run. Raises ModelError for
    anything that cannot be used, MissingDependency without TensorFlow (not needed for `.tflite`).
    """
    if not isinstance(reference, str | Path):
        model = checked(reference, "the model given")
        return from_keras(model, str(model.name), _safe(model.name), None)
    path, origin = Path(reference), str(reference)
    if not origin.isprintable() and any("\udc80" <= sign <= "\udcff" for sign in origin):
        raise ModelError(f"{origin!r}: a file name that is not text in this locale", "rename it, or use LC_ALL=C.UTF-8")
    if path.is_dir():
        return _load_folder(path, origin, trust)
    if path.exists():
        return _load_file(path, origin, trust)
    if isinstance(reference, str) and (found := split(reference)):
        name = f"{Path(found[0]).stem if found[0].endswith('.py') else found[0].rpartition('.')[2]}-{found[1]}"
        return from_keras(build_reference(reference), origin, _safe(name), None)
    raise _missing(path, origin)


def _missing(path: Path, origin: str) -> ModelError:
    near = sorted(item.name for item in path.parent.iterdir()) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, near, n=1)
    return ModelError(
        f"{origin}: no such file or folder", f"did you mean {path.with_name(close[0])}?" if close else _WAYS
    )


def _load_folder(path: Path, origin: str, trust: bool) -> Model:
    if (path / "saved_model.pb").is_file():
        return load_saved_model(path, origin, _safe_name(path), trust)
    if is_artifact(path):
        return _load_file(tflite_path(path), origin, trust)
    inside = sorted(item.name for item in path.iterdir())
    models = [name for name in inside if name.endswith(_KNOWN)]
    mend = f"give {path / models[0]}" if models else _WAYS
    raise ModelError(
        f"{origin}: a folder without saved_model.pb, so no SavedModel (it holds: {', '.join(inside[:5]) or 'nothing'})",
        mend,
    )


def _load_file(path: Path, origin: str, trust: bool) -> Model:
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as cause:
        raise ModelError(f"{origin}: {cause.strerror}", "give a file that can be read") from None
    if not start:
        raise ModelError(f"{origin}: the file is empty", "export it again; the writer was probably interrupted")
    name = _safe_name(path)
    if start[4:8] == b"TFL3":
        return _load_tflite(path, origin, name)
    if start.startswith(ZIP) and path.suffix.lower() not in _FOREIGN:
        model, healed = load_archive(path, origin, trust)
        return from_keras(model, origin, name, _digest(path), healed)
    if start.startswith(HDF5):
        model, healed = load_hdf5(path, origin, trust)
        return from_keras(model, origin, name, _digest(path), healed)
    if path.suffix.lower() in _PICKLES or re.match(rb"\x80[\x02-\x05]", start):
        return from_keras(load_pickle(path, origin, trust), origin, name, _digest(path))
    raise _unknown(path, origin, start)


def _unknown(path: Path, origin: str, start: bytes) -> ModelError:
    suffix = path.suffix.lower()
    what = next((text for magic, text in _OTHERS.items() if start.startswith(magic)), _FOREIGN.get(suffix))
    if what:
        return ModelError(f"{origin}: {what}, not a model that edgekit takes", _WAYS)
    if suffix in _KNOWN:
        return ModelError(
            f"{origin}: not a {suffix} file (it starts with {start[:8]!r})", "export it again, or copy it again"
        )
    close = difflib.get_close_matches(suffix, _KNOWN, n=1)
    return ModelError(f"{origin}: unknown kind of file", f"did you mean {path.stem}{close[0]}?" if close else _WAYS)


def _load_tflite(path: Path, origin: str, name: str) -> Model:
    from edgekit.tflite.inspect import aliases, inspect_model

    summary = inspect_model(path, origin)
    inputs, outputs = (
        tuple(
            TensorSpec(tensor.name, tuple(None if size < 0 else size for size in tensor.shape), tensor.dtype, alias)
            for tensor, alias in zip(tensors, names, strict=True)
        )
        for tensors, names in (
            (summary.inputs, aliases(summary, "inputs")),
            (summary.outputs, aliases(summary, "outputs")),
        )
    )
    refuse_text((*inputs, *outputs), origin)
    return Model(origin, name, "tflite", _digest(path), inputs, outputs, (), None, path)


def _safe_name(path: Path) -> str:
    return _safe(path.resolve().stem if path.is_file() else path.resolve().name)


def identity(path: Path) -> tuple[str, str]:
    """What a model in a file or a folder is called, and its sha256."""
    return _safe_name(path), digest(path) if path.is_dir() else _digest(path)


def _safe(name: str) -> str:
    """A name that goes with `-RECIPE.tflite` into a file name everywhere."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:100] or "model"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
