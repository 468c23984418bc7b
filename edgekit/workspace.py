"""Workspace: where a run keeps its finished stages, so that an interrupted run goes on instead of starting again.

All work happens in `OUT.partial`, which becomes `OUT` in one rename when everything is done: whoever sees `OUT` sees it
whole. A stage's result is stored under a key made of everything it depends on, so a changed setting is never
answered with an old result.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgekit.errors import OutputError
from edgekit.new_file import new_file
from edgekit.tflite.artifact_folder import is_described

T = TypeVar("T")
_DIGEST = 32  # bytes of SHA-256 before what is stored


class Workspace:
    """The folder of one run in progress; make one with `workspace(out)`."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.stages = folder / "stages"
        self.stages.mkdir(exist_ok=True)
        self._say = say
        self._done: dict[Path, Any] = {}

    def remember(self, title: str, depends_on: Any, make: Callable[[], T], kind: type[T]) -> T:
        """The stored result of a stage, or that of `make()`, stored for the next time.

        `depends_on` is anything msgspec can encode; `kind` is the type of the result (bytes or a Struct).
        """
        path = self.path(title, depends_on)
        if path not in self._done:
            kept = self._load(path, kind) if path.exists() else None
            if kept is not None:
                self._say(f"{title}: kept from before")
            self._done[path] = self._make(path, title, make) if kept is None else kept
        result: T = self._done[path]
        return result

    def _load(self, path: Path, kind: type[T]) -> Any:
        """What is stored; None where it was damaged or cannot be read."""
        stored = path.read_bytes()
        digest, data = stored[:_DIGEST], stored[_DIGEST:]
        if digest != hashlib.sha256(data).digest():
            return None
        try:
            return data if kind is bytes else msgspec.msgpack.decode(data, type=kind)
        except msgspec.MsgspecError:
            return None

    def _make(self, path: Path, title: str, make: Callable[[], T]) -> T:
        self._say(title)
        result = make()
        data = result if isinstance(result, bytes) else msgspec.msgpack.encode(result)
        with new_file(path, overwrite=True) as stream:
            stream.write(hashlib.sha256(data).digest())
            stream.write(data)
        return result

    def path(self, title: str, depends_on: Any) -> Path:
        """Where the result of a stage with these dependencies is kept."""
        digest = hashlib.sha256(msgspec.json.encode([title, depends_on])).hexdigest()[:24]
        return self.stages / digest


@contextmanager
def workspace(out: Path, overwrite: bool, say: Callable[[str], None]) -> Iterator[Workspace]:
    """A workspace that becomes `out` when the body ends well, and stays `out.partial` when it does not.

    Raises OutputError if `out` exists and may not be overwritten, before the work or by then, cannot be written, is
    full, or is in use.
    """
    with _mapped(out):
        _refuse(out, overwrite)
        partial, out = partial_of(out), out.resolve()
        partial.mkdir(parents=True, exist_ok=True)
        with _locked(partial):
            work = Workspace(partial, say)
            try:
                yield work
            except BaseException:
                if not any(work.stages.iterdir()):
                    shutil.rmtree(partial)
                raise
            try:
                _refuse(out, overwrite)  # hours have gone by
            except OutputError as late:
                mend = f"move it elsewhere: what was made is kept in {partial}, and the same command goes on"
                raise OutputError(late.problem, mend) from None
            shutil.rmtree(work.stages)
            _replace(partial, out)


@contextmanager
def kept_beside(out: Path) -> Iterator[Path]:
    """The folder `out.partial` for what an interrupted run goes on from; it is gone when the body ends well.

    Raises OutputError if it cannot be written, is full, or is in use.
    """
    with _mapped(out):
        partial = partial_of(out)
        partial.mkdir(exist_ok=True)
        with _locked(partial):
            try:
                yield partial
            except BaseException:
                if [path.name for path in partial.iterdir()] == [".lock"]:
                    shutil.rmtree(partial)
                raise
            shutil.rmtree(partial)


def partial_of(out: Path) -> Path:
    """Where the work on `out` happens: beside the folder itself, not beside a link to it."""
    out = out.resolve()
    return out.with_name(out.name + ".partial")


def _refuse(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if out.resolve().is_mount():
        raise OutputError(
            f"{out} is a mount point, which cannot be replaced", f"give a folder in it: -o {out / 'result'}"
        )
    if not overwrite and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out} exists already", "choose another folder with -o, or give --overwrite")
    if not out.is_dir() or (any(out.iterdir()) and not (out / "run.json").is_file()):
        raise OutputError(f"{out} is not a result of edgekit; it is not overwritten", "choose another folder with -o")
    refuse_loss(out, "result", lambda path: _is_ours(out, path))


def refuse_loss(out: Path, kind: str, is_ours: Callable[[Path], bool]) -> None:
    """Raise OutputError where the folder `out` of some kind, which is to be replaced, holds a file that is not ours."""
    if strange := [path for path in sorted(out.rglob("*")) if not path.is_dir() and not is_ours(path)]:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise OutputError(
            f"{strange[0]}{more}: not part of this {kind}, and would be lost with {out}",
            "move it elsewhere, or choose another folder with -o",
        )


def _is_ours(out: Path, path: Path) -> bool:
    """Whether a file of a result, by its place in the folder, is one that a run writes."""
    depth = len(path.relative_to(out).parts)
    if depth == 1:
        return path.name in ("run.json", "report.html")
    source = path.with_name(path.name.replace("_edgetpu.tflite", ".tflite"))  # or what it was compiled to
    return depth == 3 and (path.name in ("manifest.json", "recipe.toml") or is_described(source))


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


@contextmanager
def _mapped(out: Path) -> Iterator[None]:
    """Name the mend for what a file system refuses; anything else is not ours to explain."""
    try:
        yield
    except (OSError, OutputError) as raised:
        cause = raised.__cause__ if isinstance(raised, OutputError) else raised
        if not isinstance(cause, OSError):
            raise
        problem = f"{cause.filename or out}: {cause.strerror}"
        if cause.errno in _FULL:
            raise OutputError(
                problem if cause.filename else f"{out}, or {tempfile.gettempdir()}: {cause.strerror}",
                "free some space, or name a larger disk by TMPDIR=FOLDER; finished stages are kept, "
                "and the same command goes on",
            ) from None
        if cause.errno in _FORBIDDEN:
            raise OutputError(problem, "choose a folder that you can write to with -o") from None
        if cause.errno in _IN_THE_WAY:
            raise OutputError(problem, "choose another folder with -o") from None
        raise


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    with (partial / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{partial} is in use by another run", "wait for it, or choose another folder") from None
        yield


def _replace(partial: Path, out: Path) -> None:
    (partial / ".lock").unlink()
    if not out.exists():
        partial.rename(out)
        return
    old = tempfile.mkdtemp(prefix=".edgekit-", dir=out.parent)
    try:
        out.rename(old)
        partial.rename(out)
    finally:
        if not out.exists():
            Path(old).rename(out)
    shutil.rmtree(old)
