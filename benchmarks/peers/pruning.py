"""Magnitude pruning beside tensorflow-model-optimization: `python benchmarks/peers/pruning.py --work FOLDER --peer P`.

P is a Python with tensorflow-model-optimization and tf_keras. Both start from the same trained weights, with
the same data, batch size, epochs, learning rates and schedule, and prune the same kernels. FOLDER is that of
compression.py, whose float models are taken, and keeps what is done; the tables are results/pruning_tfmot.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from job import Pruning
from turns import alternate

from edgekit.bench.statistics import median_interval
from edgekit.tf import import_keras

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from compression_tables import spread

HERE = Path(__file__).resolve().parent
NETWORKS = ("ds-cnn", "resnet-8", "mobilenet-v2-0.35")
SHARES = (0.5, 0.8)
TASK, EPOCHS, STEPS, ROUNDS, WARM_UP = "spoken", 6, 20, 21, 3

Found = dict[str, dict[str, float]]


def main() -> int:
    """Run what is not there yet, and write the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, required=True, help="folder of compression.py")
    options.add_argument("--peer", required=True, help="Python with tensorflow-model-optimization")
    options.add_argument("--network", action="append", choices=NETWORKS, help="only this one; may be repeated")
    options.add_argument("--seeds", type=int, default=3, help="number of seeds [3]")
    chosen = options.parse_args()
    engines = {
        "edgekit": [sys.executable, str(HERE / "pruning_edgekit.py")],
        "tfmot": [chosen.peer, str(HERE / "pruning_tfmot.py")],
    }
    notes = chosen.work / "tfmot.json"
    found: Found = json.loads(notes.read_text()) if notes.exists() else {}
    networks = chosen.network or NETWORKS
    jobs = [(of, share, seed) for of in networks for seed in range(chosen.seeds) for share in SHARES]
    for of in networks:
        if f"step {of}" not in found:
            found[f"step {of}"] = _steps(_job(chosen.work, of, SHARES[1], 0, STEPS), engines)
            notes.write_text(json.dumps(found))
    for of, share, seed in jobs:
        for engine, words in engines.items():
            key = f"{of} {share} {seed} {engine}"
            if key not in found:
                found[key] = _judged([*words, _job(chosen.work, of, share, seed).word()])
                notes.write_text(json.dumps(found))
                print(key, found[key], flush=True)
    (HERE.parent / "results" / "pruning_tfmot.md").write_text("\n".join(_markdown(found)), encoding="utf-8")
    return 0


def _job(work: Path, of: str, share: float, seed: int, turns: int = 0) -> Pruning:
    weights = work / f"{TASK}-{of}-{seed}.weights.npz"
    if not weights.exists():
        np.savez(weights, *import_keras().models.load_model(work / f"{TASK}-{of}-{seed}.keras").get_weights())
    return Pruning(
        network=of,
        data=str(work / f"{TASK}.npz"),
        epochs=10 * EPOCHS if turns else EPOCHS,  # more than the turns need
        seed=seed,
        turns=turns,
        weights=str(weights),
        sparsity=share,
    )


def _judged(words: list[str]) -> dict[str, float]:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("result ")]
    if done.returncode or not lines:
        sys.exit(f"{' '.join(words[:2])} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, float] = json.loads(lines[-1].removeprefix("result "))
    return answer


def _steps(job: Pruning, engines: dict[str, list[str]]) -> dict[str, float]:
    """Time of a training step, ours over theirs, with the interval of the rounds."""
    ours, theirs = alternate([[*words, job.word()] for words in engines.values()], ROUNDS, WARM_UP)
    ratio = median_interval([a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True)])
    times = {"ours": float(np.median(ours.seconds)) / STEPS, "theirs": float(np.median(theirs.seconds)) / STEPS}
    return {"ratio": ratio.value, "low": ratio.low, "high": ratio.high, **times}


def _markdown(found: Found) -> Iterator[str]:
    yield from (
        "# Magnitude pruning beside tfmot",
        "",
        "Made by `python benchmarks/peers/pruning.py --work FOLDER --peer PYTHON`; "
        "[the method](../README.md#beside-tfmot). Accuracy on the spoken digits (300 test samples), mean ± standard "
        "deviation over the seeds, in percent; the difference is edgekit minus tfmot, seed by seed.",
        "",
        "| network | seeds | asked | edgekit: zeros | tfmot: zeros | edgekit | tfmot | difference | not worse |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    )
    networks = [of for of in NETWORKS if f"step {of}" in found]
    for of in networks:
        for share in SHARES:
            keys = [f"{of} {share} {seed} " for seed in range(100) if f"{of} {share} {seed} tfmot" in found]
            if keys:
                yield _accuracies(of, share, [(found[f"{key}edgekit"], found[f"{key}tfmot"]) for key in keys])
    yield from (
        "",
        f"Processor time of a training step while pruning (batch 64, one thread): blocks of {STEPS} steps in turns, "
        f"{ROUNDS} rounds, ratio edgekit / tfmot with its 95 % interval.",
        "",
        "| network | edgekit | tfmot | ratio [95 %] | bound | holds |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    for of in networks:
        step = found[f"step {of}"]
        times = " | ".join(f"{1e3 * step[side]:.1f} ms" for side in ("ours", "theirs"))
        interval = f"{step['ratio']:.2f} [{step['low']:.2f}, {step['high']:.2f}]"
        yield f"| {of} | {times} | {interval} | at most 1 | {'yes' if step['ratio'] <= 1 else 'NO'} |"
    yield ""


def _accuracies(of: str, share: float, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> str:
    sides = [100 * np.array([pair[side]["accuracy"] for pair in pairs]) for side in (0, 1)]
    zeros = [f"{100 * np.mean([pair[side]['sparsity'] for pair in pairs]):.1f} %" for side in (0, 1)]
    gains = sides[0] - sides[1]
    shown = [*map(spread, sides), spread(gains, sign=True)]
    verdict = f"{'yes' if gains.mean() >= 0 else 'NO'} |"
    return " | ".join((f"| {of}", str(len(pairs)), f"{share:.0%}", *zeros, *shown, verdict))


if __name__ == "__main__":
    sys.exit(main())
