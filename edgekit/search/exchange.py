"""Exchange: the artifacts of the front go through the shared storage, so each worker's folder has all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgekit.artifact import Artifact, Manifest, refuse_newer, sha256
from edgekit.errors import ModelError, OutputError
from edgekit.search.found import Found
from edgekit.search.point import Point
from edgekit.search.shelf import Shelf
from edgekit.search.trials import Trials


def give(trials: Trials, artifact: Artifact) -> None:
    """Let all workers have an artifact; its manifest last, which says that it is whole."""
    name = _name(artifact.manifest.recipe.name, artifact.manifest.sha256)
    trials.put(f"{name}.tflite", artifact.model)
    trials.put(f"{name}.json", msgspec.json.encode(artifact.manifest))


def take(trials: Trials, shelf: Shelf, found: Found) -> OutputError | None:
    """Lay on the shelf what others found; gives an error where a file is not there, being beaten meanwhile or lost.

    Raises ModelError for what a newer edgekit put there.
    """
    for kept in found.front:
        if shelf.has(Path(kept.folder).name, kept.point.sha256):
            continue
        name = _name(kept.point.recipe, kept.point.sha256)
        manifest, model = trials.get(f"{name}.json"), trials.get(f"{name}.tflite")
        if manifest is None or model is None or sha256(model) != kept.point.sha256:
            return OutputError(
                f"the file of {kept.point.recipe} is not in the storage, though its trial is",
                "somebody removed rows of edgekit_files; begin another search with --name",
            )
        try:
            shelf.put(Artifact(msgspec.json.decode(manifest, type=Manifest), model))
        except (msgspec.MsgspecError, ModelError, ValueError, RecursionError) as cause:
            refuse_newer(manifest, f"what the storage has of {kept.point.recipe}")
            return OutputError(
                f"what the storage has of {kept.point.recipe} is not what edgekit put there: {cause}",
                "see who else writes to it; begin another search with --name",
            )
    return None


def forget(trials: Trials, found: Found, points: Sequence[Point]) -> None:
    """Remove what is beaten from the storage."""
    kept = {_name(one.point.recipe, one.point.sha256) for one in found.front}
    known = {_name(point.recipe, point.sha256) for point in points}
    trials.drop_all_but(_files(kept), _files(known))


def _name(recipe: str, digest: str) -> str:
    return f"{sha256(recipe.encode())[:32]}-{digest}"


def _files(names: set[str]) -> set[str]:
    return {f"{name}.{kind}" for name in names for kind in ("tflite", "json")}
