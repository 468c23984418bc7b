"""The little language of recipes: what to do to the network, the number format, and options.

    recipe  = { step "-" } preset [ ":" option { "," option } ]  |  "small" [ ":" options ]
    step    = "student" PERCENT | "drop" PERCENT | "channels" PERCENT | "factorize" PERCENT | "prune" PERCENT
            | "cluster" COUNT | "small" | "qat"
    preset  = "float32" | "float16" | "dynamic-int8" | "int8" | "int16x8"
    option  = "per-tensor" | "per-channel" | "dense-per-tensor" | "dense-per-channel"
            | "io=" ("float32" | "int8" | "uint8" | "int16")
            | "engine=" ("litert" | "converter" | "tfmot")
            | "keep-float=" OPERATOR { "+" OPERATOR }
            | "calibration=" ( COUNT | METHOD ) | "batch=" COUNT | "seed=" NUMBER
            | "epochs=" ( COUNT | COUNT "x" ) | "rate=" FACTOR "x" | "one-shot" | "no-rewrite" | "by-sensitivity"
    METHOD  = "minmax" | "moving_average" | "percentile" [ ":" PERCENT ] | "mse" | "entropy"

`int8:io=uint8,per-tensor` reads: full int8, uint8 input and output, one scale for each weight tensor.
`channels50-prune80-int8:epochs=5` reads: cut channels until half of the multiply-accumulates are left, then set 80 % of
the weights to zero, each with 5 epochs of training; then full int8.
`channels50-int8:epochs=3x,rate=0.3x`: each training has three times its usual epochs and as much more patience, and
begins at 0.3 times its usual learning rate.
`int8:calibration=mse,calibration=500`: ranges with the least squared error over 500 samples.
`engine=tfmot` has tensorflow-model-optimization train; the other two are quantizers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

import msgspec

from edgekit.errors import RecipeError, did_you_mean
from edgekit.recipe import LONGEST, Compression, Recipe, Stage
from edgekit.stages.cluster import Cluster
from edgekit.stages.convert import Convert
from edgekit.stages.distill import Distill
from edgekit.stages.drop_layers import DropLayers
from edgekit.stages.factorize import Factorize
from edgekit.stages.fine_tune import FineTune
from edgekit.stages.numerics import METHODS, Engine, IoType, Quantize
from edgekit.stages.prune_channels import PruneChannels
from edgekit.stages.prune_weights import PruneWeights
from edgekit.stages.quantize_aware import QuantizeAware
from edgekit.stages.training import Training
from edgekit.tflite.flatbuffer import operator_names
from edgekit.tfmot.settings import TrainingEngine

Step = Compression | QuantizeAware

SCHEMES: dict[str, str] = {
    "float32": "no quantization: the reference every other variant is measured against",
    "float16": "weights stored as float16: half the bytes, almost no loss, what GPUs like",
    "dynamic-int8": "int8 weights, activations quantized while running: no calibration data needed",
    "int8": "full int8: weights and activations; what Edge TPUs, microcontrollers and XNNPACK run fastest",
    "int16x8": "int8 weights, int16 activations: for models that full int8 hurts",
}
PRESETS: dict[str, str] = SCHEMES | {
    "prune50-int8": "half of the weights zero, trained, then int8: a smaller download, no speed",
    "channels50-int8": "channels removed until half of the multiply-accumulates are left, distilled, then int8: faster",
    "cluster16-int8": "16 values for the weights of each layer, trained, then int8: a smaller download, no speed",
    "factorize50-int8": "layers split into thinner ones until half of the multiply-accumulates are left, then int8",
    "small": "a quarter of the multiply-accumulates by removing channels, distilled, then int8",
    "qat-int8": "full int8, then trained as the integer file computes: where int8 alone loses accuracy",
    "prune50-qat-int8": "half of the weights zero, then int8 with quantization-aware training, which keeps the zeros",
    "small-qat": "a quarter of the multiply-accumulates, distilled, then int8 with quantization-aware training",
}

_SMALL = 75
_PERCENT: dict[str, tuple[str, Callable[[float], tuple[Compression, ...]]]] = {
    "student": ("share of the channels that a derived student has", lambda part: (Distill(width=part),)),
    "drop": ("change of the outputs that removing branches may bring", lambda part: (DropLayers(part), FineTune())),
    "channels": (
        "share of the multiply-accumulates to remove",
        lambda part: (PruneChannels(macs=1 - part), Distill()),
    ),
    "factorize": ("share of the multiply-accumulates to remove", lambda part: (Factorize(macs=1 - part),)),
    "prune": ("share of the weights to set to zero", lambda part: (PruneWeights(sparsity=part),)),
}
STEPS = {**{f"{word}N": f"N percent: {meaning}" for word, (meaning, _) in _PERCENT.items()}, "clusterN": "N values"}


def recipe_of(text: str, scheme: str = "") -> Recipe:
    """The recipe that a phrase says; `scheme` is the number format where it names none, as it otherwise must.

    Raises RecipeError for anything unknown or impossible.
    """
    if " " in text.strip():
        phrase, *options = text.split()
        tail = ",".join(option.strip(",:") for option in options)
        raise RecipeError(f"recipe {text!r}: a phrase has no spaces", f"did you mean '{phrase.strip(',:')}:{tail}'?")
    if len(text) > LONGEST:
        raise RecipeError(f"a recipe phrase of {len(text)} characters", "write it as a TOML file")
    head, colon, tail = text.partition(":")
    if "," in head:
        raise RecipeError(f"recipe {text!r}: options follow a colon", f"say {text.replace(',', ':', 1)!r}")
    said = _Said(text, *_read_head(text, head, scheme))
    for option in tail.split(",") if colon else ():
        said.read(option)
    return said.recipe()


def _read_head(text: str, head: str, default: str) -> tuple[tuple[Step, ...], Quantize]:
    """The steps and the number format of `prune50-int8`."""
    scheme = max((name for name in SCHEMES if f"-{head}".endswith(f"-{name}")), key=len, default="")
    front = head.removesuffix(scheme)
    words = front.removesuffix("-" if scheme else "").split("-") if front or not scheme else []
    steps = tuple(stage for word in words for stage in _step(text, word))
    default = "int8" if {"small", "qat"} & {*words} else default
    if not (scheme or default):
        raise RecipeError(f"recipe {text!r} names no number format", f"did you mean {head + '-int8'!r}?")
    return steps, Quantize(scheme or default)  # type: ignore[arg-type]


def _step(text: str, word: str) -> tuple[Step, ...]:
    if word == "qat":
        return (QuantizeAware(),)
    if word == "small":
        return _step(text, f"channels{_SMALL}")
    found = re.fullmatch(r"([a-z]+)([0-9]{1,3})", word)
    name, number = (found[1], int(found[2])) if found else (word, -1)
    if name == "cluster" and 2 <= number <= 256:
        return (Cluster(clusters=number),)
    if name in _PERCENT and 0 < number < 100:
        return _PERCENT[name][1](number / 100)
    if name in (*_PERCENT, "cluster"):
        bounds = "a number from 2 to 256" if name == "cluster" else "a percentage from 1 to 99"
        raise RecipeError(
            f"recipe {text!r}: {word!r} needs {bounds}", f"for example {name}{16 if name == 'cluster' else 50}"
        )
    if word == "tfmot":
        raise RecipeError(f"recipe {text!r}: tfmot is no step", "say :engine=tfmot behind the number format")
    if word in SCHEMES:
        raise RecipeError(
            f"recipe {text!r}: {word!r} is not at the end", f"the number format comes last: prune50-{word}"
        )
    known = ["qat", *(f"{step}{number if number > 0 else 'N'}" for step in (*_PERCENT, "cluster"))]
    whole = word == text.partition(":")[0]
    problem = f"unknown recipe {word!r}" if whole else f"recipe {text!r}: unknown step {word!r}"
    raise RecipeError(problem, did_you_mean(word, [*PRESETS, *known]))


_FLAGS: dict[str, tuple[str, str]] = {
    "per-tensor": ("granularity", "per-tensor"),
    "per-channel": ("granularity", "per-channel"),
    "dense-per-tensor": ("dense_granularity", "per-tensor"),
    "dense-per-channel": ("dense_granularity", "per-channel"),
}
_CHOICES: dict[str, tuple[str, ...]] = {"io": get_args(IoType)[1:], "engine": (*get_args(Engine)[1:], "tfmot")}
_ONCE = {"engine": "a phrase names who trains (tfmot) or who quantizes (litert, converter); a TOML file may say both"}
_COUNTS = {"calibration": 200, "batch": 1, "seed": 1, "epochs": 10}
_OPTIONS = {*_FLAGS, *_CHOICES, *_COUNTS, "rate", "keep-float", "one-shot", "no-rewrite", "by-sensitivity"}


class _Said:
    """A recipe while its options are read."""

    def __init__(self, text: str, steps: tuple[Step, ...], quantize: Quantize) -> None:
        self.text, self.steps, self.quantize, self.convert, self.seed = text, steps, quantize, Convert(), 0
        self.engine: TrainingEngine = "native"
        self._fields: set[str] = set()

    def read(self, option: str) -> None:
        """Take over one option."""
        key, _, value = option.partition("=")
        method = key == "calibration" and value.partition(":")[0] in METHODS
        field = _FLAGS[option][0] if option in _FLAGS else "calibration method" if method else key
        if field in self._fields:
            raise self._error(f"{field} is said twice", _ONCE.get(field, "say each option once (keep-float=ADD+MUL)"))
        self._fields.add(field)
        if option in _FLAGS:
            self._quantize(**{field: _FLAGS[option][1]})
        elif key in _CHOICES:
            if value not in _CHOICES[key]:
                raise self._error(f"unknown {key} {value!r}", did_you_mean(value, _CHOICES[key]))
            if value == "tfmot":
                self.engine = "tfmot"
            else:
                self._quantize(**{key: value})
        elif key == "keep-float":
            self._quantize(keep_float=tuple(map(self._operator, value.split("+"))))
        elif method:
            self._quantize(calibration=value)
        elif key == "epochs" and (times := re.fullmatch("([1-9][0-9]{0,2})x", value)):
            self.steps = tuple(_longer(stage, int(times[1])) for stage in self._trained())
        elif key == "rate":
            self.steps = tuple(_faster(stage, self._factor(value)) for stage in self._trained())
        elif key in _COUNTS:
            self._number(key, self._count(key, value))
        elif option == "no-rewrite":
            self.convert = msgspec.structs.replace(self.convert, rewrite=False)
        elif option == "by-sensitivity":
            self.steps = self._by_sensitivity()
        elif option == "one-shot":
            self.steps = self._one_shot()
        else:
            raise self._error(f"unknown option {option!r}", did_you_mean(key, _OPTIONS))

    def recipe(self) -> Recipe:
        """The whole, its numbers held to the bounds of the schema, which constructors do not look at."""
        plain = self.quantize.scheme == "float32"
        if plain and self.quantize != Quantize("float32"):
            raise self._error("float32 takes no quantization option", "drop the option")
        aware = [stage for stage in self.steps if isinstance(stage, QuantizeAware)]
        if aware and not isinstance(self.steps[-1], QuantizeAware):
            raise self._error("qat is not the last step", "it trains the integer file: write qat just before int8")
        steps = self.steps[: len(self.steps) - len(aware)]
        stages: tuple[Stage, ...] = (*steps, self.convert, *(() if plain else (self.quantize,)), *aware)
        try:
            made = Recipe(self.text, stages, PRESETS.get(self.text.partition(":")[0], ""), self.seed)
            made = msgspec.convert(msgspec.to_builtins(made), Recipe)
        except msgspec.ValidationError as cause:
            raise self._error(str(cause), "choose a smaller number") from None
        except ValueError as cause:
            problem, _, mend = str(cause).partition("; ")
            raise self._error(problem, mend or "change the order of the steps") from None
        return self._by_engine(made)

    def _by_engine(self, recipe: Recipe) -> Recipe:
        try:
            return msgspec.structs.replace(recipe, engine=self.engine)
        except ValueError as cause:
            problem, _, mend = str(cause).rpartition("; ")
            raise self._error(problem, mend) from None

    def _number(self, key: str, number: int) -> None:
        if key == "calibration":
            self._quantize(calibration_samples=number)
        elif key == "batch":
            self.convert = msgspec.structs.replace(self.convert, batch=number)
        elif key == "seed":
            self.seed = number
        else:
            self.steps = tuple(_with_epochs(stage, number) for stage in self._trained())

    def _by_sensitivity(self) -> tuple[Step, ...]:
        """The steps with a share for each layer by what it costs, where they have shares."""
        changed = tuple(map(_by_sensitivity, self.steps))
        if changed == self.steps:
            raise self._error("no step in it takes a share of each layer", "by-sensitivity is for channels and prune")
        return changed

    def _one_shot(self) -> tuple[Step, ...]:
        """The steps without their trainings."""
        if any(isinstance(stage, Distill) and stage.width for stage in self.steps):
            raise self._error("a student is new weights, which have to be trained", "leave one-shot out, or student")
        trainings = (Distill, FineTune, QuantizeAware)
        return tuple(one_shot(stage) for stage in self._trained() if not isinstance(stage, trainings))

    def _trained(self) -> tuple[Step, ...]:
        if not self.steps:
            raise self._error(
                "nothing in it trains", "the options epochs, rate and one-shot go with steps like prune50-int8"
            )
        return self.steps

    def _quantize(self, **changes: object) -> None:
        try:
            self.quantize = msgspec.structs.replace(self.quantize, **changes)
        except ValueError as cause:
            problem, _, mend = str(cause).partition("; ")
            raise self._error(problem, mend or "change this option, or the number format") from None

    def _operator(self, name: str) -> str:
        known = operator_names().values()
        if name.upper() not in known:
            raise self._error(f"unknown operator {name!r}", did_you_mean(name.upper(), known))
        return name.upper()

    def _count(self, key: str, value: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", value) or (key != "seed" and int(value) == 0):
            methods = f", or one of {', '.join(METHODS)}" if key == "calibration" else ""
            methods += ", or epochs=3x for three times the usual ones" if key == "epochs" else ""
            example = f"for example {key}={_COUNTS[key]}{methods}"
            least = 0 if key == "seed" else 1
            raise self._error(f"{key} must be a whole number from {least}, of at most 9 digits, not {value!r}", example)
        return int(value)

    def _factor(self, value: str) -> float:
        found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)x", value)
        if not found or not float(found[1]):
            raise self._error(
                f"rate is times the usual learning rate, not {value!r}", "for example rate=3x, or rate=0.3x"
            )
        return float(found[1])

    def _error(self, problem: str, mend: str) -> RecipeError:
        return RecipeError(f"recipe {self.text!r}: {problem}", mend)


def _by_sensitivity(stage: Step) -> Step:
    if isinstance(stage, PruneChannels):
        return msgspec.structs.replace(stage, allocation="sensitivity")
    return msgspec.structs.replace(stage, scope="sensitivity") if isinstance(stage, PruneWeights) else stage


def _with_epochs(stage: Any, epochs: int) -> Any:
    """The stage with this many epochs of training."""
    return _trained_as(stage, lambda usual: {"epochs": epochs})


def _longer(stage: Any, times: int) -> Any:
    """The stage with so many times its epochs, and its patience, which would end it as early otherwise."""
    return _trained_as(stage, lambda usual: {"epochs": times * usual.epochs, "patience": times * usual.patience})


def _faster(stage: Any, times: float) -> Any:
    """The stage with so many times its learning rate."""
    return _trained_as(stage, lambda usual: {"learning_rate": float(f"{times * usual.learning_rate:.6g}")})


def _trained_as(stage: Any, changes: Callable[[Training], dict[str, Any]]) -> Any:
    """The stage with a training that is changed so; as it is where it does not train."""
    if not hasattr(stage, "training"):
        return stage
    training = msgspec.structs.replace(stage.training, **changes(stage.training))
    return msgspec.structs.replace(stage, training=training)


def one_shot(stage: Any) -> Any:
    """The stage without its training."""
    return msgspec.structs.replace(stage, one_shot=True) if hasattr(stage, "one_shot") else stage
