"""What `bench_peers.py` compares: networks and tasks, techniques, and the tools that have them."""

from __future__ import annotations

from dataclasses import dataclass

from peers_results import OURS

from edgekit.recipe import Recipe
from edgekit.stages.training import Training

SCRIPTS = {
    OURS: "make_edgekit.py",
    "TFLite converter": "make_keras.py",
    "litert-quantizer": "make_keras.py",
    "Keras": "make_keras.py",
    "Keras, default loss": "make_keras.py",
    "tfmot": "make_tfmot.py",
}
TOOLS = {
    "float32": (OURS, "TFLite converter", "Keras"),
    "dynamic-int8": (OURS, "TFLite converter", "litert-quantizer", "Keras"),
    "int8": (OURS, "TFLite converter", "litert-quantizer"),
    "qat": (OURS, "tfmot"),
    "zeros": (OURS, "tfmot"),
    "values": (OURS, "tfmot"),
    "student": (OURS, "Keras", "Keras, default loss"),
}
RECIPES = {
    "float32": "float32",
    "dynamic-int8": "dynamic-int8",
    "int8": "int8:io=int8",
    "qat": "qat-int8:io=int8,epochs={later}",
    "zeros": "prune80-int8:io=int8,epochs={later}",
    "values": "cluster16-int8:io=int8,epochs={later}",
    "student": "student50-float32:epochs={student}",
}
SEED, BATCH, RATE = 0, 64, 4e-3


@dataclass(frozen=True)
class Subject:
    """A network on a task, and for how many epochs it trains, a technique trains, and a new student trains."""

    network: str
    task: str
    first: int
    later: int
    student: int

    @property
    def name(self) -> str:
        """For the page and the command line."""
        return f"{self.network}, {self.task}"


SUBJECTS = (
    Subject("DS-CNN", "digits", 20, 10, 30),
    Subject("ResNet-8", "digits", 20, 10, 30),
    Subject("MobileNetV3Small 0.5", "large digits", 20, 10, 30),
    Subject("ds-cnn", "spoken", 12, 5, 15),
    Subject("resnet-8", "fashion", 8, 5, 15),
)


def training_of(recipe: str) -> Training:
    """How the recipe trains, so that the peers train alike; where it does not, nobody does."""
    trained = Recipe.parse(recipe).trained
    return trained[-1].training if trained else Training()
