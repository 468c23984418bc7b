"""What compression costs in accuracy: `python benchmarks/compression.py --work FOLDER`.

Every row trains; what is done is kept in FOLDER, so a repeated call goes on where the last one ended, and writes
benchmarks/results/compression.md at the end. What the rows mean is in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from compression_tables import QAT, UNEQUAL, Result, Trainings, markdown, read
from networks import CHAINS, NETWORKS, network, unequal
from tasks import TASKS, task

from edgekit.dataset import Dataset, match
from edgekit.graph.macs import costs, total
from edgekit.graph.walk import walk
from edgekit.model import load_model
from edgekit.recipe import Recipe
from edgekit.stages import prune_channels
from edgekit.stages.calibrate import calibrate
from edgekit.stages.cluster import Cluster, cluster
from edgekit.stages.convert import export
from edgekit.stages.distill import Distill, distill
from edgekit.stages.factorize import Factorize, factorize
from edgekit.stages.lesson import Teacher
from edgekit.stages.numerics import Quantize
from edgekit.stages.prune_weights import PruneWeights, prune_weights
from edgekit.stages.quantize import Source, quantize
from edgekit.stages.quantize_aware import QuantizeAware, quantize_aware
from edgekit.stages.student import narrowed
from edgekit.stages.train import fine_tune
from edgekit.stages.training import Training
from edgekit.target import load_target
from edgekit.tf import import_keras, import_tensorflow
from edgekit.tflite.inspect import deflated_bytes
from edgekit.verify import run_file

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("EDGEKIT_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
WIDTH = 0.5  # of the distilled student


@dataclass(frozen=True, eq=False)
class Case:
    """A trained float model, its data, and how the techniques train."""

    model: Any
    data: Dataset
    seed: int
    plan: Trainings

    def sparse(self, share: float) -> Any:
        """Magnitude pruning along the polynomial schedule."""
        return prune_weights(self.model, PruneWeights(share, training=self.plan.later), self.data, seed=self.seed).model

    def narrower(self, share: float) -> Any:
        """Channels pruned to a share of the MACs, then taught by the float model."""
        plan = prune_channels.plan(self.model, prune_channels.PruneChannels(macs=share))
        cut = prune_channels.apply(plan)
        return distill(self.model, cut, Distill(training=self.plan.later), self.data, seed=self.seed).model

    def distilled(self) -> Any:
        """A student of half the width, taught by the float model."""
        return distill(
            self.model, None, Distill(width=WIDTH, training=self.plan.student), self.data, seed=self.seed
        ).model

    def alone(self) -> Any:
        """The same student with the same initial weights, by the labels alone."""
        student = narrowed(self.model, WIDTH, seed=self.seed)
        return fine_tune(student, self.data, self.plan.student, seed=self.seed).model

    def clustered(self) -> Any:
        """16 values in each layer, trained gently: their first guess is good."""
        gently = msgspec.structs.replace(self.plan.later, learning_rate=self.plan.later.learning_rate / 3)
        return cluster(self.model, Cluster(16, training=gently), self.data, seed=self.seed).model

    def factorized(self) -> Any:
        """Low-rank factors with half of the MACs."""
        return factorize(self.model, Factorize(macs=0.5, training=self.plan.later), self.data, seed=self.seed).model

    def combined(self) -> Any:
        """A quarter of the MACs, and half of the weights of what is left zero."""
        stage = PruneWeights(0.5, training=self.plan.later)
        cut = self.narrower(0.25)
        return prune_weights(cut, stage, self.data, teacher=Teacher(self.model), seed=self.seed).model

    def unequal(self) -> Any:
        """The same function with the channels of a chain of layers scaled by up to e^1.5 and back.

        That is what normalizations with unequal variances leave when they are folded (Nagel et al. 2019,
        arXiv:1906.04721, section 3.1).
        """
        return unequal(import_keras(), self.model, self.seed)

    def integers(self, model: Any, base: str) -> bytes:
        """The int8 file after quantization-aware training, taught by the float model."""
        training = self.plan.integers
        if base == UNEQUAL:  # what begins far away takes longer, and larger steps
            training = msgspec.structs.replace(training, epochs=3 * training.epochs, learning_rate=1e-3)
        stage, numerics = QuantizeAware(teacher=0.7, training=training), numerics_of(base)
        done = quantize_aware(model, stage, self.data, teacher=self.model, numerics=numerics, seed=self.seed)
        return done.file

    def longer(self) -> Any:
        """No compression: the float model trained for as long again as the techniques train."""
        return fine_tune(self.model, self.data, self.plan.later, seed=self.seed).model


ROWS: dict[str, Callable[[Case], Any]] = {
    "float": lambda case: case.model,
    "float, trained on": Case.longer,
    "50 % sparse": lambda case: case.sparse(0.5),
    "80 % sparse": lambda case: case.sparse(0.8),
    "90 % sparse": lambda case: case.sparse(0.9),
    "half the MACs, channels": lambda case: case.narrower(0.5),
    "a quarter of the MACs, channels": lambda case: case.narrower(0.25),
    "16 clusters": Case.clustered,
    "half the MACs, factors": Case.factorized,
    "student alone": Case.alone,
    "student distilled": Case.distilled,
    "a quarter of the MACs, 50 % sparse": Case.combined,
    UNEQUAL: Case.unequal,
}
TRAINED = tuple(
    f"{row}{QAT}"
    for row in ("float", "50 % sparse", "80 % sparse", "16 clusters", "a quarter of the MACs, 50 % sparse", UNEQUAL)
)


def trainings(name: str, of: str) -> Trainings:
    """How a network trains on a task."""
    epochs = 8 if name == "fashion" else 12
    first, later, student = (2 * epochs, 10, 20) if of.startswith("mobilenet") else (epochs, 15, 30)

    def training(epochs: int, learning_rate: float) -> Training:
        return Training(epochs=epochs, learning_rate=learning_rate, patience=0)

    return Trainings(training(first, 4e-3), training(later, 3e-3), training(student, 4e-3), training(5, 3e-4))


def run(name: str, of: str, seed: int, work: Path, rows: list[str]) -> None:
    """Make, judge and note each row that is not there yet."""
    notes = work / f"{name}-{of}.jsonl"
    done = {(result.seed, result.row) for result in read(notes)}
    wanted = [row for row in rows if (seed, row) not in done and (of in CHAINS or not row.startswith(UNEQUAL))]
    if not wanted:
        return
    case = trained_case(name, of, seed, work)
    for row in wanted:
        started = time.monotonic()
        base = row.removesuffix(QAT)
        model = _kept(ROWS[base], case, work / f"{name}-{of}-{seed}-{base}.keras")
        file = case.integers(model, base) if row.endswith(QAT) else int8_file(model, case.data, base)
        result = judged(model, case.data, name, of, seed, row, time.monotonic() - started, file)
        with notes.open("ab") as file:
            file.write(msgspec.json.encode(result) + b"\n")
        took = time.monotonic() - started
        print(f"{name} {of} {seed} {row}: {result.accuracy:.4f} {result.int8:.4f}, {took:.0f} s", flush=True)


def _kept(make: Callable[[Case], Any], case: Case, place: Path) -> Any:
    """The model of a row, which a row of quantization-aware training begins with, too."""
    if not place.exists():
        _save(make(case), place)
    return import_keras().models.load_model(place)


def _save(model: Any, place: Path) -> None:
    partial = place.with_suffix(f".{os.getpid()}.keras")
    model.save(partial)
    partial.rename(place)


def trained_case(name: str, of: str, seed: int, work: Path) -> Case:
    """The float model of a row, trained or found, with its data."""
    data, place = task(name, SHARED, work), work / f"{name}-{of}-{seed}.keras"
    plan = trainings(name, of)
    shape = data.part("train").inputs[0].shape[1:]
    fresh = load_model(network(import_keras(), of, shape, seed))
    data = match(data, fresh.inputs, fresh.outputs)
    if not place.exists():
        trained = fine_tune(fresh.keras, data, plan.first, seed=seed).model
        _save(trained, place)
    return Case(import_keras().models.load_model(place), data, seed, plan)


def judged(model: Any, data: Dataset, name: str, of: str, seed: int, row: str, seconds: float, file: bytes) -> Result:
    """Accuracy of a model and of its int8 file on the test part."""
    loaded, part = load_model(model), data.part("test")
    assert part.labels is not None
    right = loaded.predict(part.array())[0].argmax(1) == part.labels[0]
    right_int8 = run_file(file, part).arrays[0].argmax(1) == part.labels[0]
    cost = total(costs(walk(model)))
    return Result(
        task=name,
        network=of,
        seed=seed,
        row=row,
        samples=len(part),
        right=np.packbits(right).tobytes(),
        right_int8=np.packbits(right_int8).tobytes(),
        macs=cost.macs,
        parameters=cost.parameters,
        float_deflated_bytes=deflated_bytes(float_file(model)),
        int8_deflated_bytes=deflated_bytes(file),
        seconds=seconds,
    )


def float_file(model: Any) -> bytes:
    """The float32 file, for one sample at a time."""
    with tempfile.TemporaryDirectory(prefix="edgekit-compression-") as folder:
        return export(load_model(model), 1, Path(folder) / "export").lower()


def int8_file(model: Any, data: Dataset, base: str) -> bytes:
    """The int8 file that `--target host` makes after training."""
    file = float_file(model)
    return quantize(Source(file, calibrate(file, data.part("calibration").array())), numerics_of(base))


def numerics_of(base: str) -> Quantize:
    """The settings of the int8 file of a row."""
    recipe = Recipe.parse("int8:per-tensor" if base == UNEQUAL else "int8")
    return recipe.resolve(load_target("host")).quantize


def main() -> int:
    """Run what is asked for and write the tables of all that is there."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, required=True, help="folder for data, float models and results so far")
    options.add_argument("--task", action="append", choices=TASKS, help="only this one; may be repeated")
    options.add_argument("--network", action="append", choices=NETWORKS, help="only this one; may be repeated")
    options.add_argument("--row", action="append", choices=[*ROWS, *TRAINED], help="only this one; may be repeated")
    options.add_argument("--seed", action="append", type=int, help="only this one; may be repeated [0, 1 and 2]")
    options.add_argument("--table", action="store_true", help="train nothing, write the tables of what is there")
    chosen = options.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    _one_thread()
    if not chosen.table:
        for seed in chosen.seed or (0, 1, 2):
            for of in chosen.network or NETWORKS:
                for name in chosen.task or TASKS:
                    run(name, of, seed, chosen.work, chosen.row or [*ROWS, *TRAINED])
    results = [result for notes in sorted(chosen.work.glob("*.jsonl")) for result in read(notes)]
    (HERE / "results" / "compression.md").write_text(markdown(results, [*ROWS, *TRAINED], trainings), encoding="utf-8")
    return 0


def _one_thread() -> None:
    threads = import_tensorflow().config.threading
    threads.set_intra_op_parallelism_threads(1)
    threads.set_inter_op_parallelism_threads(1)


if __name__ == "__main__":
    sys.exit(main())
