"""Run: everything that `optimize` found, as `run.json` keeps it and the report draws it."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from edgekit.artifact import DataRecord, Manifest, ModelRecord, StageRecord
from edgekit.bench.result import Measurement
from edgekit.bench.statistics import Interval
from edgekit.doctor.diagnosis import Diagnosis
from edgekit.errors import GateError
from edgekit.gate import unrunnable
from edgekit.metrics import Score
from edgekit.step import StageReport
from edgekit.verify import Verification


class Reference(Struct, frozen=True):
    """The float model that every variant is judged against; the float32 files made from it, by batch size."""

    scores: tuple[Score, ...]
    tflite: dict[int, Verification]
    files: dict[int, StageRecord]
    sha256: dict[int, str]


class Settled(Struct, frozen=True):
    """The recipe to use, what each candidate took in seconds, and why it is not, or should not be, the recommended one.

    `seconds` is empty where nothing was measured, `reason` where the recommended recipe keeps its promise.
    """

    target: str
    recommended: str
    used: str
    seconds: dict[str, Interval] = {}
    reason: str = ""

    def __str__(self) -> str:
        if self.used == self.recommended:
            return f"{self.target}/{self.recommended}: {self.reason}"
        insist = f"--recipe {self.recommended} insists"
        return f"{self.target}: {self.used} is made instead of {self.recommended}, {self.reason}; {insist}"


class Run(Struct, frozen=True):
    """Everything that `optimize` found; `run.json` in the output folder.

    `measurements` are by the sha256 of the file measured, `compression` by the name of the artifact; `gates` says what
    was not met, empty where all was; `head_drops` are greatest drops by output name; `diagnoses`, by the name of the
    artifact, why int8 files lose more than that lets; `settled`, for each target whose recommended recipe was used
    because none was named, how it compared with float32; `data_options` is how the data were asked to be read.
    """

    model: ModelRecord
    data: DataRecord | None
    metric: str | None
    reference: Reference
    artifacts: tuple[Manifest, ...]
    measurements: dict[str, Measurement]
    warnings: tuple[str, ...]
    gates: tuple[str, ...]
    max_drop: float | None = None
    head_drops: dict[str, float] = {}
    compression: dict[str, tuple[StageReport, ...]] = {}
    diagnoses: dict[str, Diagnosis] = {}
    settled: tuple[Settled, ...] = ()
    data_options: dict[str, Any] = {}
    format_version: Literal[1] = 1

    def __repr__(self) -> str:
        made = ", ".join(map(_in_words, self.artifacts))
        return f"Run({self.model.name}: {made}; {len(self.warnings)} warnings, {len(self.gates)} gates not met)"

    def accept(self) -> None:
        """Raise GateError if a gate was not met."""
        if self.gates:
            raise GateError("not accepted: " + "; ".join(self.gates), f"see the report; {self._way_out}")

    @property
    def _way_out(self) -> str:
        """What may help against the gates that were missed: a target that cannot run a file is moved by no bound."""
        if self.metric and any(one.name in self.diagnoses for one in self.artifacts):
            return "edgekit doctor FILE --float MODEL --data D --repair -o repaired.tflite; or change the recipe"
        refused = {fault for one in self.artifacts for fault in unrunnable(one)}
        return f"{'change the target' if refused.issuperset(self.gates) else 'loosen the gate'}; or change the recipe"


def _in_words(made: Manifest) -> str:
    """The name of an artifact and its first score."""
    found = made.verification.scores if made.verification else ()
    return " ".join([made.name, *(f"{score.name} {score.value:.4g}" for score in found[:1])])
