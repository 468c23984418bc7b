"""Recipe: the ordered stages and their settings, as one frozen value.

A recipe is a TOML file, or one phrase of a little language:

    recipe  = preset [ ":" option { "," option } ]
    preset  = "float32" | "float16" | "dynamic-int8" | "int8" | "int16x8"
    option  = "per-tensor" | "per-channel" | "dense-per-tensor" | "dense-per-channel"
            | "io=" ("float32" | "int8" | "uint8" | "int16")
            | "engine=" ("litert" | "converter")
            | "keep-float=" OPERATOR { "+" OPERATOR }
            | "calibration=" COUNT | "batch=" COUNT | "seed=" NUMBER

`int8:io=uint8,per-tensor` reads: full int8, uint8 input and output, one scale for each weight tensor.
What a recipe leaves at `auto` is decided by the target when the two meet (`Recipe.resolve`).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edgekit import strict_toml
from edgekit.errors import RecipeError, did_you_mean
from edgekit.target import Target
from edgekit.tflite.flatbuffer import operator_names

Scheme = Literal["float32", "float16", "dynamic-int8", "int8", "int16x8"]
Granularity = Literal["auto", "per-channel", "per-tensor"]
IoType = Literal["auto", "float32", "int8", "uint8", "int16"]
Engine = Literal["auto", "litert", "converter"]

_LONGEST = 200

_IO_ALLOWED: dict[str, tuple[str, ...]] = {
    "int8": ("float32", "int8", "uint8"),
    "int16x8": ("float32", "int16"),
}


class Convert(Struct, frozen=True, forbid_unknown_fields=True, tag="convert", tag_field="stage"):
    """Convert the model to a float32 TFLite file, once; every quantized variant is made from that file."""

    batch: Annotated[int, Meta(ge=1, le=65_536, description="Static batch size of the deployed file.")] = 1


class Quantize(Struct, frozen=True, forbid_unknown_fields=True, tag="quantize", tag_field="stage"):
    """Quantize the float32 file after training (Jacob et al. 2018, arXiv:1712.05877)."""

    scheme: Annotated[Scheme, Meta(description="Number format of weights and activations.")]
    granularity: Annotated[
        Granularity, Meta(description="One weight scale for each output channel, or one for the tensor.")
    ] = "auto"
    dense_granularity: Annotated[Granularity, Meta(description="The same for dense layers.")] = "auto"
    io: Annotated[IoType, Meta(description="Type of the inputs and outputs of the file.")] = "auto"
    engine: Annotated[Engine, Meta(description="Which quantizer does the work.")] = "auto"
    calibration_samples: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Samples that set the activation ranges.")
    ] = 200
    keep_float: Annotated[
        tuple[Annotated[str, Meta(pattern="^[A-Z0-9_]+$")], ...],
        Meta(description="TFLite operator types that stay in float, such as DIV."),
    ] = ()

    def __post_init__(self) -> None:
        allowed = _IO_ALLOWED.get(self.scheme, ("float32",))
        if self.keep_float and self.scheme not in _IO_ALLOWED:
            raise ValueError(f"keep_float goes with int8 and int16x8, not with scheme {self.scheme!r}")
        if self.io != "auto" and self.io not in allowed:
            raise ValueError(f"io {self.io!r} does not go with scheme {self.scheme!r}: use {' or '.join(allowed)}")


Stage = Convert | Quantize


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """The ordered stages and their settings; `Recipe.parse` makes one from a phrase or a TOML file."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=,:+-]*$", max_length=_LONGEST)]
    stages: tuple[Stage, ...]
    description: str = ""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="Seed of everything that is drawn at random.")] = 0
    format_version: Literal[1] = 1

    def __post_init__(self) -> None:
        kinds = [type(stage) for stage in self.stages]
        if kinds not in ([Convert], [Convert, Quantize]):
            raise ValueError("stages must be one `convert`, then at most one `quantize`")

    @property
    def convert(self) -> Convert:
        """The conversion stage; every recipe has one."""
        return next(stage for stage in self.stages if isinstance(stage, Convert))

    @property
    def quantize(self) -> Quantize:
        """The quantization stage; `float32` where the recipe has none."""
        return next((stage for stage in self.stages if isinstance(stage, Quantize)), Quantize("float32"))

    @property
    def slug(self) -> str:
        """The name as a file name, of at most 100 characters."""
        slug = re.sub(r"[^a-z0-9._-]+", "-", self.name.lower())
        return slug if len(slug) <= 100 else f"{slug[:91]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @classmethod
    def parse(cls, text: str | Path) -> Recipe:
        """Read a TOML file (`*.toml`) or a phrase of the little language.

        Raises RecipeError for anything unknown or impossible.
        """
        if isinstance(text, Path) or text.endswith(".toml"):
            return strict_toml.load(Path(text), cls, RecipeError)
        return _phrase(text)

    def to_toml(self) -> str:
        """The recipe as a TOML file; `Recipe.parse` gives it back."""
        return strict_toml.dumps(self)

    def resolve(self, target: Target) -> Recipe:
        """The recipe with every `auto` decided by the target.

        Raises RecipeError where the target rules out what the recipe asks for.
        """
        stages: tuple[Stage, ...] = (self.convert, resolve_quantize(self.quantize, target))
        return msgspec.structs.replace(self, stages=stages[: len(self.stages)])


def resolve_quantize(stage: Quantize, target: Target) -> Quantize:
    """Decide each `auto` of a quantization stage from the target's numerics."""
    rules = target.numerics
    if stage.scheme not in rules.schemes:
        raise RecipeError(
            f"target {target.name!r} cannot run {stage.scheme!r} models",
            f"use one of: {', '.join(rules.schemes)}",
        )
    allowed = _IO_ALLOWED.get(stage.scheme, ("float32",))
    wished = [io for io in rules.io if io in allowed]
    first: IoType = wished[0] if wished else "float32"
    if stage.io != "auto" and stage.io not in rules.io:
        raise RecipeError(
            f"target {target.name!r} takes no {stage.io!r} inputs", f"use io={' or io='.join(wished or rules.io)}"
        )

    def granularity(asked: str, allowed_by_target: tuple[str, ...]) -> Granularity:
        if asked != "auto" and asked not in allowed_by_target:
            raise RecipeError(f"target {target.name!r} cannot run {asked} weights", f"use {allowed_by_target[0]}")
        return allowed_by_target[0] if asked == "auto" else asked  # type: ignore[return-value]

    dense = "per-tensor" if (stage.dense_granularity, stage.granularity) == ("auto", "per-tensor") else None
    resolved = msgspec.structs.replace(
        stage,
        granularity=granularity(stage.granularity, rules.granularity),
        dense_granularity=granularity(dense or stage.dense_granularity, rules.dense_granularity),
        io=first if stage.io == "auto" else stage.io,
    )
    return msgspec.structs.replace(resolved, engine=_engine(resolved, target)) if stage.engine == "auto" else resolved


def _engine(stage: Quantize, target: Target) -> Engine:
    """Full int8 goes to the target's engine; the rest to litert, as the converter would lower the model once more.

    The exception is per-tensor dynamic-int8, which litert gets wrong (`stages/engine_litert.py`).
    """
    if stage.scheme == "int8":
        return target.numerics.engine
    per_tensor = "per-tensor" in (stage.granularity, stage.dense_granularity)
    return "converter" if stage.scheme == "dynamic-int8" and per_tensor else "litert"


PRESETS: dict[str, str] = {
    "float32": "no quantization: the reference every other variant is measured against",
    "float16": "weights stored as float16: half the bytes, almost no loss, what GPUs like",
    "dynamic-int8": "int8 weights, activations quantized while running: no calibration data needed",
    "int8": "full int8: weights and activations; what Edge TPUs, microcontrollers and XNNPACK run fastest",
    "int16x8": "int8 weights, int16 activations: for models that full int8 hurts",
}


def preset(name: str) -> Recipe:
    """The recipe of a preset name, with every choice left to the target."""
    if name not in PRESETS:
        raise RecipeError(f"unknown recipe {name!r}", did_you_mean(name, PRESETS))
    scheme: Scheme = name  # type: ignore[assignment]
    stages: tuple[Stage, ...] = (Convert(),) if scheme == "float32" else (Convert(), Quantize(scheme))
    return Recipe(name=name, description=PRESETS[name], stages=stages)


_FLAGS: dict[str, tuple[str, str]] = {
    "per-tensor": ("granularity", "per-tensor"),
    "per-channel": ("granularity", "per-channel"),
    "dense-per-tensor": ("dense_granularity", "per-tensor"),
    "dense-per-channel": ("dense_granularity", "per-channel"),
}
_VALUES: dict[str, tuple[str, ...]] = {
    "io": ("float32", "int8", "uint8", "int16"),
    "engine": ("litert", "converter"),
    "keep-float": (),
    "calibration": (),
    "batch": (),
    "seed": (),
}


def _phrase(text: str) -> Recipe:
    name, colon, tail = text.partition(":")
    recipe = preset(name)
    if len(text) > _LONGEST:
        raise RecipeError(f"a recipe phrase of {len(text)} characters", "write it as a TOML file")
    convert, quantize, seed = recipe.convert, recipe.quantize, recipe.seed
    said: set[str] = set()
    for option in tail.split(",") if colon else ():
        key, _, value = option.partition("=")
        field = _FLAGS[option][0] if option in _FLAGS else key
        if field in said:
            raise RecipeError(f"recipe {text!r}: {field} is said twice", "say each option once (keep-float=ADD+MUL)")
        said.add(field)
        if option in _FLAGS:
            quantize = _replaced(quantize, text, **{field: _FLAGS[option][1]})
        elif key in ("io", "engine"):
            if value not in _VALUES[key]:
                raise RecipeError(f"recipe {text!r}: unknown {key} {value!r}", did_you_mean(value, _VALUES[key]))
            quantize = _replaced(quantize, text, **{key: value})
        elif key == "keep-float":
            quantize = _replaced(quantize, text, keep_float=tuple(_operator(text, name) for name in value.split("+")))
        elif key in _VALUES:
            number = _count(text, key, value)
            if key == "calibration":
                quantize = _replaced(quantize, text, calibration_samples=number)
            elif key == "batch":
                convert = Convert(batch=number)
            else:
                seed = number
        else:
            raise RecipeError(f"recipe {text!r}: unknown option {option!r}", did_you_mean(key, {*_FLAGS, *_VALUES}))
    if quantize.scheme == "float32":
        if quantize != Quantize("float32"):
            raise RecipeError(f"recipe {text!r}: float32 takes no quantization option", "drop the option")
        return _checked(msgspec.structs.replace(recipe, name=text, stages=(convert,), seed=seed))
    return _checked(msgspec.structs.replace(recipe, name=text, stages=(convert, quantize), seed=seed))


def _checked(recipe: Recipe) -> Recipe:
    """The recipe, its numbers held to the bounds of the schema, which constructors do not look at."""
    try:
        return msgspec.convert(msgspec.to_builtins(recipe), Recipe)
    except msgspec.ValidationError as cause:
        raise RecipeError(f"recipe {recipe.name!r}: {cause}", "choose a smaller number") from None


def _replaced(stage: Quantize, text: str, **changes: object) -> Quantize:
    try:
        return msgspec.structs.replace(stage, **changes)
    except ValueError as cause:
        raise RecipeError(f"recipe {text!r}: {cause}") from None


def _operator(text: str, name: str) -> str:
    known = operator_names().values()
    if name.upper() not in known:
        raise RecipeError(f"recipe {text!r}: unknown operator {name!r}", did_you_mean(name.upper(), known))
    return name.upper()


def _count(text: str, key: str, value: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", value) or (key != "seed" and int(value) == 0):
        example = {"calibration": 200}.get(key, 1)
        raise RecipeError(
            f"recipe {text!r}: {key} must be a whole number of at most 9 digits, not {value!r}",
            f"for example {key}={example}",
        )
    return int(value)
