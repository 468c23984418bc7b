"""Shelf: the folder of a search, in which all that was found so far is always whole.

    OUT/front/RECIPE/    an artifact for each point of the front: file, manifest.json, recipe.toml
    OUT/best             a link to the recommended one
    OUT/front.json       the front as numbers
    OUT/report.html      the same to look at
    OUT/study.db, work/  what a repeated search goes on from; work/worker1/ is that of one worker of several, and
                         work/front/ has copies of the artifacts, for those that somebody moves away

Every change is one rename, so a search that is killed leaves what it had found.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import msgspec

from edgekit.artifact import Artifact, Manifest
from edgekit.errors import ModelError, OutputError
from edgekit.new_file import new_file, write_new

FRONT, BEST, CHANGED = "front", "best", "changed"
_MOMENT = 2.0  # seconds
_OURS = {FRONT, BEST, CHANGED, "front.json", "report.html", "study.db", "work", ".lock", ".shelf"}


class Shelf:
    """The folder, as worker `number` of several has it or the only one, 0; make the latter with `shelf(out)`.

    `name` is that of the search, of which the folder may have several; `held` are the open files that keep the folder
    from others.
    """

    def __init__(self, folder: Path, number: int = 0, name: str = "search", held: tuple[int, ...] = ()) -> None:
        self.folder, self.number, self.name, self.held = folder, number, name, held

    @property
    def work(self) -> Path:
        """Where stage results are kept, of each worker its own."""
        return self._work_of(self.number)

    @property
    def disks(self) -> tuple[str, ...]:
        """The work folders that this worker goes on from: its own, and that from before there were several."""
        return tuple(str(self._work_of(number).relative_to(self.folder)) for number in sorted({self.number, 0})[::-1])

    def _work_of(self, number: int) -> Path:
        work = self.folder / "work"
        return work / f"worker{number}" if number else work

    def furnish(self, number: int) -> None:
        """Make the work folder of a worker, with what was done before there were several."""
        before, stages = self.folder / "work" / "stages", self._work_of(number) / "stages"
        stages.mkdir(parents=True, exist_ok=True)
        for path in (path for path in before.rglob("*") if path.is_file()):
            own = stages / path.relative_to(before)
            if ".partial" in str(path.relative_to(before)) or own.exists():
                continue
            own.parent.mkdir(parents=True, exist_ok=True)
            _link(path, own)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """In its body no other worker changes what is on the shelf."""
        with (self.folder / ".shelf").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def has(self, slug: str, digest: str) -> bool:
        """Whether the artifact with a file of this sha256 is on the shelf, as it was laid there."""
        return _holds(self.place(slug), digest)

    def put(self, artifact: Artifact) -> Path:
        """Lay an artifact on the shelf, if it is not there, and a copy aside; gives its folder."""
        place = self.place(artifact.manifest.recipe.slug)
        _lay(artifact, self._copy(place.name, artifact.manifest.sha256))
        _lay(artifact, place)
        return place

    def restore(self, slug: str, digest: str) -> bool:
        """Lay an artifact again that was moved away or changed, from its copy; whether it is there.

        What was changed goes into the folder `changed`.
        """
        place, copy = self.place(slug), self._copy(slug, digest)
        if self.has(slug, digest):
            _lay(Artifact.load(place), copy)
            return True
        if place.exists():
            self._set_aside(place)
        if found := _holds(copy, digest):
            _lay(Artifact.load(copy), place)
        return found

    def _set_aside(self, place: Path) -> None:
        aside = (self.folder / CHANGED / f"{place.name}-{number}" for number in count(1))
        (self.folder / CHANGED).mkdir(exist_ok=True)
        place.rename(next(path for path in aside if not path.exists()))

    def _copy(self, slug: str, digest: str) -> Path:
        study = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        return self.folder / "work" / FRONT / study / f"{slug}-{digest[:16]}"

    def place(self, slug: str) -> Path:
        """The folder of an artifact."""
        return self.folder / FRONT / slug

    def artifact(self, slug: str) -> Artifact:
        """An artifact on the shelf. Raises ModelError where it is gone or was changed."""
        return Artifact.load(self.place(slug))

    def rewrite(self, manifest: Manifest) -> None:
        """Replace what an artifact says of itself."""
        with new_file(self.place(manifest.recipe.slug) / "manifest.json", overwrite=True) as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2))

    def recommend(self, slug: str | None) -> None:
        """Let `best` be this artifact, or nothing; a folder that a copy has in place of the link is set aside."""
        link = self.folder / BEST
        if link.is_dir() and not link.is_symlink():
            self._set_aside(link)
        if slug is None:
            link.unlink(missing_ok=True)
            return
        partial = link.with_name(f".{BEST}.{os.getpid()}.partial")
        partial.unlink(missing_ok=True)
        partial.symlink_to(Path(FRONT, slug))
        os.replace(partial, link)

    def keep_only(self, kept: Iterable[tuple[str, str]], known: Iterable[tuple[str, str]]) -> None:
        """Remove the `known` artifacts, by slug and sha256, but those kept: others may be of another search."""
        for slug, digest in {*known} - {*kept}:
            for place in (self.place(slug), self._copy(slug, digest)):
                if place.exists() and _holds(place, digest):
                    shutil.rmtree(place, ignore_errors=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a file beside the front, in one step."""
        with new_file(self.folder / name, overwrite=True) as stream:
            stream.write(data)


@contextmanager
def shelf(out: Path, name: str = "search") -> Iterator[Shelf]:
    """The folder of a search of this name, made or found again, in use by nobody else meanwhile.

    Raises OutputError for a folder that no search made and that is not empty, that cannot be written, or is in use.
    """
    with ExitStack() as opened:
        try:
            known = (out / ".lock").exists() or not out.is_dir()  # whatever a user puts into the folder of a search
            if strange := [] if known else [path.name for path in out.iterdir() if not _ours(path.name)]:
                raise OutputError(f"{out} holds {strange[0]}, which no search wrote", "choose another folder with -o")
            for folder in (out / FRONT, out / "work" / FRONT, out / "work" / "stages"):
                folder.mkdir(parents=True, exist_ok=True)
            lock = opened.enter_context((out / ".lock").open("w")).fileno()
            _seize(lock)
            _sweep(out)
        except BlockingIOError:
            raise OutputError(f"{out} is in use by another search", "wait for it, or choose another folder") from None
        except (FileExistsError, NotADirectoryError):
            raise OutputError(f"{out}: not a folder", "choose another with -o") from None
        except OSError as cause:
            mend = "choose a folder on a local disk that you can write to"
            raise OutputError(f"{cause.filename or out}: {cause.strerror}", mend) from None
        yield Shelf(out, name=name, held=(lock,))


def _lay(artifact: Artifact, place: Path) -> None:
    """Write an artifact, whole or not at all, if it is not there."""
    if place.exists() and not _holds(place, artifact.manifest.sha256):
        shutil.rmtree(place)  # of a search of another name, or changed
    if not place.exists():
        partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        artifact.save(partial)
        partial.rename(place)


def _holds(place: Path, digest: str) -> bool:
    """Whether this folder is an artifact with a file of this sha256."""
    try:
        return Artifact.load(place).manifest.sha256 == digest
    except ModelError:
        return False


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # a file system without links
        write_new(to, path.read_bytes())


def _seize(lock: int) -> None:
    """Lock the folder; workers of a search that was just killed need a moment to notice. Raises BlockingIOError."""
    deadline = time.monotonic() + _MOMENT
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def _ours(name: str) -> bool:
    return name in _OURS or name.startswith("study.db") or name.endswith(".partial")


def _sweep(out: Path) -> None:
    """Remove what a killed search had half written."""
    copies = (out / "work" / FRONT).glob("*/.*.partial")
    stages = (out / "work").glob("**/stages/.*.partial")
    for path in [*out.glob(".*.partial"), *(out / FRONT).glob(".*.partial"), *copies, *stages]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
