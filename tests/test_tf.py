"""The door to TensorFlow: quiet, late, one backend, a mend where it is missing."""

import os
import subprocess
import sys

import pytest


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        key: value for key, value in os.environ.items() if key not in {"KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"}
    }
    return subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **environment}, capture_output=True, text=True, check=False
    )


def test_import_and_first_operation_print_nothing() -> None:
    done = run("from edgekit.tf import *\nimport_keras(); import_tensorflow().ones(2)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_module_itself_imports_no_tensorflow() -> None:
    done = run("import sys, edgekit.tf; print('tensorflow' in sys.modules, 'keras' in sys.modules)")
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(("name", "words"), [("tensorflow", "TensorFlow"), ("keras", "Keras 3")])
def test_absence_names_the_mend(name: str, words: str) -> None:
    code = f"""
import importlib, edgekit.tf as door
from edgekit.errors import MissingDependency
real = importlib.import_module
def without(module):
    if module == {name!r}:
        raise ModuleNotFoundError("No module named x", name=module)
    return real(module)
door.importlib.import_module = without
try:
    door.import_keras()
except MissingDependency as error:
    print(error)
"""
    done = run(code)
    assert words in done.stdout
    assert "edgekit[convert]" in done.stdout


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_is_refused_before_anything_is_imported(backend: str) -> None:
    code = """
import sys
from edgekit.errors import InputError
from edgekit.tf import import_keras
try:
    import_keras()
except InputError as error:
    print(error, 'tensorflow' in sys.modules)
"""
    done = run(code, KERAS_BACKEND=backend)
    assert f"KERAS_BACKEND={backend}" in done.stdout
    assert "KERAS_BACKEND=tensorflow" in done.stdout
    assert done.stdout.split()[-1] == "False"


def test_threads_that_hold_back_at_once_give_standard_output_back() -> None:
    code = """
import threading, time
from edgekit.tf import quiet
inside = threading.Event()
def first():
    with quiet():
        inside.set()
        time.sleep(0.1)
def second():
    inside.wait()
    with quiet():
        time.sleep(0.2)
threads = [threading.Thread(target=one) for one in (first, second)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print('heard')
"""
    assert run(code).stdout == "heard\n"


def test_stderr_held_back_is_shown_when_the_import_fails() -> None:
    code = """
import os
from edgekit.tf import quiet
with quiet():
    os.write(2, b'first ')
try:
    with quiet(replay=True):
        os.write(2, b'second ')
        raise ValueError
except ValueError:
    os.write(2, b'third')
"""
    assert run(code).stderr == "second third"
