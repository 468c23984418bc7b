"""From vibration to a service on a Raspberry Pi: train, quantize, choose the threshold, package, watch a fault grow.

python run.py            # everything: a minute or two
python run.py --short    # fewer windows: half a minute
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from physics import vibration
from spectrum import Array

import edgekit

HERE = Path(__file__).parent
SHORT = ("--windows", "1500", "--epochs", "20")
PATIENCE, QUANTILE = 3, 0.98
"""Windows in a row to an alarm; and the share of sound windows below the threshold."""


def run(*words: object, **told: Any) -> None:
    """A command, shown; ends the script with its code if it fails."""
    print("$", *words, flush=True)
    code = subprocess.run([str(word) for word in words], check=False, **told).returncode
    if code:
        sys.exit(code)


def optimized(out: Path) -> Path:
    """The artifact for a Pi 4, judged by the area under the curve of its errors."""
    options = ("--task", "autoencoder", "-t", "raspberry-pi-4", "-r", HERE / "recipe.toml", "--max-drop", "0.02")
    data = ("--data", out / "bearing.npz", "--no-benchmark", "--overwrite", "-o", out / "models")
    run(sys.executable, "-m", "edgekit", "optimize", out / "bearing.keras", *options, *data)
    return out / "models/raspberry-pi-4/bearing"


def errors(artifact: Path, x: Array) -> Array:
    """Mean square of what the int8 file does not say again, `[windows]`."""
    (rebuilt,) = edgekit.infer(artifact / "bearing-bearing.tflite", [x]).outputs
    return np.mean((rebuilt - x) ** 2, axis=1)


def threshold(artifact: Path, data: Path) -> float:
    """Chosen on sound windows of the validation part, by the file that goes out; then held against the test part."""
    with np.load(data) as arrays:
        limit = float(np.quantile(errors(artifact, arrays["x_val"]), QUANTILE))
        above, faulty = errors(artifact, arrays["x_test"]) > limit, arrays["y_test"] == 1
    print(
        f"threshold {limit:.4f}: {above[~faulty].mean():.1%} false alarms, {above[faulty].mean():.1%} of faults found"
    )
    return limit


def packaged(artifact: Path, out: Path, limit: float) -> Path:
    """The package with its threshold, unpacked beside the service as on a Pi; gives that folder."""
    numbers = ("--constant", f"alarm={limit:.6g}", "--constant", f"patience={PATIENCE}")
    words = ("--for", "linux", "--name", "bearing", "-t", "raspberry-pi-4", *numbers)
    run(sys.executable, "-m", "edgekit", "package", artifact, *words, "-o", out / "package")
    with tarfile.open(next((out / "package").glob("*.tar"))) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # which the first 3.10 and 3.11 have not
        archive.extractall(out / "pi")
    board = next((out / "pi").glob("bearing-*"))
    for name in ("watch.py", "spectrum.py"):
        shutil.copy(HERE / name, board)
    return board


def growing(path: Path) -> None:
    """Twelve seconds without a fault, then twelve in which the inner race breaks up, as the sensor would send it."""
    random = np.random.default_rng(7)
    depths = np.concatenate([np.zeros(35), np.linspace(0.1, 1, 35)])
    signal = np.concatenate([vibration(random, "inner race", depth) for depth in depths])
    path.write_bytes(signal.astype("<f4").tobytes())


def main() -> None:
    """Train, optimize, package; and let the service watch."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("-o", "--out", type=Path, default=Path("build"))
    options.add_argument("--short", action="store_true", help="fewer windows and epochs")
    given = options.parse_args()
    run(sys.executable, HERE / "train.py", "-o", given.out, *(SHORT if given.short else ()))
    artifact = optimized(given.out)
    board = packaged(artifact, given.out, threshold(artifact, given.out / "bearing.npz"))
    os.chdir(board)
    run(sys.executable, "-m", "bearing", "selftest")
    growing(Path("growing.f32"))
    with open("growing.f32", "rb") as sensor:
        run(sys.executable, "watch.py", stdin=sensor)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
