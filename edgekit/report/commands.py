"""Commands to copy out of the report: what to do with a file next, and how to make the run again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.errors import RecipeError
from edgekit.gate import unrunnable
from edgekit.metrics import is_share
from edgekit.recipe import Recipe
from edgekit.report import words

if TYPE_CHECKING:
    from edgekit.artifact import Manifest
    from edgekit.metrics import Score
    from edgekit.report.words import Verdict
    from edgekit.run import Run

_ADDRESS = {"linux": "ssh://USER@BOARD", "android": "adb://SERIAL"}
_PACKAGE = {"android": "android", "microcontroller": "firmware"}
_INTO = {"android": "the app", "microcontroller": "the firmware build"}


@dataclass(frozen=True)
class Step:
    """What to do and the command that does it, to be run in the folder of the report."""

    what: str
    command: str


def path(manifest: Manifest) -> str:
    """Where the file lies beside the report."""
    return f"{manifest.target}/{manifest.recipe.slug}/{manifest.file}"


def next_steps(run: Run, manifest: Manifest, verdict: Verdict, family: str) -> tuple[Step, ...]:
    """What to do with a file on a target of this family; what misses a gate is mended before it is packaged."""
    file = path(manifest)
    if verdict.kind == "bad":
        return tuple(_mend(run, manifest, file))
    return (*_judge(run, manifest), *_measure(family, file), *_ship(family, file, manifest.target))


def found_steps(family: str, target: str) -> tuple[Step, ...]:
    """What to do with the file that a search recommends, `best/` beside its report."""
    if family.startswith("edgetpu"):
        return (Step("Compile it for the Edge TPU", "edgekit compile best/*.tflite --for edgetpu -o compiled"),)
    address = _ADDRESS.get(family)
    measured = Step("Measure it on a board of yours", f"edgekit benchmark best/*.tflite --device {address}")
    return (*((measured,) if address else ()), *_ship(family, "best", target))


def _mend(run: Run, manifest: Manifest, file: str) -> Iterator[Step]:
    board = ["-t", manifest.target]
    if run.metric and manifest.name in run.diagnoses:
        repair = ["doctor", file, "--float", "MODEL", *_data(run), *board, "--repair", "-o", "repaired.tflite"]
        yield step("Repair the file without training where that is possible", *repair)
        yield _trained("Or train it as the integer file computes", run, manifest, "qat-int8")
        return
    if unrunnable(manifest):
        yield step("See what the target refuses, and what to change", "check", file, *board)
    elif not manifest.recipe.trained:
        yield _trained("Train it as the integer file computes", run, manifest, "qat-int8")
    elif longer := _longer(manifest.recipe):
        yield _trained("Train it longer", run, manifest, longer)
    yield step("See which techniques pay there", "recommend", "MODEL", *board)


def _trained(what: str, run: Run, manifest: Manifest, phrase: str) -> Step:
    return step(what, "optimize", "MODEL", *_data(run), "-t", manifest.target, "-r", phrase, "-o", "OUT")


def _data(run: Run) -> list[str]:
    """The data, read as in this run."""
    words = ["--data", "DATA"]
    for key, value in _leaves(run.data_options):
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        words += [f"--{key}", text] if key in ("task", "metric") else ["--data-option", f"{key}={text}"]
    return words


def _leaves(options: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Options by their whole names: those of tables have dots."""
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _longer(recipe: Recipe) -> str:
    """The phrase with more epochs, or trained at all; empty where no phrase says how the recipe trains."""
    head, _, tail = recipe.name.partition(":")
    options = [each for each in tail.split(",") if each and each != "one-shot" and not each.startswith("epochs=")]
    said = re.search("epochs=([0-9]+)(x?)", tail)
    if "one-shot" not in tail:
        options.append(f"epochs={2 * int(said[1])}{said[2]}" if said else "epochs=3x")
    phrase = f"{head}:{','.join(options)}" if options else head
    said_all = _is_phrase(recipe.name) and Recipe.parse(recipe.name).trained == recipe.trained
    return phrase if said_all and _is_phrase(phrase) else ""


def _judge(run: Run, manifest: Manifest) -> Iterator[Step]:
    again, out = ["optimize", "MODEL", *_data(run), "-t", manifest.target], ["-o", "OUT"]
    if run.data is None:
        yield step("Judge it on data of yours before you rely on it", *again, *out)
    elif run.reference.scores and run.max_drop is None and not run.head_drops:
        bound = ["--max-drop", _drops(run.reference.scores)]
        yield step("Bound what it may lose, so that a build fails beyond it", *again, *bound, *out)


def _drops(scores: Sequence[Score]) -> str:
    """A greatest drop for each judged output, by name where they differ."""
    each = {words.output_of(one.name): drop(words.metric_of(one.name), one.value, 0.01) for one in scores}
    if len(set(each.values())) == 1:
        return next(iter(each.values()))
    return ",".join(f"{output}={bound}" for output, bound in each.items())


def drop(metric: str, value: float, part: float) -> str:
    """A greatest drop: points of a metric that is a share, of any other that part of the value it has, `0.012`."""
    return f"{part:.0%}" if is_share(metric) else _plain(abs(part * value), 2)


def _plain(value: float, figures: int = 6) -> str:
    """A number as `--max-drop` takes it: `0.00005`, not `5e-05`."""
    return f"{Decimal(f'{value:.{figures}g}'):f}"


def _measure(family: str, file: str) -> Iterator[Step]:
    if family.startswith("edgetpu"):
        yield step("Compile it for the Edge TPU", "compile", file, "--for", "edgetpu", "-o", "compiled")
    elif family in _ADDRESS:
        yield step("Measure it on a board of yours", "benchmark", file, "--device", _ADDRESS[family])


def _ship(family: str, file: str, target: str) -> Iterator[Step]:
    if family == "edgetpu-micro":
        return  # the operator of the Edge TPU is in the firmware of its maker, which takes the compiled file as it is
    what = f"Package it for {_INTO.get(family, 'the device, with a service and a self-test')}"
    folder = file.rpartition("/")[0] or file  # of the artifact: its manifest knows preprocessing and class names
    models = [f"gpu={folder}" if target == "android-gpu" else folder]
    if family == "edgetpu":
        models = [f"edgetpu=compiled/{_compiled(file)}", f"cpu={folder}"]
    package = ["package", *models, "--for", _PACKAGE.get(family, "linux"), "-o", f"package-{target}"]
    yield step(what, *package, *(["-t", target] if family == "microcontroller" else []))


def _compiled(file: str) -> str:
    return file.rpartition("/")[2].removesuffix(".tflite") + "_edgetpu.tflite"


def step(what: str, *command: str) -> Step:
    """A step with the words of its command behind `edgekit`."""
    return Step(what, shlex.join(["edgekit", *command]))


def reproduce(run: Run) -> list[str]:
    """Shell commands that do this run again: one for the versions, one for each set of recipes."""
    versions = run.artifacts[0].versions if run.artifacts else {}
    pins = [f"{name}=={number}" for name, number in versions.items()]
    groups: dict[tuple[str, ...], list[str]] = {}
    recipes: dict[str, list[str]] = {}
    for manifest in run.artifacts:
        recipes.setdefault(manifest.target, []).append(_recipe_word(manifest))
    for target, names in recipes.items():
        groups.setdefault(tuple(names), []).append(target)
    lines = [
        _optimize(run, targets, names, index if len(groups) > 1 else 0)
        for index, (names, targets) in enumerate(groups.items(), 1)
    ]
    return [shlex.join(["pip", "install", *pins]), *lines]


def _optimize(run: Run, targets: list[str], recipes: tuple[str, ...], number: int) -> str:
    parts = ["edgekit", "optimize", run.model.origin]
    parts += _data(run) if run.data else []
    parts += [word for target in targets for word in ("--target", target)]
    parts += [word for recipe in recipes for word in ("--recipe", recipe)]
    drops = [f"{name}={_plain(most)}" for name, most in run.head_drops.items()]
    drops += [_plain(run.max_drop)] if run.max_drop is not None else []
    parts += ["--max-drop", ",".join(drops)] if drops else []
    parts += [] if run.measurements else ["--no-benchmark"]
    return shlex.join([*parts, "--out", f"OUT{number or ''}"])


def _recipe_word(manifest: Manifest) -> str:
    """The recipe's phrase, or where its file lies beside the artifact."""
    name = manifest.recipe.name
    return name if _is_phrase(name) else f"{manifest.target}/{manifest.recipe.slug}/recipe.toml"


def _is_phrase(text: str) -> bool:
    try:
        Recipe.parse(text)
    except RecipeError:
        return False
    return True
