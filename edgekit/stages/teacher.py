"""Teacher: a network that is run once over a data set; what it said is kept on disk under a digest of its causes.

It gives its outputs and, for each hint, features or attention maps in the size of the student's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.data.parts import Part
from edgekit.errors import RecipeError, did_you_mean
from edgekit.graph.rebuild import fresh, per_operation, rebuild
from edgekit.graph.walk import tensors, walk
from edgekit.model.live import digest
from edgekit.stages import losses
from edgekit.stages.soft_losses import attention_map
from edgekit.talk import Say
from edgekit.tf import import_keras, import_tensorflow
from edgekit.units import format_bytes

Array = npt.NDArray[Any]

_BATCH = 64
_MOST_BYTES = 16 * 2**30
_ZEROS = 2**20


@dataclass(frozen=True)
class Look:
    """Something inside the teacher that is wanted: a layer's output, as it is or as an attention map, and its size.

    `size` is the height and width that the student has there; empty for features without an image.
    """

    layer: str
    attention: bool
    size: tuple[int, ...]


def answers(
    model: Any, part: Part, looks: Sequence[Look] = (), *, folder: Path | None = None, say: Say = lambda _: None
) -> tuple[Array, ...]:
    """Outputs of the teacher for all samples, then one array for each look; read from `folder` where they are known.

    Raises RecipeError for a layer that does not exist, and where the arrays would not fit on a disk.
    """
    if folder is None:
        return tuple(np.concatenate(arrays) for arrays in zip(*_run(model, part, looks), strict=True))
    key = _key(model, part, looks)
    paths = [folder / f"{key}.{index}.npy" for index in range(len(model.outputs) + len(looks))]
    if all(path.exists() for path in paths):
        say(f"what {model.name} says about the {part.name} part: kept from before")
    else:
        say(f"what {model.name} says about the {part.name} part: {len(part)} samples to run")
        _store(paths, _run(model, part, looks), len(part))
    return tuple(np.load(path, mmap_mode="r") for path in paths)


def with_features(model: Any, layers: Sequence[str], make: Any) -> Any:
    """The model with the outputs of some layers behind its own; `make` is how each call is rebuilt.

    Raises RecipeError naming the layer where it does not exist or is called several times.
    """
    graph = walk(model)
    found = []
    for layer in layers:
        calls = graph.calls_of(layer)
        if len(calls) != 1 or len(calls[0].results) != 1:
            problem = f"is called {len(calls)} times" if calls else "does not exist"
            raise RecipeError(f"hints: layer {layer!r} of {model.name!r} {problem}", did_you_mean(layer, graph.layers))
        found.append(calls[0].results[0])
    return rebuild(graph, make, outputs=[*tensors(graph.outputs), *found])


def _run(model: Any, part: Part, looks: Sequence[Look]) -> Any:
    """Batches of arrays: the outputs, then the looks."""
    tf = import_tensorflow()
    network = with_features(model, [look.layer for look in looks], per_operation(fresh)) if looks else model
    count = len(model.outputs)

    def run(inputs: list[Any]) -> list[Any]:
        found = losses.call(network, inputs, training=False)
        seen = [_seen(features, look) for features, look in zip(found[count:], looks, strict=True)]
        return [*found[:count], *seen]

    compiled = tf.function(run, reduce_retracing=True, autograph=False)
    for inputs in part.batches(_BATCH):
        yield [output.numpy() for output in compiled([tf.convert_to_tensor(x) for x in inputs])]


def _seen(features: Any, look: Look) -> Any:
    if len(look.size) == 2 and len(features.shape) == 4 and tuple(features.shape[1:-1]) != look.size:
        features = import_keras().ops.image.resize(features, look.size, antialias=True)
    return attention_map(features) if look.attention else features


def _store(paths: list[Path], batches: Any, samples: int) -> None:
    """Write batch by batch, and give the files their names when all is there."""
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    partial = [path.with_name(f"{path.name}.{os.getpid()}.partial") for path in paths]
    try:
        files: list[Any] = []
        row = 0
        for batch in batches:
            if not files:
                _refuse_huge(batch, samples)
                files = [_file(path, samples, array) for path, array in zip(partial, batch, strict=True)]
            for file, array in zip(files, batch, strict=True):
                file[row : row + len(array)] = array
            row += len(batch[0])
        for file, temporary, path in zip(files, partial, paths, strict=True):
            file.flush()
            temporary.replace(path)
    finally:
        for temporary in partial:
            temporary.unlink(missing_ok=True)


def _file(path: Path, samples: int, array: Array) -> Any:
    file = np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=(samples, *array.shape[1:]))
    with path.open(
        "rb+"
    ) as stream:  # a full disk is an error here; writing to the map of a hole would kill the process
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        else:  # macOS
            stream.seek(file.offset)
            for start in range(0, file.nbytes, _ZEROS):
                stream.write(bytes(min(_ZEROS, file.nbytes - start)))
    return file


def _refuse_huge(batch: list[Array], samples: int) -> None:
    size = sum(array.nbytes // len(array) for array in batch) * samples
    if size > _MOST_BYTES:
        raise RecipeError(
            f"what the teacher says takes {format_bytes(size)} on disk",
            'use hints of kind = "attention" (a map a sample instead of every channel), or fewer samples',
        )


def _key(model: Any, part: Part, looks: Sequence[Look]) -> str:
    sha = hashlib.sha256(repr((digest(model), part.preprocessing, part.input_types, tuple(looks))).encode())
    for x in part.inputs:
        sha.update(repr((x.shape, x.dtype.str)).encode())
        sha.update(np.ascontiguousarray(x).data)
    return sha.hexdigest()[:40]
