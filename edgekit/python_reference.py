"""Python references: `package.module:name` or `path/file.py:name`, looked up from the working folder, too."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from edgekit.errors import InputError, did_you_mean

_READ: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
"""SHA-256 of the files of modules as they were when they were first asked for here."""
_PATTERN = re.compile(r"(?P<place>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def split(text: str) -> tuple[str, str] | None:
    """(module or file, name) of a reference; None for any other text."""
    found = _PATTERN.fullmatch(text)
    return (found["place"], found["name"]) if found else None


def resolve(reference: str, error: type[InputError]) -> Any:
    """The object that a reference names. Raises `error` where module or name do not exist, or importing fails."""
    parts = split(reference)
    if parts is None:
        raise error(f"{reference}: not `package.module:name` or `file.py:name`", "give the module, then ':' and a name")
    place, name = parts
    try:
        module = _module(place)
    except ModuleNotFoundError as cause:
        if cause.name and (place == cause.name or place.startswith(f"{cause.name}.")):
            raise error(f"{reference}: no module {cause.name!r}", "run from the folder that holds it") from None
        raise error(f"{reference}: {place} needs {cause.name!r}, which is not installed", "install it") from cause
    except OSError as cause:
        raise error(f"{reference}: {cause}", "check the path") from None
    except Exception as cause:
        problem = f"{reference}: importing {place} raised {type(cause).__name__}: {cause}"
        raise error(problem, "correct it") from cause
    if not hasattr(module, name):
        public = [word for word in vars(module) if not word.startswith("_")]
        raise error(f"{reference}: {place} has no {name!r}", did_you_mean(name, public))
    return getattr(module, name)


def code_digest(reference: str) -> str:
    """SHA-256 of the file that a reference's module is in; empty where that cannot be found without importing it.

    What was typed into a notebook or a console is in no file: there it is of the function itself.
    """
    place, _, name = reference.rpartition(":")
    if place == "__main__":
        main = sys.modules[place]
        file = getattr(main, "__file__", None)
        return _file_digest(file) if file else _digest(_typed(getattr(main, name, None)).encode())
    if not place.endswith(".py"):
        try:
            with importable(Path.cwd()):
                spec = importlib.util.find_spec(place)
        except Exception:  # of a package around it; who resolves the reference says what
            return ""
        place = spec.origin if spec and spec.origin else ""
    return _file_digest(place)


def function_digest(reference: str) -> str:
    """SHA-256 of the source of the function itself, whatever else is edited in its file. Raises InputError."""
    return _digest(_typed(resolve(reference, InputError)).encode())


def source_digest(thing: Any) -> str:
    """SHA-256 of the file that a class or function is in; of its own source where it was typed into a console."""
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return (_file_digest(file) if file else "") or _digest(_typed(thing).encode())


def _file_digest(file: str) -> str:
    path = Path(file)
    return _digest(path.read_bytes()) if path.is_file() else ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if data else ""


def _typed(function: Any) -> str:
    """The source of a function or class; else what its functions were compiled to. Empty for what has none."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        if isinstance(function, type):
            return "".join(_typed(one) for one in vars(function).values() if inspect.isfunction(one))
        code = getattr(function, "__code__", None)
        return repr(_compiled(code)) if code else ""


def _compiled(code: CodeType) -> tuple[object, ...]:
    inner = (_compiled(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    return (code.co_code, code.co_names, *inner)


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules be imported from a folder, as `python -m` does from the current one."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        with importable(Path.cwd()):
            return _as_written(importlib.import_module(place))
    return _of_file(Path(place))


def _as_written(module: ModuleType) -> ModuleType:
    """The module, run anew in its place where its file was changed since: a notebook imports it only once."""
    file = getattr(module, "__file__", None) or ""
    if module.__name__ == "__main__" or not (file.endswith(".py") and os.path.isfile(file)):
        return module
    text = Path(file).read_bytes()
    if _READ.setdefault(module, _digest(text)) != _digest(text):
        exec(compile(text, file, "exec", dont_inherit=True), vars(module))
        _READ[module] = _digest(text)
    return module


def _of_file(path: Path) -> ModuleType:
    """The module in a file, run once as long as its text stays; the name tells it from others, and not where it is."""
    text = path.read_bytes()
    path = Path(os.path.abspath(path))  # a link stays one: its neighbours are those of the link
    name = f"{path.stem}_{hashlib.sha256(text).hexdigest()[:16]}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise OSError(f"{path} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
