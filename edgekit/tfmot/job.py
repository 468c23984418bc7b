"""What the child process is asked to do, and what it says and answers."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edgekit.stages.codebook import Init
from edgekit.stages.losses import Kind
from edgekit.stages.training import Epoch, Training


class Prune(Struct, frozen=True, tag="prune"):
    """Prune while training: the share of zeros of each layer, and the schedule in shares of the training."""

    shares: dict[str, float]
    schedule: Literal["polynomial", "constant"]
    power: int
    begin: float
    end: float


class Cluster(Struct, frozen=True, tag="cluster"):
    """Cluster while training: the number of values of each layer, and whether one of them is 0 and stays so."""

    clusters: dict[str, tuple[int, bool]]
    init: Init


class Quantize(Struct, frozen=True, tag="quantize"):
    """Train for rounding to 8 bits, with the zeros and the shared values that the model has kept or not."""

    zeros: bool
    values: bool


class Schooling(Struct, frozen=True):
    """How to train.

    `kinds` says what each output gives, `judged` which outputs the targets are for; `metric` is what validation is
    watched by, None for the loss alone.
    """

    stage: str
    training: Training
    task: str
    kinds: tuple[Kind, ...]
    judged: tuple[int, ...]
    metric: str | None
    seed: int


class Job(Struct, frozen=True):
    """A model file, what to do to it and where to put the result; a job without a technique only opens and saves it.

    `data` is an `.npz` of `x0`, ... (inputs) and `y0`, ... (targets) of the training part, `vx0`, ... and `vy0`, ...
    of the validation part. `checkpoint` is kept after each epoch under `key`.
    """

    origin: str
    model: str
    out: str
    trust: bool = False
    technique: Prune | Cluster | Quantize | None = None
    schooling: Schooling | None = None
    data: str = ""
    checkpoint: str = ""
    key: str = ""


class Said(Struct, frozen=True, tag="said"):
    """A line of talk; `keep` where it is worth keeping."""

    text: str
    keep: bool


class Fault(Struct, frozen=True, tag="fault"):
    """An error of `edgekit.errors`, by the name of its class."""

    kind: str
    problem: str
    mend: str


class Done(Struct, frozen=True, tag="done"):
    """The work is done: the epochs of the training, how many steps one had, and what else to know about it."""

    epochs: tuple[Epoch, ...] = ()
    steps: int = 0
    notes: tuple[str, ...] = ()


Message = Said | Fault | Done
