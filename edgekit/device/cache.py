"""This user's cache folder on this machine: wheels for devices, and tools that were downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import OutputError


def cache_folder() -> Path:
    """`edgekit` in XDG_CACHE_HOME or ~/.cache; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "edgekit"


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Make a folder of the cache, to write there. Raises OutputError for every OSError meanwhile, naming the folder."""
    if folder.parts[:1] == ("~",):  # which os.path.expanduser leaves where nobody has a home
        raise OutputError("this user has no home folder", "name a place for the cache with XDG_CACHE_HOME=FOLDER")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield folder
    except OSError as cause:
        raise OutputError(
            f"the cache folder {folder} cannot be written: {cause.strerror or cause}",
            f"see to {cause.filename or folder}, or name another place with XDG_CACHE_HOME=FOLDER",
        ) from cause
