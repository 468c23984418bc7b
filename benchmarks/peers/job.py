"""What both engines are told to do: one pruning of one trained network, or its steps in turns."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BEGIN, END, POWER, UPDATES = 0.0, 0.6, 3, 50


@dataclass(frozen=True)
class Job:
    """A network with the weights it starts from, data, and how to prune; `turns` trains in turns and judges nothing."""

    network: str
    weights: str
    data: str
    sparsity: float
    epochs: int
    batch_size: int = 64
    learning_rate: float = 3e-3
    seed: int = 0
    turns: bool = False

    @classmethod
    def told(cls) -> Job:
        """The job on the command line."""
        return cls(**json.loads(sys.argv[1]))

    def word(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The parts of the data."""
        with np.load(self.data) as found:
            return dict(found)

    def initial(self) -> list[np.ndarray[Any, Any]]:
        """The weights to start from, in the order of `get_weights`."""
        with np.load(self.weights) as found:
            return [found[f"arr_{index}"] for index in range(len(found.files))]

    def tell(self, probabilities: np.ndarray[Any, Any], zeros: float) -> None:
        """Accuracy on the test part, and the share of zeros in the pruned kernels."""
        accuracy = float((probabilities.argmax(1) == self.arrays()["y_test"]).mean())
        print("result", json.dumps({"accuracy": accuracy, "sparsity": zeros}), flush=True)
