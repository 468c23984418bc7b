"""The main job, end to end: train a small network on scikit-learn's digits, take it to three kinds of device.

Run it with `make demo`. It needs no network: the digits ship with scikit-learn.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

TARGETS = ("raspberry-pi-4", "coral-usb", "android-arm64")


def digits(folder: Path) -> Path:
    """Write scikit-learn's 1,797 handwritten digits, 8x8 pixels of 0..16, as an .npz with a fixed test part."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order].reshape(-1, 8, 8, 1).astype(np.float32), labels[order]
    path = folder / "digits.npz"
    np.savez(path, x_train=images[:1200], y_train=labels[:1200], x_test=images[1200:], y_test=labels[1200:])
    return path


def trained(data: Path, folder: Path) -> Path:
    """Train a small convolutional network; the scaling of the pixels is inside the model."""
    from edgekit.tf import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Rescaling(1 / 16),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(64, 3, padding="same", strides=2, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.SeparableConv2D(64, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(64, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    with np.load(data) as arrays:
        model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(arrays["x_train"], arrays["y_train"], epochs=25, batch_size=64, verbose=0)
    path = folder / "digits.keras"
    model.save(path)
    return path


def main() -> None:
    """Make data and model, then call edgekit as a user would."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("demo-output"))
    out = options.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    started = time.monotonic()
    data = digits(out)
    model = trained(data, out)
    print(f"trained {model} in {time.monotonic() - started:.0f} s", flush=True)
    command = ["optimize", str(model), "--data", str(data), "--max-drop", "2%", "--out", str(out / "result")]
    for target in TARGETS:
        command += ["--target", target]
    print("$ edgekit", *command, flush=True)
    done = subprocess.run([sys.executable, "-m", "edgekit", *command], check=False)
    print(f"{time.monotonic() - started:.0f} s in all")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
