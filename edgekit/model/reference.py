"""Models from Python: `package.module:function`, and pickles where the user trusts them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from edgekit.errors import ModelError
from edgekit.python_reference import importable, resolve
from edgekit.tf import import_keras

_AS_KERAS = "save the model with `model.save('name.keras')`"


def build_reference(reference: str) -> Any:
    """The Keras model that `module:name` or `file.py:name` is, or returns.

    Raises ModelError where module or name are missing, the function fails, or it returns something else.
    """
    import_keras()  # before the module imports TensorFlow itself, loudly
    factory = resolve(reference, ModelError)
    place = reference.rpartition(":")[0]
    folder = Path(place).absolute().parent if place.endswith(".py") else Path.cwd()
    try:
        with importable(Path.cwd()), importable(folder):
            model = factory if _is_model(factory) else factory()
    except Exception as cause:
        raise ModelError(
            f"{reference}: the function raised {type(cause).__name__}: {cause}",
            "correct it, and call it once in Python",
        ) from cause
    return checked(model, reference)


def load_pickle(path: Path, origin: str, trust: bool) -> Any:
    """The Keras model in a pickle. Raises ModelError unless `trust`, since a pickle runs code as it is read."""
    if not trust:
        raise ModelError(
            f"{origin}: a pickle, which can run any code as it is read",
            f"{_AS_KERAS}; only if you trust where the file comes from: --trust (trust=True)",
        )
    import_keras()
    try:
        with path.open("rb") as file:
            model = pickle.load(file)
    except Exception as cause:
        raise ModelError(f"{origin}: cannot be unpickled: {cause}", _AS_KERAS) from cause
    return checked(model, origin)


def checked(model: Any, origin: str) -> Any:
    """The same object if it is a Keras 3 model. Raises ModelError for anything else, naming what it is."""
    if _is_model(model):
        return model
    if type(model).__module__.split(".")[0] == "tf_keras" or any(
        base.__module__.split(".")[0] == "tf_keras" for base in type(model).__mro__
    ):
        raise ModelError(
            f"{origin}: is a tf_keras model, not a Keras 3 one", "`model.save('name.h5')`, and give that file"
        )
    raise ModelError(f"{origin}: is {type(model).__name__}, not a Keras model", "return a keras.Model")


def _is_model(value: Any) -> bool:
    return isinstance(value, import_keras().Model)
