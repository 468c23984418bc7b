"""From files to what the model takes, and from what it gives to real numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .contract import Tensor, Variant
from .problem import DAMAGE, INPUT, RUNTIME, Problem

Array = Any
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MOST_CLIPPED = 0.5


def read(path: Path, variant: Variant, raw: bool, warn: Callable[[str], None]) -> list[Array]:
    """The samples of a file as the model stores them, one array `[samples, ...]` an input.

    An image is stretched to the model's size; an .npz has one array for each input, by name. All is raw data that the
    recorded preprocessing is done to, unless `raw` says that it is as the model takes it. Raises Problem.
    """
    if path.suffix.lower() in IMAGES:
        return [_stored(_image(path, variant), variant, 0, raw, True, path, warn)]
    return _together(_arrays(path, variant), variant, raw, path, warn)


def prepared(arrays: Sequence[Array], variant: Variant, warn: Callable[[str], None]) -> list[Array]:
    """Raw samples in memory, one array an input, as the model stores them: `[samples, ...]`. Raises Problem."""
    if len(arrays) != len(variant.inputs):
        names = [tensor.name for tensor in variant.inputs]
        raise Problem(f"{len(arrays)} arrays for the inputs {names}", "give one array for each", INPUT)
    return _together([np.asarray(array) for array in arrays], variant, False, Path("samples"), warn)


def real(stored: Array, tensor: Tensor) -> Array:
    """Real numbers of an output; one without a scale is as it is."""
    if tensor.scale is None:
        return stored
    return ((stored.astype(np.float32) - (tensor.zero_point or 0)) * tensor.scale).astype(np.float32)


def errors(stored: Sequence[Array], outputs: Sequence[Array], variant: Variant) -> list[float]:
    """How badly an autoencoder rebuilt each sample: mean square, of what went in as it was stored; else nothing."""
    if variant.task != "autoencoder" or stored[0].shape != outputs[0].shape:
        return []
    gap = outputs[0].astype(np.float64) - real(stored[0], variant.inputs[0])
    found: list[float] = np.mean(gap.reshape(len(gap), -1) ** 2, axis=1).tolist()
    return found


def _together(
    arrays: Sequence[Array], variant: Variant, raw: bool, path: Path, warn: Callable[[str], None]
) -> list[Array]:
    found = [_stored(array, variant, place, raw, False, path, warn) for place, array in enumerate(arrays)]
    if len({len(array) for array in found}) > 1:
        raise _wrong(path, f"its arrays have {[len(array) for array in found]} samples", "give as many of each")
    return found


def _arrays(path: Path, variant: Variant) -> list[Array]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"": loaded}
        else:
            with loaded:
                arrays = {name: loaded[name] for name in loaded.files}
    except DAMAGE as cause:
        raise _wrong(path, f"not readable: {cause}", f"give .npy, .npz, or an image ({', '.join(IMAGES)})") from None
    names = [tensor.name for tensor in variant.inputs]
    if len(names) == len(arrays) == 1:
        return list(arrays.values())
    if set(names) != set(arrays):
        raise _wrong(path, f"it has {sorted(arrays)}", f"give an .npz with one array for each of {names}")
    return [arrays[name] for name in names]


def _image(path: Path, variant: Variant) -> Array:
    """`[height, width, channels]`, 8 bits, upright as its EXIF orientation says."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise Problem(f"{path}: images need Pillow", "sudo apt install python3-pil", RUNTIME) from None
    shapes = [tensor.shape for tensor in variant.inputs]
    shape = shapes[0] if len(shapes) == 1 else ()
    if len(shape) != 4 or shape[3] not in (1, 3) or min(shape[1:]) < 1:
        raise _wrong(path, f"the model takes {shapes}, no image", "give an .npy or .npz")
    try:
        with Image.open(path) as opened:
            if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
                raise _wrong(path, "more than 8 bits a channel", "convert it to 8 bits, or give an .npy")
            image = ImageOps.exif_transpose(opened).convert("RGB" if shape[3] == 3 else "L")
    except (*DAMAGE, Image.DecompressionBombError) as cause:
        raise _wrong(path, f"not a readable image: {cause}", "give another file") from None
    image = image.resize((shape[2], shape[1]), Image.BILINEAR)  # type: ignore[attr-defined]
    return np.asarray(image, np.uint8).reshape(shape[1:])


def _stored(
    x: Array, variant: Variant, place: int, raw: bool, image: bool, path: Path, warn: Callable[[str], None]
) -> Array:
    tensor = variant.inputs[place]
    if x.dtype.kind not in "biuf" or (x.dtype.kind == "f" and not np.isfinite(x).all()):
        raise _wrong(path, f"values of type {x.dtype}, or not finite", "give finite numbers")
    if raw:
        if x.dtype != np.dtype(tensor.dtype):
            raise _wrong(path, f"values of type {x.dtype}", f"with --raw give {tensor.dtype}")
        return _samples(x, tensor.shape, path)
    if tensor.scale is None and np.dtype(tensor.dtype).kind != "f":  # places in a table, or flags
        return quantized(_samples(x, tensor.shape, path), tensor, path.name, warn)
    first = variant.channels_first and not image and len(tensor.shape) > 2
    x = _samples(x, _moved(tensor.shape) if first else tensor.shape, path)
    return quantized(_prepared(x, variant, first), tensor, path.name, warn)


def _moved(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of raw data that has its channels first."""
    return (shape[0], shape[-1], *shape[1:-1])


def _samples(x: Array, shape: tuple[int, ...], path: Path) -> Array:
    """`[samples, ...]` of one sample, or of several; a size of -1 fits any.

    A sample may be a whole tensor, or lack a last axis of one, which it gets.
    """
    ways = [(x, shape[1:]), (x, shape)]
    if len(shape) > 2 and shape[-1] == 1:
        ways.append((x[..., np.newaxis], shape[1:]))
    for array, sample in ways:
        for several in (array, array[np.newaxis]):
            fits = several.ndim == len(sample) + 1 and len(several)
            if fits and all(size in (-1, found) for size, found in zip(sample, several.shape[1:])):
                return several
    wanted = ", ".join(map(str, shape[1:]))
    raise _wrong(path, f"shape {list(x.shape)}", f"give [{wanted}], or [n, {wanted}] for n samples")


def _prepared(x: Array, variant: Variant, channels_first: bool) -> Array:
    """`(x - mean) * scale` by channel, then channels last."""
    x = np.moveaxis(x, 1, -1) if channels_first else x
    channels = max(len(variant.mean), len(variant.scale), 1)
    flat = x.astype(np.float32).reshape(-1, channels)  # the data may have been without a last axis of one
    if variant.mean:
        flat = flat - np.asarray(variant.mean, np.float32)
    if variant.scale:
        flat = flat * np.asarray(variant.scale, np.float32)
    return flat.reshape(x.shape)


def quantized(x: Array, tensor: Tensor, name: str, warn: Callable[[str], None]) -> Array:
    """Real values as the tensor stores them: rounded and clipped where it has a scale."""
    if tensor.scale is None:
        if np.dtype(tensor.dtype).kind in "iub" and (x != np.round(x)).any():
            raise Problem(f"{name}: {tensor.name!r} takes whole numbers", "give whole numbers", INPUT)
        return np.ascontiguousarray(x.astype(tensor.dtype))
    limits = np.iinfo(tensor.dtype)
    stored = np.round(x / tensor.scale) + (tensor.zero_point or 0)
    beyond = np.mean((stored < limits.min) | (stored > limits.max))
    if beyond > _MOST_CLIPPED:
        low, high = ((limit - (tensor.zero_point or 0)) * tensor.scale for limit in (limits.min, limits.max))
        warn(
            f"warning: {name}: {beyond:.0%} of the values are beyond the {low:.4g} to {high:.4g} that the model takes"
            "\n  mend: package it with its preprocessing, or give --raw if these are stored values"
        )
    return np.clip(stored, limits.min, limits.max).astype(tensor.dtype)


def _wrong(path: Path, problem: str, mend: str) -> Problem:
    return Problem(f"{path}: {problem}", mend, INPUT)
