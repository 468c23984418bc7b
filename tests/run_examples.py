"""A run made by hand from real files and real structs, small enough to render in a moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tiny_models import ADD, DEQUANTIZE, INT8, Graph

from edgekit.artifact import DataRecord, Manifest, ModelRecord, contract, ledger_line, operator_table, scored, sha256
from edgekit.bench.plan import Plan
from edgekit.bench.result import (
    Conditions,
    Machine,
    Measurement,
    Memory,
    MemoryPoints,
    ModelFile,
    Runtime,
    Timer,
)
from edgekit.check.check import check
from edgekit.dataset import Preprocessing
from edgekit.metrics import Agreement, Difference, Score
from edgekit.recipe import Recipe
from edgekit.run import Reference, Run
from edgekit.target import load_target
from edgekit.tflite.inspect import inspect_model
from edgekit.verify import Verification

SAMPLES = 500


def float_file(name: str = "net/add/BiasAdd;net/add/Relu", weights: int = 64) -> bytes:
    """x + constant, `weights` float32 values."""
    graph = Graph()
    x, y = graph.tensor("serving_default_x:0", (1, weights)), graph.tensor(name, (1, weights))
    graph.operator(ADD, [x, graph.constant("bias", np.ones((1, weights), np.float32))], [y])
    return graph.bytes([x], [y])


def int8_file(scale: float = 0.5, zero: int = 3) -> bytes:
    """An int8 input, dequantized."""
    graph = Graph()
    x, y = graph.tensor("x", (1, 4), INT8, scale, zero), graph.tensor("y", (1, 4))
    graph.operator(DEQUANTIZE, [x], [y])
    return graph.bytes([x], [y])


def judged(value: float, change: float, metric: str = "accuracy") -> Verification:
    """A verification with a score and its difference from the float model."""
    return Verification(
        samples=SAMPLES,
        runtime="ai-edge-litert 2.3.0",
        batch=64,
        scores=(Score(metric, value, value - 0.01, value + 0.01, SAMPLES, "Wilson"),),
        differences=(Difference(change, change - 0.004, change + 0.004, "Tango, paired", SAMPLES),),
        agreement=Agreement(0.99, 0.5, 0.1, 31.4),
    )


def measured(file: bytes, middle_ns: int = 20_000, count: int = 200, load: float = 0.1) -> Measurement:
    """A measurement whose latencies lie around `middle_ns`."""
    steady = np.random.default_rng(0).gamma(20, middle_ns / 20, count).astype(int) + 1
    memory = Memory(40 << 20, 44 << 20, 20 << 20, 20 << 20, 0, 0, 40 << 20, 40 << 20)
    return Measurement(
        machine=Machine(None, "Example CPU", "x86_64", "Linux", "6.1", 2, 2, 8 << 30, "3.11.7", "2.0.0"),
        runtime=Runtime("ai-edge-litert", "2.3.0"),
        before=Conditions(load, None, None, None),
        after=Conditions(load, None, None, None),
        timer=Timer(40, 10),
        load_ns=1_000_000,
        first_ns=50_000,
        warm_up_ns=(20_000, 20_000),
        warm_up_stable=True,
        steady_ns=tuple(steady.tolist()),
        memory=MemoryPoints(memory, memory, memory, memory, memory),
        delegate_partitions=1,
        inputs=(),
        outputs=(),
        model=ModelFile("model", sha256(file), len(file)),
        device="local",
        plan=Plan(),
        started="2026-01-02T03:04:05+00:00",
        edgekit="0.1.0",
        agent_sha256="0" * 64,
    )


def manifest(
    target: str, phrase: str, file: bytes, verification: Verification | None, name: str = "digits"
) -> Manifest:
    """A manifest as the pipeline makes it."""
    board, summary = load_target(target), inspect_model(file)
    recipe = Recipe.parse(phrase).resolve(board)
    inputs, outputs = contract(summary)
    lines = [ledger_line("convert", "float32, batch 1", float_file())]
    if recipe.quantize.scheme != "float32":
        lines.append(scored(ledger_line("quantize", phrase, file), verification))
    return Manifest(
        name=f"{target}/{recipe.slug}",
        file=f"{name}-{recipe.slug}.tflite",
        sha256=sha256(file),
        file_bytes=summary.file_bytes,
        deflated_bytes=summary.deflated_bytes,
        numeric=summary.numeric,
        target=target,
        target_sha256="0" * 64,
        recipe=recipe,
        model=ModelRecord(name, f"{name}.keras", "keras", "1" * 64, ()),
        data=data_record() if verification else None,
        inputs=inputs,
        outputs=outputs,
        history=tuple(lines),
        operators=operator_table(summary),
        verification=verification,
        findings=check(summary, board).findings,
        versions={"edgekit": "0.1.0", "numpy": "2.0.0"},
    )


def data_record(preprocessing: Preprocessing | None = None, classes: tuple[str, ...] = ("cat", "dog")) -> DataRecord:
    """Data of two classes."""
    parts = {"train": 1000, "calibration": 100, "test": SAMPLES}
    return DataRecord("f" * 64, "classification", parts, preprocessing or Preprocessing(), classes)


def run_of(manifests: Sequence[Manifest], max_drop: float | None = 0.01, gates: tuple[str, ...] = ()) -> Run:
    """A run of these variants, each measured, beside a float32 file."""
    first, reference = manifests[0], float_file()
    verified = first.verification is not None
    digests = dict.fromkeys([sha256(reference), *(m.sha256 for m in manifests)])
    return Run(
        model=first.model,
        data=first.data,
        metric="accuracy" if verified else None,
        reference=Reference(
            scores=(Score("accuracy", 0.97, 0.96, 0.98, SAMPLES, "Wilson"),) if verified else (),
            tflite={1: judged(0.97, 0.0)} if verified else {},
            files={1: ledger_line("convert", "float32, batch 1", reference)},
            sha256={1: sha256(reference)},
        ),
        artifacts=tuple(manifests),
        measurements={digest: measured(reference) for digest in digests},
        warnings=("no test part was given",),
        gates=gates,
        max_drop=max_drop,
    )
