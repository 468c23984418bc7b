"""What can be said of a finished `.tflite`: formats that it cannot take on any more, operators to rewrite."""

from __future__ import annotations

import shlex
from pathlib import Path

from edgekit.check.advice import words
from edgekit.recommendation import formats, networks
from edgekit.recommendation.files import Draft, drafted
from edgekit.recommendation.judging import saved, verdict
from edgekit.recommendation.technique import Limits, Recommendation, Technique
from edgekit.recommendation.timing import times
from edgekit.surgery.rewrite import rewrite, rules_for
from edgekit.target import Target
from edgekit.tflite.flatbuffer import read_bytes

_NETWORK = "it changes a Keras model, and this is none: give the .keras file that it was made from"
_FLOAT = "a file is quantized from float32 only: give the float32 file, or the Keras model that it was made from"


def of_keras() -> list[Technique]:
    """The techniques of the network, for a file that no longer has one."""
    return [Technique(name, "not-allowed", _NETWORK) for name in (*networks.WORDS, "qat")]


def recommendation(path: Path, target: Target, name: str, called: str, limits: Limits) -> Recommendation:
    """Of a file that is quantized already, `called` being the target in a command.

    Raises ModelError for one that is not sound.
    """
    own = drafted(bytes(read_bytes(path)), target)
    done = rewrite(own.file, rules_for(target))
    other = drafted(done.file, target) if done.applied else None
    latencies = times({"plain": own, **({"rewrite": other} if other else {})}, target)
    found = []
    if other is not None:
        saves = saved(own.size, other.size, latencies["plain"], latencies["rewrite"])
        why = f"{done}: {own.pieces} -> {other.pieces} pieces of XNNPACK"
        notes = (f"edgekit rewrite {shlex.quote(name)} -t {shlex.quote(called)} -o faster.tflite",)
        found = [
            Technique(
                "rewrite",
                verdict(saves, target),
                why,
                saves=saves,
                size=other.size,
                latency=latencies["rewrite"],
                notes=notes,
            )
        ]
    found += [_format(scheme, own) for scheme in formats.SCHEMES if scheme != "float32"]
    return Recommendation(
        name,
        target.name,
        own.contents.numeric,
        own.size,
        latencies["plain"],
        (*found, *of_keras()),
        (),
        limits,
        own.size,
        own.contents.numeric,
        tuple(words(own.checked.advice)),
    )


def _format(scheme: str, own: Draft) -> Technique:
    if scheme == own.contents.numeric:
        return Technique(scheme, "does-not-pay", f"the file is {scheme} already")
    return Technique(scheme, "not-allowed", _FLOAT)
