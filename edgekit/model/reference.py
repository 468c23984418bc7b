"""Models from Python: `package.module:function`, and pickles where the user trusts them."""

from __future__ import annotations

import importlib
import os
import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.errors import ModelError, did_you_mean
from edgekit.tf import import_keras

_AS_KERAS = "save the model with `model.save('name.keras')`"

REFERENCE = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def build_reference(reference: str) -> Any:
    """The Keras model that `module:function` returns; the current folder can be imported from, as with `python -m`.

    Raises ModelError where the module or function is missing, fails, or returns something else.
    """
    found = REFERENCE.fullmatch(reference)
    if not found:
        raise ModelError(f"{reference}: not `package.module:function`", "give the module by its import name, then ':'")
    with _current_folder():
        factory = _factory(found["module"], found["name"], reference)
        try:
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


def _factory(module: str, name: str, reference: str) -> Any:
    import_keras()  # before the module imports TensorFlow itself, loudly
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as cause:
        if cause.name and (module == cause.name or module.startswith(f"{cause.name}.")):
            raise ModelError(f"{reference}: no module {cause.name!r}", "run from the folder that holds it") from None
        raise ModelError(f"{reference}: {module} needs {cause.name!r}, which is not installed", "install it") from cause
    except Exception as cause:
        raise ModelError(
            f"{reference}: importing {module} raised {type(cause).__name__}: {cause}", "correct it"
        ) from cause
    if not hasattr(imported, name):
        public = [item for item in vars(imported) if not item.startswith("_")]
        raise ModelError(f"{reference}: {module} has no {name!r}", did_you_mean(name, public))
    return getattr(imported, name)


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


@contextmanager
def _current_folder() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
