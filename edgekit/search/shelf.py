"""Shelf: the folder of a search, in which all that was found so far is always whole.

    OUT/front/RECIPE/    an artifact for each point of the front: file, manifest.json, recipe.toml
    OUT/best             a link to the recommended one
    OUT/front.json       the front as numbers
    OUT/report.html      the same to look at
    OUT/study.db, work/  what a repeated search goes on from; work/worker1/ is that of one worker of several

Every change is one rename, so a search that is killed leaves what it had found.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from edgekit.artifact import Artifact, Manifest
from edgekit.errors import OutputError
from edgekit.new_file import new_file, write_new

FRONT, BEST = "front", "best"
_MOMENT = 2.0  # seconds
_OURS = {FRONT, BEST, "front.json", "report.html", "study.db", "work", ".lock", ".shelf"}


class Shelf:
    """The folder, as worker `number` of several has it or the only one, 0; make the latter with `shelf(out)`.

    `held` are the open files that keep the folder from others.
    """

    def __init__(self, folder: Path, number: int = 0, held: tuple[int, ...] = ()) -> None:
        self.folder, self.number, self.held = folder, number, held

    @property
    def work(self) -> Path:
        """Where stage results are kept, of each worker its own."""
        return self._work_of(self.number)

    def _work_of(self, number: int) -> Path:
        work = self.folder / "work"
        return work / f"worker{number}" if number else work

    def furnish(self, number: int) -> None:
        """Make the work folder of a worker, with what was done before there were several."""
        stages = self._work_of(number) / "stages"
        stages.mkdir(parents=True, exist_ok=True)
        for path in (self.folder / "work" / "stages").iterdir():
            if path.suffix != ".partial" and path.is_file() and not (stages / path.name).exists():
                try:
                    os.link(path, stages / path.name)
                except OSError:  # a file system without links
                    write_new(stages / path.name, path.read_bytes())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """In its body no other worker changes what is on the shelf."""
        with (self.folder / ".shelf").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def has(self, slug: str, digest: str) -> bool:
        """Whether the artifact with a file of this sha256 is on the shelf."""
        return self.place(slug).exists() and self.artifact(slug).manifest.sha256 == digest

    def holds(self, slug: str) -> bool:
        """Whether there is an artifact in this folder."""
        return (self.place(slug) / "manifest.json").is_file()

    def put(self, artifact: Artifact) -> Path:
        """Lay an artifact on the shelf, if it is not there; gives its folder."""
        place = self.place(artifact.manifest.recipe.slug)
        if place.exists() and not self.has(place.name, artifact.manifest.sha256):
            shutil.rmtree(place)  # of a search of another name
        if not place.exists():
            partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            artifact.save(partial)
            partial.rename(place)
        return place

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
        """Let `best` be this artifact, or nothing."""
        link = self.folder / BEST
        if slug is None:
            link.unlink(missing_ok=True)
            return
        partial = link.with_name(f".{BEST}.{os.getpid()}.partial")
        partial.unlink(missing_ok=True)
        partial.symlink_to(Path(FRONT, slug))
        os.replace(partial, link)

    def keep_only(self, slugs: Iterable[str], known: Iterable[str]) -> None:
        """Remove the artifacts of the `known` recipes but these: others may be of a search beside this one."""
        for slug in {*known} - {*slugs}:
            shutil.rmtree(self.place(slug), ignore_errors=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a file beside the front, in one step."""
        with new_file(self.folder / name, overwrite=True) as stream:
            stream.write(data)


@contextmanager
def shelf(out: Path) -> Iterator[Shelf]:
    """The folder of a search, made or found again, in use by nobody else meanwhile.

    Raises OutputError if it holds anything but a search, cannot be written, or is in use.
    """
    with ExitStack() as opened:
        try:
            known = (out / ".lock").exists() or not out.is_dir()  # whatever a user puts into the folder of a search
            if strange := [] if known else [path.name for path in out.iterdir() if not _ours(path.name)]:
                raise OutputError(f"{out} holds {strange[0]}, which no search wrote", "choose another folder with -o")
            for folder in (out / FRONT, out / "work" / "stages"):
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
        yield Shelf(out, held=(lock,))


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
    for path in [*out.glob(".*.partial"), *(out / FRONT).glob(".*.partial")]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
