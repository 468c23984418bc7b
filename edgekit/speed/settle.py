"""Files that lose to their float32 file: a recommended recipe is changed for a faster one, a named one is warned of.

Full int8 loses where XNNPACK leaves operators that it has in float32 only, or where its kernels for the type are slow.
Then these are measured beside each other: int8 with the dearest operators in float32, and with all beside them that
move values only; int8 weights under float data; float32. The first of them that loses to no other becomes the recipe,
by a name that gives the same bytes without any measurement.

This host is not the board. For another target a recipe is changed only where XNNPACK leaves operators in the int8 file
that it takes in the other one: that holds wherever XNNPACK runs. Of kernels that are slow on this processor the user is
warned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from edgekit.artifact import Manifest, sha256
from edgekit.bench.result import Measurement
from edgekit.bench.statistics import summarize
from edgekit.errors import EdgekitError, OutputError, RecipeError
from edgekit.makings import Makings
from edgekit.recipe import LONGEST, Recipe
from edgekit.run import Reference, Settled
from edgekit.speed.race import Race, race
from edgekit.speed.slow_operators import SlowOperators, counted
from edgekit.surgery.rewrite import cutting, partitions, rules_for
from edgekit.target import Target
from edgekit.units import format_seconds


def settle_all(makings: Makings) -> tuple[Settled, ...]:
    """Hold each recipe of a run, all of them recommended, against float32; those that lose are changed in the run.

    Raises what `settle` raises.
    """
    found = tuple(settle(makings, target, recipe) for target, recipe in makings.pairs)
    pairs = zip(makings.pairs, found, strict=True)
    makings.pairs = tuple(
        (target, recipe if one.used == recipe.name else _parsed(one.used, target)) for (target, recipe), one in pairs
    )
    return found


def settle(makings: Makings, target: Target, recipe: Recipe) -> Settled:
    """Hold a recommended recipe against float32 on this host, and find the one to use where it loses.

    Raises what making and running the two files raises; a candidate that cannot be made is none, and said.
    """
    if not _promised(target, recipe):
        return Settled(target.name, recipe.name, recipe.name)
    found = _fastest(makings, target, recipe, _file(makings, target, recipe))
    seconds = {name: found.race.interval(name) for name in found.race.seconds}
    if found.reason and target.family != "host" and not found.everywhere:
        caution = f"that may be this processor: measure on the board, where --recipe {found.used} may be faster"
        return Settled(target.name, recipe.name, recipe.name, seconds, f"{found.reason}; {caution}")
    return Settled(target.name, recipe.name, found.used, seconds, found.reason)


def slower(
    makings: Makings, manifests: Sequence[Manifest], reference: Reference, measurements: Mapping[str, Measurement]
) -> list[str]:
    """A warning for each file of a named recipe that loses to its float32 file on this host, with what is faster.

    `measurements`, by the sha256 of the file, tell which files have to race: those that took longer than float32 did.
    """
    found = []
    for manifest, (target, recipe) in zip(manifests, makings.pairs, strict=True):
        measured = [measurements.get(each) for each in (manifest.sha256, reference.sha256[recipe.convert.batch])]
        own, plain = (summarize(one).p50_seconds.value if one else 0.0 for one in measured)
        if own <= plain or recipe.compression or recipe.quantize.scheme == "float32" or not _raceable(target):
            continue
        done = _fastest(makings, target, recipe, makings.finished(target, recipe))
        if done.reason:
            found.append(f"{manifest.name}: {done.reason}; --recipe {done.used} is faster on this host")
    return found


def unmeasured(target: Target, recipe: Recipe, file: bytes) -> str | None:
    """A warning where a recommended int8 file that nobody measures has operators that XNNPACK leaves between others."""
    left = cutting(file) if _promised(target, recipe) else Counter[str]()
    if not left:
        return None
    why = f"XNNPACK leaves {counted(left)} and makes {partitions(file)} pieces of the rest"
    return f"{target.name}/{recipe.name}: not measured, so it may be slower than float32: {why}"


class _Fastest(Struct, frozen=True):
    """The first recipe that loses to no other, by name, and why it is not the one that was asked for (or empty).

    `everywhere` says that the reason holds wherever XNNPACK runs, and not on this processor only.
    """

    used: str
    race: Race
    reason: str = ""
    everywhere: bool = False


def _fastest(makings: Makings, target: Target, recipe: Recipe, own: bytes) -> _Fastest:
    """Have the file of a recipe race its float32 file, and where it loses the files of all candidates."""
    plain = _word("float32", recipe)
    files = {recipe.name: own, plain: _file(makings, target, _parsed(plain, target))}
    found = _raced(makings, files)
    if not found.loses(recipe.name, plain):
        return _Fastest(recipe.name, found)
    slow = SlowOperators(makings, own, files[plain])
    files = {recipe.name: own, **_candidates(makings, target, recipe, slow), plain: files[plain]}
    found = _raced(makings, files)
    used = found.first([*files])
    if used == recipe.name:
        return _Fastest(used, found)
    times = ", ".join(f"{name} {_time(found, name)}" for name in dict.fromkeys([used, plain]))
    reason = f"{recipe.name} takes {_time(found, recipe.name)}, {times}: {slow}"
    return _Fastest(used, found, reason, bool(cutting(own) - cutting(files[used])))


def _promised(target: Target, recipe: Recipe) -> bool:
    """Full int8 between float inputs and outputs, on a CPU that runs float32 too."""
    stage = recipe.quantize
    plain = stage.scheme == "int8" and stage.io == "float32" and not recipe.trained and recipe.convert.rewrite
    return plain and _raceable(target)


def _raceable(target: Target) -> bool:
    return bool(rules_for(target)) and "float32" in target.numerics.schemes


def _word(scheme: str, recipe: Recipe) -> str:
    return scheme if recipe.convert.batch == 1 else f"{scheme}:batch={recipe.convert.batch}"


def _parsed(word: str, target: Target) -> Recipe:
    return Recipe.parse(word).resolve(target)


def _file(makings: Makings, target: Target, recipe: Recipe) -> bytes:
    return makings.rewritten(makings.quantized(makings.model, recipe.convert.batch, recipe.quantize), target).file


def _raced(makings: Makings, files: Mapping[str, bytes]) -> Race:
    title = f"measure {', '.join(files)} in turns"
    key = [*map(sha256, files.values()), makings.here]
    return makings.work.remember(title, key, lambda: race(files), Race)


def _candidates(makings: Makings, target: Target, recipe: Recipe, slow: SlowOperators) -> dict[str, bytes]:
    """Files of the recipes between int8 and float32, by the word for each."""
    found: dict[str, bytes] = {}
    for word in _words(target, recipe, slow):
        try:
            found[word] = _file(makings, target, _parsed(word, target))
        except OutputError:
            raise
        except EdgekitError as fault:
            makings.say(f"{word} cannot be made: {fault.problem}")
    return found


def _words(target: Target, recipe: Recipe, slow: SlowOperators) -> Iterator[str]:
    if recipe.quantize.scheme != "int8":
        return
    for names in slow.regions if _says_all(recipe, target) else []:
        word = f"{recipe.name}{',' if ':' in recipe.name else ':'}keep-float={'+'.join(names)}"
        if len(word) <= LONGEST:
            yield word
    if "dynamic-int8" in target.numerics.schemes:
        yield _word("dynamic-int8", recipe)


def _says_all(recipe: Recipe, target: Target) -> bool:
    """Whether the name of a recipe is a phrase for all of it that an option can be put to: no file, no training."""
    if recipe.trained or recipe.quantize.keep_float:
        return False
    try:
        return _parsed(recipe.name, target) == recipe
    except RecipeError:
        return False


def _time(found: Race, name: str) -> str:
    return format_seconds(found.interval(name).value)
