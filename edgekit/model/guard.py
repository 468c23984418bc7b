"""What a model file may ask for: only Keras's own building blocks, nothing that runs code or reaches out of the file.

Keras closed these doors one by one (CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9905, CVE-2025-9906,
CVE-2025-12058); a list of what is allowed, checked before Keras sees the file, holds for every version of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator
from typing import Any

from edgekit.errors import ModelError
from edgekit.tf import import_keras

_NAMESPACES = (
    "layers",
    "models",
    "initializers",
    "regularizers",
    "constraints",
    "activations",
    "losses",
    "metrics",
    "optimizers",
    "dtype_policies",
    "quantizers",
    "random",
)
_INTERNAL = (*_NAMESPACES, "ops")
_STRUCTURE = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__slice__", "__ellipsis__", "__tuple__"}
_RUNS_CODE = {
    "Lambda": "carries Python code",
    "__lambda__": "carries Python code",
    "TFSMLayer": "loads another model from a path",
    "TorchModuleWrapper": "carries a pickle",
    "JaxLayer": "carries code of another framework",
    "FlaxLayer": "carries code of another framework",
    "__typespec__": "names a Python class to import",
    "TypeSpec": "names a Python class to import",
    "CompositeTensor": "names a Python class to import",
}
_DEEPEST = 200
_SMALL_BYTES = 1 << 28
_EXPANSION = 100

_TRUST = "only if you trust where the file comes from: --trust (trust=True); else "
CUSTOM = "give a Python reference `package.module:function` that builds the model and loads its weights"


def check_config(config: Any, origin: str, old: Collection[str] = (), newer: str = "") -> None:
    """Refuse a model configuration that asks for anything but Keras's own classes and functions.

    Raises ModelError naming the first such thing. Classes that the user's own code registered with Keras are allowed,
    and those named in `old`. `newer` is the mend where a Keras newer than the installed one may have the class.
    """
    refuse_code(config, origin)
    for path, entry in _objects(config, (), origin):
        label = _label(path, entry)
        name = entry["class_name"]
        settings = entry.get("config")
        vocabulary = settings.get("vocabulary") if isinstance(settings, dict) else None
        if isinstance(vocabulary, str):
            raise ModelError(
                f"{origin}: {label} reads the file {vocabulary!r}", "save it with the vocabulary as a list"
            )
        if name not in _STRUCTURE and name not in old and not _known(entry):
            mend = newer if newer and str(entry.get("module")).partition(".")[0] == "keras" else CUSTOM
            raise ModelError(f"{origin}: {label} is {_described(entry)}, which Keras does not have", mend)


def refuse_code(config: Any, origin: str) -> None:
    """Raise ModelError for the first object of a configuration that carries or names code to run."""
    for path, entry in _objects(config, (), origin):
        does = _RUNS_CODE.get(entry["class_name"])
        if does:
            mend = _TRUST + "replace it with a Keras layer and save the model again"
            raise ModelError(f"{origin}: {_label(path, entry)} {does}, and loading runs no code from a file", mend)


def _objects(node: Any, path: tuple[str, ...], origin: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if len(path) > _DEEPEST:
        raise ModelError(
            f"{origin}: its configuration is nested more than {_DEEPEST} deep", "no sound model is; refuse it"
        )
    if isinstance(node, dict):
        if isinstance(node.get("class_name"), str):
            yield path, node
        for key, value in node.items():
            yield from _objects(value, (*path, str(key)), origin)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _objects(value, (*path, "[]"), origin)


def _label(path: tuple[str, ...], entry: dict[str, Any]) -> str:
    settings = entry.get("config")
    name = settings.get("name") if isinstance(settings, dict) else None
    if isinstance(name, str):
        return f"{entry['class_name']} {name!r}"
    return f"{entry['class_name']} in {'.'.join(path[-3:])}" if path else "the model itself"


def _described(entry: dict[str, Any]) -> str:
    module = entry.get("module")
    what = entry.get("config") if entry["class_name"] == "function" else entry["class_name"]
    return f"{module}.{what}" if module else f"a custom class ({entry.get('registered_name') or what})"


def _known(entry: dict[str, Any]) -> bool:
    name, module, registered = entry["class_name"], entry.get("module"), entry.get("registered_name")
    if name == "function":  # Keras looks it up by its config, whatever the registered name says
        called = entry.get("config")
        before_3_7 = module == "builtins" and str(registered).endswith(f">{called}") and _registered(registered)
        return before_3_7 or _known_function(called, module) or _registered(called)
    return _registered(registered) or _registered(name) or isinstance(find_class(name, module), type)


def _registered(name: Any) -> bool:
    return isinstance(name, str) and import_keras().saving.get_registered_object(name) is not None


def _known_function(name: Any, module: Any) -> bool:
    keras = import_keras()
    allowed = ("activations", "losses", "metrics", "initializers", "regularizers", "constraints")
    if not isinstance(name, str) or module not in (None, "builtins", *(f"keras.{space}" for space in allowed)):
        return False
    spaces = allowed if module in (None, "builtins") else (module.removeprefix("keras."),)
    return any(callable(getattr(getattr(keras, space), name, None)) for space in spaces)


def find_class(name: str, module: Any = None) -> Any:
    """The Keras class that a configuration means, or None where it means none of Keras's own."""
    keras = import_keras()
    if module is None:
        found = (getattr(getattr(keras, space), name, None) for space in _NAMESPACES)
        return next((item for item in found if isinstance(item, type)), None)
    if not isinstance(module, str) or module.endswith("_test"):
        return None
    root, *parts = module.split(".")
    if root == "keras" and (not parts or parts[0] in _NAMESPACES):
        space = keras
        for part in parts:
            space = getattr(space, part, None)
        return getattr(space, name, None)
    if root == "keras" and parts[0] == "src" and parts[1:2] and parts[1] in _INTERNAL:
        try:
            return getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError:
            return None
    return None


def check_hdf5(group: Any, origin: str) -> None:
    """Refuse an HDF5 file that links out of itself, or whose data sets declare far more bytes than they store.

    Raises ModelError naming the first such object. Every object is visited once, whatever loops the links make.
    """
    import h5py

    pending, seen = [group], set()
    while pending:
        parent = pending.pop()
        address = h5py.h5o.get_info(parent.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in parent:
            link = parent.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelError(
                    f"{origin}: {parent.name}/{name} is a {type(link).__name__} out of its place",
                    "no Keras writes that; save the model again from its source",
                )
            child = parent[name]
            if isinstance(child, h5py.Group):
                pending.append(child)
            elif isinstance(child, h5py.Dataset):
                _check_dataset(child, origin)


def _check_dataset(data: Any, origin: str) -> None:
    if data.external or data.is_virtual:
        raise ModelError(f"{origin}: {data.name} keeps its data in another file", "save the model again in one file")
    if data.dtype.kind == "O":
        raise ModelError(f"{origin}: {data.name} holds objects, not numbers", "save the model again from its source")
    declared = data.size * data.dtype.itemsize if data.size else 0
    check_expansion(f"{origin}: {data.name}", declared, data.id.get_storage_size())


def check_expansion(label: str, declared: int, stored: int) -> None:
    """Refuse data that grows beyond reason: above 256 MiB and 100 times the bytes stored."""
    if declared > _SMALL_BYTES and declared > _EXPANSION * stored:
        raise ModelError(
            f"{label} would grow from {stored} stored bytes to {declared} bytes in memory",
            "no sound model does; get the file again from its source",
        )
