"""A folder that goes into a firmware build: the model as C, its operators, its arena, a self-test, and build files.

    from pathlib import Path
    from edgekit.package.firmware import package_firmware

    package_firmware(Path("keyword.tflite"), Path("firmware/keyword"), target="cortex-m7")

The bytes follow from the model, the options, and the packages that the manifest names. A second call with the same
finds the folder as it should be, and touches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.package import folder
from edgekit.package.c_text import identifier
from edgekit.package.source import Source, open_source
from edgekit.versions import versions

if TYPE_CHECKING:
    from edgekit.target import Target

_MADE_BY = ("edgekit", "ai-edge-litert", "tflite-runtime", "tflite-micro")
"""The packages that decide what the files hold."""


@dataclass(frozen=True)
class Packaged:
    """Where the package is, the name in its files and the one that was asked for, and what this call wrote.

    `written` is empty if all was there already; `inputs` are the files that were read.
    """

    folder: Path
    name: str
    asked: str
    written: tuple[str, ...]
    manifest: dict[str, Any]
    inputs: tuple[Path, ...]


def package_firmware(
    model: Path, out: Path, *, name: str | None = None, target: str | Path | None = None, force: bool = False
) -> Packaged:
    """Package a .tflite file, or an artifact folder, into the folder `out`.

    `name` begins the names of files and symbols (default: the model's), made an identifier where it is none. Raises
    ModelError for what TensorFlow Lite Micro cannot run at all, GateError where the model breaks a rule or a budget of
    `target` (unless `force`), OutputError for a folder that holds something else, RunError if the model cannot be run.
    """
    source = open_source(model)
    board, claims = _target(target) if target is not None else (None, ())
    asked = name or source.name
    name = identifier(asked)
    options = {"name": name, "force": force, "target": _digest(board)}
    inputs = {"model": source.sha256, "artifact": folder.digest(source.manifest_bytes)}
    key = folder.key_of({**options, **inputs, "versions": versions(_MADE_BY)})
    with folder.locked(out):
        made = folder.standing(out, key)
        manifest, written = (made, ()) if made else _made(out, source, name, board, force, key)
    return Packaged(out, name, asked, written, manifest, (*source.files, *claims))


def _made(
    out: Path, source: Source, name: str, target: Target | None, force: bool, key: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The manifest of a package that is made now, and what was written."""
    from edgekit.package.firmware_files import firmware_files

    files, record = firmware_files(source, name, target, force)
    return record, folder.write_package(out, files, {**record, "versions": versions(_MADE_BY)}, key)


def write_depfile(path: Path, made: Packaged) -> bool:
    """Write the rule that `NAME.c` depends on what was read, unless the file says so already. Raises OutputError."""
    rule = folder.depfile(str(made.folder / f"{made.name}.c"), [str(file) for file in made.inputs])
    return folder.write_if_changed(path, rule)


def _target(name: str | Path) -> tuple[Target, tuple[Path, ...]]:
    """A target, and those of its files that are the user's own: it, and what it extends."""
    from edgekit.target import load_target
    from edgekit.target_files import find, parent

    file = find(name)
    target = load_target(file)
    files = [file, *([parent(target.extends, file)] if target.extends else [])]
    return target, tuple(Path(str(one.path)) for one in files if not one.shipped)


def _digest(target: Target | None) -> str:
    import msgspec

    return folder.digest(msgspec.json.encode(target)) if target else ""
