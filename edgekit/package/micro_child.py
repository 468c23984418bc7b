"""Run a file in TensorFlow Lite Micro, in a process of its own: `python -m edgekit.package.micro_child FOLDER`.

The folder holds `model.tflite` and `input0.npy`, ... (`[vectors, elements]`); `output0.npy`, ... are written to it.
`sizes` has the number of outputs and the bytes of an arena that is large enough.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(folder: Path) -> None:
    """Run the vectors in their order."""
    from tflite_micro.python.tflite_micro import runtime

    outputs, arena_bytes = map(int, (folder / "sizes").read_text().split())
    interpreter = runtime.Interpreter.from_file(str(folder / "model.tflite"), arena_size=arena_bytes)
    inputs = [np.load(folder / f"input{place}.npy") for place in range(len([*folder.glob("input*.npy")]))]
    found: list[list[object]] = [[] for _ in range(outputs)]
    for vector in range(len(inputs[0])):
        for place, values in enumerate(inputs):
            interpreter.set_input(values[vector].reshape(interpreter.get_input_details(place)["shape"]), place)
        interpreter.invoke()
        for place, rows in enumerate(found):
            rows.append(np.array(interpreter.get_output(place)).ravel())
    for place, rows in enumerate(found):
        np.save(folder / f"output{place}.npy", np.array(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
