"""On the board: the shapes in an image, by an Edge TPU for a compiled file, by the CPU for any other.

`python3 board.py shapes_edgetpu.tflite scene.png mask.png` needs Pillow, numpy and tflite-runtime (or ai-edge-litert);
for the Edge TPU also libedgetpu. It writes the mask as an image of colours, and prints how much each class covers.
"""

import sys

import numpy as np
from PIL import Image

try:
    from tflite_runtime.interpreter import Interpreter, load_delegate
except ImportError:
    from ai_edge_litert.interpreter import Interpreter, load_delegate

COLOURS = {"background": (0, 0, 0), "disc": (230, 159, 0), "square": (86, 180, 233), "triangle": (0, 158, 115)}


def opened(path: str) -> Interpreter:
    """The interpreter of a file, with the delegate of the Edge TPU if the file is compiled for it."""
    compiled = path.endswith("_edgetpu.tflite")
    delegates = [load_delegate("libedgetpu.so.1")] if compiled else []
    interpreter = Interpreter(model_path=path, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    return interpreter


def segmented(interpreter: Interpreter, image: Image.Image) -> np.ndarray:
    """The class of each pixel `[height, width]` of a Pillow image; it is scaled to what the file takes."""
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = taken["shape"]
    pixels = np.asarray(image.convert("RGB").resize((width, height)))
    interpreter.set_tensor(taken["index"], pixels[None])
    interpreter.invoke()
    return interpreter.get_tensor(given["index"])[0].argmax(axis=-1)


def main(model: str, scene: str, result: str) -> None:
    """Read an image, write its mask."""
    mask = segmented(opened(model), Image.open(scene))
    Image.fromarray(np.array([*COLOURS.values()], np.uint8)[mask]).save(result)
    for number, name in enumerate(COLOURS):
        print(f"{name}: {(mask == number).mean():.0%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
