"""Networks on which int8 loses to float32: `python benchmarks/int8_loses.py`, which writes results/int8_loses.md.

Each is taken to this host with no recipe named. Then the file that the quantizer made, the same rewritten for XNNPACK,
the one that ships and its float32 file race once more. Exit code 1 if what ships loses to float32.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.pipeline import optimize
from edgekit.report.table import render_table
from edgekit.run import Run
from edgekit.speed.race import Race, race
from edgekit.tf import import_keras
from edgekit.units import format_seconds
from edgekit.versions import versions

OUT = Path(__file__).resolve().parent / "results" / "int8_loses.md"
FILES = ("float32", "int8:no-rewrite", "int8")
SAMPLES = 64


def attention() -> Any:
    """A small vision transformer: 4 blocks, 64 tokens of 64 values."""
    keras = import_keras()
    layers = keras.layers
    start = keras.Input((32, 32, 3))
    x = layers.Reshape((64, 64))(layers.Conv2D(64, 4, 4)(start))
    for _ in range(4):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 16)(y, y)])
        y = layers.Dense(128, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(64)(y)])
    return keras.Model(start, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


def shuffle() -> Any:
    """Six units of ShuffleNet V2 (Ma et al. 2018, figure 3c): half of the channels convolved, then all shuffled."""
    keras = import_keras()
    layers = keras.layers
    start = keras.Input((48, 48, 3))
    x = layers.Conv2D(32, 3, 2, "same", activation="relu")(start)
    for _ in range(6):
        y = layers.Conv2D(16, 1, activation="relu")(x[..., 16:])
        y = layers.DepthwiseConv2D(3, padding="same")(y)
        x = layers.Concatenate()([x[..., :16], layers.Conv2D(16, 1, activation="relu")(y)])
        x = layers.Permute((1, 2, 4, 3))(layers.Reshape((24, 24, 2, 16))(x))
        x = layers.Reshape((24, 24, 32))(x)
    return keras.Model(start, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


NETWORKS: dict[str, Callable[[], Any]] = {"attention": attention, "channel shuffle": shuffle}


def taken(network: Any, folder: Path) -> tuple[Run, Race]:
    """The run with no recipe named, and what its files and those of `FILES` take in turns."""
    samples = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, *network.input_shape[1:])).astype(np.float32)
    data = folder / "data.npz"
    np.savez(data, x=samples)
    run = optimize(network, data=data, out=folder / "led")
    plain = optimize(network, data=data, recipes=FILES, out=folder / "plain", benchmark=False)
    files = {one.recipe.name: (folder / "plain" / one.name / one.file).read_bytes() for one in plain.artifacts}
    (shipped,) = run.artifacts
    return run, race({**files, "shipped": (folder / "led" / shipped.name / shipped.file).read_bytes()})


def main() -> int:
    """Measure and write the page."""
    rows, notes, lost = [], [], False
    for name, build in NETWORKS.items():
        import_keras().utils.set_random_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            run, found = taken(build(), Path(folder))
        shown = [format_seconds(found.interval(one).value) for one in (*FILES, "shipped")]
        rows.append([name, *shown, run.artifacts[0].recipe.name])
        notes += [f"- {name}: {one}" for one in run.settled if one.reason]
        lost |= found.loses("shipped", "float32")
    OUT.write_text("\n".join([*_head(), "", "```", _table(rows), "```", "", *notes, ""]))
    print(OUT.read_text())
    return int(lost)


def _head() -> list[str]:
    tools = versions()
    return [
        "# Full int8 that loses to float32, and what is made where no recipe is named",
        "",
        f"`python benchmarks/int8_loses.py` on the build host (x86-64, {os.cpu_count()} cores, one thread), "
        f"ai-edge-litert {tools['ai-edge-litert']}, tensorflow {tools['tensorflow']}. Random weights, batch 1; medians "
        "of files that take turns in four processes.",
    ]


def _table(rows: list[list[str]]) -> str:
    return render_table(["network", "float32", "int8 as quantized", "int8 rewritten", "shipped", "its recipe"], rows)


if __name__ == "__main__":
    sys.exit(main())
