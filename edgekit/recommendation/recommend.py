"""Recommend: every technique of the little language held against a model and a target, in seconds, without training.

    found = recommend("model.keras", "raspberry-pi-4")
    [one.phrase for one in found.techniques if one.worth_trying]

A Keras model is really converted and quantized with random ranges; changes of the network are really planned, and made
into files where the network is small. Accuracy is not judged: what is said of it was measured on other networks.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgekit.check.advice import words
from edgekit.errors import ModelError
from edgekit.graph.walk import walk
from edgekit.model import Model, load_model
from edgekit.recommendation import finished, formats, networks
from edgekit.recommendation.files import Draft, Network, drafted
from edgekit.recommendation.suggestions import suggestions
from edgekit.recommendation.technique import ORDER, Limits, Recommendation, Technique
from edgekit.recommendation.timing import times
from edgekit.stages.convert import export, lower_at_once, take_tflite
from edgekit.stages.numerics import Scheme
from edgekit.target import Target, load_target
from edgekit.tflite.inspect import read_contents


def techniques(
    model: str | Path | Any, target: str | Path | Target, *, trust: bool = False, thorough: bool = False
) -> tuple[Technique, ...]:
    """What each technique would bring to a model on a target, those that pay first; see `recommend`."""
    return recommend(model, target, trust=trust, thorough=thorough).techniques


def recommend(
    model: str | Path | Any,
    target: str | Path | Target,
    *,
    limits: Limits | None = None,
    trust: bool = False,
    thorough: bool = False,
) -> Recommendation:
    """Say which techniques will pay for a model on a target, which will not, and which recipes to try first.

    `model` is what `load_model` takes, or a finished `.tflite`. `thorough` converts every variation of a large network,
    too, of which there are else plans only. Raises ModelError for a model that cannot be read or that TFLite has no
    operators for, TargetError, and RunError where this host is the target and does not run a file.
    """
    asked, bounds = load_target(target), limits or Limits()
    source = load_model(model, trust=trust)
    name = str(model) if isinstance(model, str | Path) else "MODEL"
    called = asked.name if isinstance(target, Target) else str(target)
    if source.kind == "tflite" and source.path and read_contents(source.path).numeric != "float32":
        return finished.recommendation(source.path, asked, name, called, bounds)
    network = Network(_float_file(source), asked)
    made, refused = formats.drafts(network)
    if not made:
        raise ModelError(
            f"no number format of {name} runs on {asked.name}: {next(iter(refused.values()))}", "run `check`"
        )
    plain = drafted(network.file, asked)
    return _Case(source, asked, name, called, bounds, thorough, plain, made, refused).recommendation()


def _float_file(source: Model) -> bytes:
    if source.kind == "keras":
        return lower_at_once(source, 1)
    if source.kind == "tflite":
        return take_tflite(source, 1)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        return export(source, 1, Path(folder, "export")).lower()


class _Case:
    """One model on one target, with the file of each number format."""

    def __init__(
        self,
        source: Model,
        target: Target,
        name: str,
        called: str,
        limits: Limits,
        thorough: bool,
        plain: Draft,
        made: dict[Scheme, Draft],
        refused: dict[Scheme, str],
    ) -> None:
        self.source, self.target, self.name, self.called, self.limits = source, target, name, called, limits
        self.plain, self.made, self.refused = plain, made, refused
        self.numeric = formats.preferred(made, target)
        self.changes = self._changes(thorough) if source.keras is not None else []

    def _changes(self, thorough: bool) -> list[networks.Changed]:
        asked = dict.fromkeys((*networks.WORDS, *(networks.LADDER if self.limits else ())))
        make = thorough or len(walk(self.source.keras).calls) <= networks.MOST_CALLS
        return networks.changed(self.source.keras, [*asked], self.made[self.numeric], self.numeric, self.target, make)

    def recommendation(self) -> Recommendation:
        """All techniques, ranked, and the recipes."""
        drafts: dict[str, Draft] = {"plain": self.plain}
        drafts |= {str(one): draft for one, draft in self.made.items()}
        drafts |= {one.variation.name: one.draft for one in self.changes if one.draft and not one.variation.same}
        latencies = times(drafts, self.target)
        found = [
            formats.technique(one, self.made, self.plain, latencies, self.target)
            for one in self.made
            if one != "float32"
        ]
        found += [Technique(one, "not-allowed", why) for one, why in self.refused.items()]
        deployed = self.made[self.numeric]
        found += [networks.technique(one, deployed, self.numeric, latencies, self.target) for one in self.changes]
        found += [networks.aware(self.source.keras, self.made, latencies)] if self.source.keras else finished.of_keras()
        ranked = tuple(sorted(found, key=rank))
        plain = (self.plain.size, latencies["plain"])
        return Recommendation(
            self.name,
            self.target.name,
            self.numeric,
            *plain,
            ranked,
            suggestions(
                ranked,
                self.numeric,
                self.name,
                self.called,
                self.limits,
                plain if "float32" in self.made else None,
            ),
            self.limits,
            deployed.size,
            advice=tuple(words(deployed.checked.advice)),
        )


def rank(one: Technique) -> tuple[int, float]:
    """The verdict, then the greatest share that is saved of the file or the latency."""
    return ORDER[one.verdict], -max(one.saves.get("file", 0.0), one.saves.get("latency", 0.0))
