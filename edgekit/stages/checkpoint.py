"""Checkpoint: the whole state of a training in one file, replaced in one step, so a kill loses an epoch at most."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def save(path: Path, key: str, record: msgspec.Struct, arrays: Mapping[str, Sequence[Array]]) -> None:
    """Write groups of arrays and a record under a key; the file is complete or the old one is still there."""
    named = {f"{group}/{index}": array for group, found in arrays.items() for index, array in enumerate(found)}
    about = {"key": key, "groups": {group: len(found) for group, found in arrays.items()}, "record": record}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            np.savez(stream, about=np.frombuffer(msgspec.json.encode(about), np.uint8), **named)  # type: ignore[arg-type]
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)  # half a file would keep a full disk full
        raise


def load(path: Path, key: str, kind: type[msgspec.Struct]) -> tuple[Any, dict[str, list[Array]]] | None:
    """The record and the arrays, or None where there is no file, or one of another training or format."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = msgspec.json.decode(stored["about"].tobytes())
            if about["key"] != key:
                return None
            record = msgspec.convert(about["record"], kind)
            groups = {
                group: [stored[f"{group}/{index}"] for index in range(count)]
                for group, count in about["groups"].items()
            }
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError):
        return None
    return record, groups
