"""From recordings to firmware: train, quantize, package, build the C, and prove that both front ends are one.

python run.py free-spoken-digit-dataset/recordings            # everything: some minutes
python run.py free-spoken-digit-dataset/recordings --short    # fewer takes: half a minute
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from frontend import BANDS, FRAMES
from recordings import TEST_TAKES, WORDS, Array, Recording, recordings
from train import clips, heard

import edgekit

HERE = Path(__file__).parent
SHORT = ("--takes", "15", "--copies", "1", "--epochs", "15")


def run(*words: object) -> None:
    """A command, shown; ends the script with its code if it fails."""
    if shutil.which(str(words[0])) is None:
        sys.exit(f"{words[0]} is not installed\n  mend: install it, or put it on the PATH")
    print("$", *words, flush=True)
    code = subprocess.run([str(word) for word in words], check=False).returncode
    if code:
        sys.exit(code)


def packaged(out: Path) -> Path:
    """The artifact: a recipe for the board, golden vectors of real recordings, and a firmware package."""
    command = (sys.executable, "-m", "edgekit")
    data, artifact = out / "features.npz", out / "models/cortex-m7/keyword"
    options = ("-t", "cortex-m7", "-r", HERE / "recipe.toml", "--max-drop", "2%", "--no-benchmark", "--overwrite")
    run(*command, "optimize", out / "keyword.keras", "--data", data, *options, "-o", out / "models")
    (out / "words.txt").write_text("\n".join(WORDS) + "\n")
    run(
        *command,
        "vectors",
        artifact / "keyword-keyword.tflite",
        "--data",
        data,
        "-o",
        out / "golden.npz",
        "--overwrite",
    )
    words = ("--labels", out / "words.txt", "--vectors", out / "golden.npz", "-t", "cortex-m7", "--name", "keyword")
    run(*command, "package", artifact, "--for", "firmware", "-o", out / "firmware", *words)
    return artifact / "keyword-keyword.tflite"


def built(out: Path, tflm: Path | None = None) -> Path:
    """The firmware for this computer; with TensorFlow Lite Micro inside if that is given."""
    folder = out / ("spotter-tflm" if tflm else "spotter")
    options = (f"-DMODEL={(out / 'firmware').resolve()}", f"-DPython3_EXECUTABLE={sys.executable}")
    run("cmake", "-S", HERE / "firmware", "-B", folder, *options, *([f"-DTFLM={tflm.resolve()}"] if tflm else []))
    run("cmake", "--build", folder)
    return folder / "spotter"


def told(spotter: Path, samples: Array) -> bytes:
    """What the firmware says of clips `[clips, samples]`."""
    sound = samples.astype("<i2").tobytes()
    return subprocess.run([spotter.resolve()], input=sound, stdout=subprocess.PIPE, check=True).stdout


def prove(spotter: Path, model: Path, tested: list[Recording]) -> None:
    """Features of recordings in C and in Python, and what the int8 file makes of those of C."""
    ours, words = heard(tested, 0)
    theirs = np.frombuffer(told(spotter, clips(tested, 0)), np.int8).reshape(-1, FRAMES, BANDS)
    found = edgekit.infer(model, [theirs]).outputs[0].argmax(axis=1)
    print(f"{len(tested)} recordings: {np.sum(ours != theirs)} of {ours.size} features differ between C and Python")
    print(f"accuracy of the int8 file on the features of the C code: {np.mean(found == words):.4f}")
    if (ours != theirs).any():
        sys.exit("the front ends differ")


def prove_all(spotter: Path, tested: list[Recording]) -> None:
    """The words that the whole firmware says."""
    said = told(spotter, clips(tested, 0)).decode().split()
    right = [word == WORDS[one.word] for word, one in zip(said, tested, strict=True)]
    print(f"accuracy of the firmware with TensorFlow Lite Micro: {np.mean(right):.4f}")


def main() -> None:
    """Train, package, build, compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("recordings", type=Path, help="folder recordings/ of the data set, or an .npz")
    options.add_argument("-o", "--out", type=Path, default=Path("build"))
    options.add_argument("--tflm", type=Path, help="checkout of tflite-micro with its library built")
    options.add_argument("--short", action="store_true", help="fewer takes and epochs")
    given = options.parse_args()
    run(sys.executable, HERE / "train.py", given.recordings, "-o", given.out, *(SHORT if given.short else ()))
    model = packaged(given.out)
    tested = recordings(given.recordings, TEST_TAKES)
    prove(built(given.out), model, tested)
    if given.tflm:
        prove_all(built(given.out, given.tflm), tested)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
