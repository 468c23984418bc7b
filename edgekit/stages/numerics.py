"""Numerics: which number format a file computes in, as a recipe says it and as a target decides it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edgekit.errors import RecipeError, did_you_mean
from edgekit.target import Target

Scheme = Literal["float32", "float16", "dynamic-int8", "int8", "int16x8"]
Granularity = Literal["auto", "per-channel", "per-tensor"]
IoType = Literal["auto", "float32", "int8", "uint8", "int16"]
Engine = Literal["auto", "litert", "converter"]

METHOD_PATTERN = r"^(minmax|moving_average|percentile(:[0-9]{1,3}(\.[0-9]{1,6})?)?|mse|entropy)$"
METHODS = ("minmax", "moving_average", "percentile", "mse", "entropy")

_IO_ALLOWED: dict[str, tuple[str, ...]] = {
    "int8": ("float32", "int8", "uint8"),
    "int16x8": ("float32", "int16"),
}


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
    calibration: Annotated[
        str,
        Meta(
            pattern=METHOD_PATTERN,
            description="How ranges come from samples: minmax, moving_average, percentile:99.9, mse or entropy.",
        ),
    ] = "minmax"
    keep_float: Annotated[
        tuple[Annotated[str, Meta(pattern="^[A-Z0-9_]+$")], ...],
        Meta(description="TFLite operator types that stay in float, such as DIV."),
    ] = ()

    def __post_init__(self) -> None:
        allowed = _IO_ALLOWED.get(self.scheme, ("float32",))
        if self.keep_float and self.scheme not in _IO_ALLOWED:
            raise ValueError(f"keep_float goes with int8 and int16x8, not with scheme {self.scheme!r}")
        _refuse_method(self.calibration, self.scheme)
        if self.calibration != "minmax" and (self.scheme, self.engine) == ("int16x8", "converter"):
            raise ValueError(
                f"engine 'converter' calibrates int16x8 itself, not by {self.calibration}; use engine=litert"
            )
        if self.io != "auto" and self.io not in allowed:
            raise ValueError(f"io {self.io!r} does not go with scheme {self.scheme!r}: use {' or '.join(allowed)}")


def _refuse_method(method: str, scheme: Scheme) -> None:
    if method != "minmax" and scheme not in _IO_ALLOWED:
        raise ValueError(f"calibration {method!r} goes with int8 and int16x8, not with scheme {scheme!r}")
    if method == "entropy" and scheme == "int16x8":
        raise ValueError("calibration 'entropy' weighs 255 levels: use mse, or minmax, for int16x8")
    if not re.match(METHOD_PATTERN, method):
        raise ValueError(f"unknown calibration method {method!r}; {did_you_mean(method.partition(':')[0], METHODS)}")
    if not 50 <= float(method.partition(":")[2] or 100) <= 100:
        raise ValueError(f"calibration {method!r}: say 50 to 100 percent of the values")


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
