"""A Python program that runs one file of a run as it has to be run, to be copied out of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.artifact import DataRecord, Manifest
    from edgekit.dataset import Preprocessing

_IMPORTS = {
    "ai-edge-litert": "from ai_edge_litert.interpreter import Interpreter  # pip install ai-edge-litert",
    "tflite-runtime": "from tflite_runtime.interpreter import Interpreter  # pip install tflite-runtime 'numpy<2'",
}

_STORE_AND_READ = '''
def to_stored(x, detail):
    """Real values as the file stores them."""
    scale, zero_point = detail["quantization"]
    if not scale:
        return x.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(x / scale) + zero_point, limits.min, limits.max).astype(detail["dtype"])


def to_real(stored, detail):
    """Stored values as real ones."""
    scale, zero_point = detail["quantization"]
    return (stored.astype(np.float32) - zero_point) * np.float32(scale) if scale else stored

'''

_RUN = '''
def run(*samples):
    """Outputs for one raw sample for each input."""
    for detail, sample in zip(inputs, samples):
        x = prepare(sample) if takes_real(detail) else np.asarray(sample)
        interpreter.set_tensor(detail["index"], to_stored(x, detail).reshape(detail["shape"]))
    interpreter.invoke()
    return [to_real(interpreter.get_tensor(detail["index"]), detail) for detail in outputs]
'''


def snippet(manifest: Manifest) -> str:
    """Python source that needs numpy and a runtime; `run(sample)` in it gives the outputs as real values."""
    runtime = manifest.verification.runtime.partition(" ")[0] if manifest.verification else ""  # without its version
    head = [
        "import numpy as np",
        _IMPORTS.get(runtime, _IMPORTS["ai-edge-litert"]),
        "",
        f"interpreter = Interpreter({manifest.file!r})",
        "interpreter.allocate_tensors()",
        "inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()",
        *_classes(manifest.data),
        "",
        "",
        *_prepare(manifest),
        "",
        "",
        "def takes_real(detail):",
        '    """Integers without a scale are indices: they go in as they are."""',
        '    return detail["quantization"][0] or detail["dtype"] == np.float32',
        "",
    ]
    return "\n".join(head) + _STORE_AND_READ + _RUN


def _classes(data: DataRecord | None) -> list[str]:
    """The names of the outputs, where there are few enough to read."""
    return [f"classes = {list(data.class_names)!r}"] if data and 0 < len(data.class_names) <= 20 else []


def _prepare(manifest: Manifest) -> list[str]:
    lines = ["def prepare(sample):", '    """What the model was trained on, from a raw sample."""']
    lines.append("    x = np.asarray(sample, np.float32)")
    if manifest.data:
        lines += _preprocessing(manifest.data.preprocessing, manifest)
    return [*lines, "    return x"]


def _preprocessing(found: Preprocessing, manifest: Manifest) -> list[str]:
    lines = []
    if found.layout == "channels_first" and len(manifest.inputs[0].shape) > 2:
        batched = manifest.recipe.convert.batch > 1
        lines.append(f"    x = np.moveaxis(x, {1 if batched else 0}, -1)  # channels last")
    if found.mean:
        lines.append(f"    x = x - np.float32({_numbers(found.mean)})")
    if found.scale:
        lines.append(f"    x = x * np.float32({_numbers(found.scale)})")
    return lines


def _numbers(values: tuple[float, ...]) -> str:
    return repr(values[0]) if len(values) == 1 else repr(list(values))
