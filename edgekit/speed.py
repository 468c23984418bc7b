"""Variants that were slower than their own float32 file, and what is faster: nobody should ship one unknowingly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.artifact import Manifest
from edgekit.bench.result import Measurement
from edgekit.choice import choose
from edgekit.makings import Makings
from edgekit.recipe import Recipe
from edgekit.run import Reference
from edgekit.surgery.rewrite import rules_for
from edgekit.target import Target


def slower(
    makings: Makings,
    manifests: Sequence[Manifest],
    reference: Reference,
    measurements: Mapping[str, Measurement],
    files: Mapping[str, bytes],
) -> list[str]:
    """A warning for each variant of a CPU target that was slower on this host than its float32 file.

    Where full int8 is, dynamic-int8 is made and measured too, so that the warning names the fastest of the three.
    """
    found = []
    for manifest, (target, recipe) in zip(manifests, makings.pairs, strict=True):
        plain = measurements.get(reference.sha256[recipe.convert.batch])
        own = measurements.get(manifest.sha256)
        if plain is None or own is None or recipe.compression or not rules_for(target):
            continue
        measured, file = {recipe.name: own, "float32": plain}, files[manifest.sha256]
        done = choose(measured, recipe.name, file)
        if done.reason and recipe.quantize.scheme == "int8":
            measured["dynamic-int8"] = makings.measurement(_dynamic(makings, target, recipe))
            done = choose(measured, recipe.name, file)
        if done.reason:
            found.append(f"{manifest.name}: {done.reason}; --recipe {done.name} is faster on this host")
    return found


def _dynamic(makings: Makings, target: Target, recipe: Recipe) -> bytes:
    """The file with int8 weights under float data, as a rewritten variant of its own would be."""
    other = Recipe.parse("dynamic-int8").resolve(target)
    return makings.rewritten(makings.quantized(makings.model, recipe.convert.batch, other.quantize), target).file
