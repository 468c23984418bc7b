"""What the doctor says of planted faults, and repairs: `python benchmarks/doctor.py --work FOLDER`.

The faults are those of tests/doctor/planted.py; the networks those of benchmarks/compression.py, with two of
tests/doctor/patients.py for what a chain does not have. What is done is kept in FOLDER; at the end
benchmarks/results/doctor.md is written. The exit code is 1 if a bound does not hold (`doctor_tables.claims`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from compression import HERE, SHARED, float_file, trained_case
from doctor_tables import SOUND, Result, claims, markdown, read
from tasks import TASKS, task

sys.path.insert(0, str(HERE.parent / "tests" / "doctor"))
from patients import Net, branched_network, fitted, measures, measuring_network
from planted import PLANTED, Patient

from edgekit.doctor.diagnosis import diagnose
from edgekit.doctor.repair import Repair, repair
from edgekit.errors import DataError
from edgekit.stages.integer_graph import WEIGHTED
from edgekit.tf import import_keras
from edgekit.tflite.graph import read_graph

Array = np.ndarray[Any, Any]

NETWORKS = {
    "ds-cnn": "digits",
    "resnet-8": "digits",
    "mobilenet-v2-0.35": "digits",
    "branched": "branched",
    "measuring": "measuring",
}
"""Each with the network of the tests in whose place it stands."""

ONLY = {"mobilenet-v2-0.35": (SOUND, "scale_disparity", "outlier_weight_channel", "activation_outlier", "narrow_range")}
"""Where not all faults are planted: those that MobileNets are known for."""

SCALES = {"fashion": 1 / 255, "spoken": 1 / 16}
"""What preparing the samples once more multiplies them by; of spectra that is no usual slip."""

EPOCHS = {
    ("fashion", "branched"): 6,
    ("spoken", "branched"): 20,
    ("fashion", "measuring"): 15,
    ("spoken", "measuring"): 15,
}
"""How long the networks train that benchmarks/compression.py does not have."""


def sound(net: Net) -> Patient:
    """No fault: the usual int8 file."""
    return Patient(net.file, net.int8(), net.data())


def faults(network: str) -> dict[str, tuple[str, Callable[[Net], Patient]]]:
    """What is planted into a network: the code of the right cause, and what plants it."""
    found = {SOUND: ("", sound)}
    found |= {one.plant.__name__: (one.code, one.plant) for one in PLANTED if one.net == NETWORKS[network]}
    if NETWORKS[network] == "digits":
        found |= {one.plant.__name__: (one.code, one.plant) for one in PLANTED if one.code == "biased-error"}
    return {name: fault for name, fault in found.items() if name in ONLY.get(network, found)}


def net(name: str, network: str, seed: int, work: Path, folder: Path) -> Net:
    """A trained network as a float32 file, made or found in FOLDER, with its data."""
    arrays = _arrays(name, work)
    arrays = measures(arrays) if network == "measuring" else arrays
    place = work / f"{name}-{network}-{seed}.tflite"
    if not place.exists():
        epochs = EPOCHS.get((name, network))
        model = _small(network, arrays, seed, epochs) if epochs else trained_case(name, network, seed, work).model
        place.write_bytes(float_file(model))
    return Net(place.read_bytes(), arrays, folder, SCALES[name])


def _arrays(name: str, work: Path) -> dict[str, Array]:
    task(name, SHARED, work)
    with np.load(work / f"{name}.npz") as stored:
        return {key: stored[key] for key in stored if key != "x_calibration"}


def _small(network: str, arrays: dict[str, Array], seed: int, epochs: int) -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    build = {"branched": branched_network, "measuring": measuring_network}[network]
    return fitted(keras, build(keras, arrays["x_train"].shape[1:], strides=2), arrays, epochs)


def result(name: str, network: str, seed: int, fault: str, sick: Patient) -> Result:
    """What the doctor says of one patient, and does."""
    code = faults(network)[fault][0]
    begun = time.monotonic()
    found = diagnose(sick.quantized, sick.source, sick.data)
    said = Result(
        task=name,
        network=network,
        seed=seed,
        fault=fault,
        code=code,
        metric=found.metric or "",
        causes=tuple(finding.code for finding in found.findings),
        float_score=found.float_score,
        planted=found.int8_score,
        given_bytes=len(sick.quantized),
    )
    try:
        file, done = repair(sick.quantized, sick.source, sick.data)
    except DataError as cause:
        return msgspec.structs.replace(said, refused=cause.problem, seconds=time.monotonic() - begun)
    return _repaired(said, file, done, sick, time.monotonic() - begun)


def _repaired(said: Result, file: bytes, done: Repair, sick: Patient, seconds: float) -> Result:
    assert done.held_out is not None  # every task has a labelled test part
    kept = [rung.name for rung in done.rungs if rung.kept]
    return msgspec.structs.replace(
        said,
        float_score=done.held_out.float_score,
        planted=done.held_out.before,
        rungs=tuple(kept[1:] if kept[0] == "as given" else kept),
        repaired=done.held_out.after,
        bytes=len(file),
        per_tensor=_per_tensor(file),
        seconds=seconds,
    )


def _per_tensor(file: bytes) -> bool:
    graph = read_graph(file)
    kernels = [graph.tensors[op.inputs[WEIGHTED[op.name]]] for op in graph.operators if op.name in WEIGHTED]
    return all(len(kernel.scales) <= 1 for kernel in kernels)


def run(name: str, network: str, seed: int, work: Path) -> Iterator[Result]:
    """The results of one trained network, those that are not in FOLDER made now."""
    notes = work / f"doctor-{name}-{network}-{seed}.jsonl"
    done = {one.fault: one for one in read(notes)}
    for fault, (_, plant) in faults(network).items():
        if fault not in done:
            with tempfile.TemporaryDirectory(prefix="edgekit-doctor-") as folder:
                sick = plant(net(name, network, seed, work, Path(folder)))
                done[fault] = result(name, network, seed, fault, sick)
            with notes.open("ab") as file:
                file.write(msgspec.json.encode(done[fault]) + b"\n")
            print(f"{name} {network} {seed} {done[fault]}", flush=True)
        yield done[fault]


def main() -> int:
    """Make what is not there yet, write the tables of all that is there, and hold it against the bounds."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, required=True, help="folder for data, float models and results so far")
    options.add_argument("--task", action="append", choices=TASKS, help="only this one; may be repeated")
    options.add_argument("--network", action="append", choices=NETWORKS, help="only this one; may be repeated")
    options.add_argument("--seed", action="append", type=int, help="only this one; may be repeated [0, 1 and 2]")
    options.add_argument("--table", action="store_true", help="run nothing, write the tables of what is there")
    chosen = options.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    if not chosen.table:
        for seed in chosen.seed or (0, 1, 2):
            for network in chosen.network or NETWORKS:
                for name in chosen.task or TASKS:
                    list(run(name, network, seed, chosen.work))
    found = [one for notes in sorted(chosen.work.glob("doctor-*.jsonl")) for one in read(notes)]
    (HERE / "results" / "doctor.md").write_text(markdown(found), encoding="utf-8")
    missed = [claim for claim in claims(found) if not claim.holds]
    print("\n".join(f"MISSED: {claim.what}: {claim.found}" for claim in missed))
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
