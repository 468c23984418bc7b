"""What a tool is told to do: prune a trained network, make a file of it, or train in turns."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import Self

BEGIN, END, POWER, UPDATES = 0.0, 0.6, 3, 50


@dataclass(frozen=True, kw_only=True)
class Job:
    """A network and the data to train it on; `turns` trains in turns, in blocks of so many steps."""

    network: str
    data: str
    epochs: int
    batch_size: int = 64
    learning_rate: float = 3e-3
    seed: int = 0
    turns: int = 0

    @classmethod
    def told(cls) -> Self:
        """The job on the command line."""
        return cls(**json.loads(sys.argv[1]))

    def word(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The parts of the data."""
        with np.load(self.data) as found:
            return dict(found)


@dataclass(frozen=True, kw_only=True)
class OfTrained(Job):
    """What begins with trained weights."""

    weights: str

    def initial(self) -> list[np.ndarray[Any, Any]]:
        """The weights to start from, in the order of `get_weights`."""
        with np.load(self.weights) as found:
            return [found[f"arr_{index}"] for index in range(len(found.files))]


@dataclass(frozen=True, kw_only=True)
class Making(OfTrained):
    """Which file a tool of `bench_peers.py` makes of the trained network `model`, and where to."""

    technique: str
    tool: str
    recipe: str
    model: str
    out: str


@dataclass(frozen=True, kw_only=True)
class Pruning(OfTrained):
    """How to prune; in turns nothing is judged."""

    sparsity: float

    def tell(self, probabilities: np.ndarray[Any, Any], zeros: float) -> None:
        """Accuracy on the test part, and the share of zeros in the pruned kernels."""
        accuracy = float((probabilities.argmax(1) == self.arrays()["y_test"]).mean())
        print("result", json.dumps({"accuracy": accuracy, "sparsity": zeros}), flush=True)


@dataclass(frozen=True, kw_only=True)
class QuantizeAware(Job):
    """Steps of quantization-aware training, or for comparison of the float network, from random weights."""

    quantized: bool
