"""The one door to TensorFlow and Keras: imported late, quietly, and only with the backend that can be converted."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from edgekit.errors import InputError, MissingDependency

_MEND = "pip install 'edgekit[convert]'"
_ONE_AT_A_TIME = threading.RLock()  # standard output and error are one for the whole process


@cache
def import_tensorflow() -> Any:
    """The module `tensorflow`, with its log noise off unless TF_CPP_MIN_LOG_LEVEL asks for it.

    Raises MissingDependency where TensorFlow is absent or broken.
    """
    loud = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2") in {"0", "1"}
    if loud:
        return _import("tensorflow", "TensorFlow")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with quiet(replay=True):
        tensorflow = _import("tensorflow", "TensorFlow")
        tensorflow.config.list_physical_devices()  # the search for GPUs complains once, so let it do so here
    tensorflow.get_logger().setLevel("ERROR")
    importlib.import_module("absl.logging").set_verbosity("error")
    return tensorflow


@cache
def import_keras() -> Any:
    """The module `keras` (version 3) on the TensorFlow backend.

    Raises InputError where another backend is asked for or already running, MissingDependency where Keras 3 is absent.
    """
    asked = os.environ.get("KERAS_BACKEND", "tensorflow")
    if asked != "tensorflow":
        raise _wrong_backend(f"KERAS_BACKEND={asked}")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import_tensorflow()
    keras = _import("keras", "Keras 3")
    if int(keras.__version__.split(".")[0]) < 3:
        raise MissingDependency(f"edgekit needs Keras 3; Keras {keras.__version__} is installed", _MEND)
    if keras.backend.backend() != "tensorflow":
        raise _wrong_backend(f"Keras was already imported on {keras.backend.backend()!r}")
    return keras


def _wrong_backend(found: str) -> InputError:
    return InputError(
        f"{found}: only the TensorFlow backend of Keras can be converted to TFLite",
        "set KERAS_BACKEND=tensorflow before Keras is imported; a .keras file saved on another backend loads there",
    )


def _import(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise MissingDependency(f"this needs {name}, which is not installed", _MEND) from None
        raise MissingDependency(f"{name} is installed, but {error.name!r} that it needs is not", _MEND) from error
    except ImportError as error:
        raise MissingDependency(f"{name} is installed, but does not import: {error}", f"reinstall: {_MEND}") from error


@contextmanager
def quiet(replay: bool = False) -> Iterator[None]:
    """Hold back what libraries write to standard output and error, also from C++.

    With `replay` it is shown after all if the body fails. Threads wait here for each other.
    """
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as held, warnings.catch_warnings():
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [(number, os.dup(number)) for number in (1, 2)]
        warnings.simplefilter("ignore")
        for number, _ in kept:
            os.dup2(held.fileno(), number)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept[1][1], held.read() if replay else b"")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
