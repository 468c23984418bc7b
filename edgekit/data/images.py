"""A folder of class folders of images, with or without part folders above them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.data.npz import PART_WORDS
from edgekit.data.raw import Raw, RawPart, check_memory
from edgekit.data.spec import Images
from edgekit.errors import DataError, MissingDependency, did_you_mean

Array = npt.NDArray[Any]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_LITTER = ("thumbs.db", "desktop.ini")


def load_images(root: Path, settings: Images, classes: tuple[str, ...] = ()) -> Raw:
    """Read `root/<class>/*.png` or `root/<part>/<class>/*.png` as uint8 `[samples, height, width, channels]`.

    Folders are numbered in the order of `classes`, else of their sorted names, also where no folder is called as any
    of as many classes: then these are other names for them. Files come in sorted order.
    Raises DataError naming the file that is damaged, of another size, or no image, or the folder that is not among the
    classes; MissingDependency without Pillow.
    """
    _pillow()
    folders = _folders(root)
    if folders and all(folder.name.lower() in PART_WORDS for folder in folders):
        found = {PART_WORDS[folder.name.lower()]: _folders(folder) for folder in folders}
        if len(found) < len(folders):
            raise DataError(f"{root}: two folders for one part", "keep one of val, valid and validation")
    else:
        found = {"all": folders}
    named = sorted({folder.name for each in found.values() for folder in each})
    if not named:
        raise DataError(f"{root}: no class folders", "put the images into root/<class>/ or root/train/<class>/")
    only_names = len(classes) == len(named) and not set(classes) & set(named)  # `tench` for a folder n01440764
    names = list(classes) if classes and not only_names else named
    if unknown := [name for name in named if name not in names]:
        raise DataError(f"{root}: the folder {unknown[0]!r} is not among the classes", did_you_mean(unknown[0], names))
    return Raw({part: _part(each, names, settings) for part, each in found.items()}, tuple(names))


def _part(folders: list[Path], names: list[str], settings: Images) -> RawPart:
    files = [(file, names.index(folder.name)) for folder in folders for file in _files(folder)]
    if not files:
        raise DataError(f"{folders[0].parent if folders else 'a part'}: no images", f"supported: {', '.join(SUFFIXES)}")
    first = read_image(files[0][0], settings)
    check_memory(str(folders[0].parent), first.size * len(files))
    pixels = np.empty((len(files), *first.shape), np.uint8)
    for index, (file, _) in enumerate(files):
        image = read_image(file, settings)
        if image.shape != first.shape:
            raise DataError(
                f"{file} is {image.shape[0]}x{image.shape[1]}, {files[0][0].name} is {first.shape[0]}x{first.shape[1]}",
                "give one size for all: images.size = [height, width]",
            )
        pixels[index] = image
    return RawPart({"": pixels}, {"": np.array([number for _, number in files], np.int64)})


def read_image(file: Path, settings: Images) -> Array:
    """One file as uint8 `[height, width, channels]`, turned upright as its EXIF orientation says."""
    image_module, ops = _pillow()
    mode = "RGB" if settings.color == "rgb" else "L"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            with image_module.open(file) as opened:
                if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
                    raise DataError(f"{file}: more than 8 bits a channel", "convert it to 8 bits, or use an .npz")
                image = ops.exif_transpose(opened).convert(mode)
    except (OSError, SyntaxError, ValueError, EOFError, Warning, image_module.DecompressionBombError) as cause:
        raise DataError(f"{file}: not a readable image: {cause}", "repair or remove this file") from None
    if settings.size:
        height, width = settings.size
        bilinear = image_module.Resampling.BILINEAR
        if settings.fit == "crop":
            image = ops.fit(image, (width, height), bilinear)
        else:
            image = image.resize((width, height), bilinear)
    pixels = np.asarray(image, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _folders(root: Path) -> list[Path]:
    """Sub-folders, sorted; anything else next to them is an error, because it would be left out unseen."""
    entries = _entries(root)
    if entries and all(entry.is_file() and entry.suffix.lower() in SUFFIXES for entry in entries):
        raise DataError(
            f"{root}: images, and no folders of classes", f"give the folder above, {root.absolute().parent}"
        )
    if stray := [entry for entry in entries if not entry.is_dir()]:
        raise DataError(f"{stray[0]}: not a folder of images", "keep only class folders (or part folders) here")
    return entries


def _files(folder: Path) -> list[Path]:
    entries = _entries(folder)
    for entry in entries:
        if not entry.is_file():
            what = "a folder" if entry.is_dir() else "a broken or endless link"
            raise DataError(f"{entry}: {what} where images should be", "class folders hold images only")
        if entry.suffix.lower() not in SUFFIXES:
            raise DataError(f"{entry}: not a supported image", f"remove it; supported: {', '.join(SUFFIXES)}")
    return entries


def _entries(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as cause:
        raise DataError(f"{folder}: {cause.strerror}", "check the folder and its permissions") from None
    return [entry for entry in found if not entry.name.startswith(".") and entry.name.lower() not in _LITTER]


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingDependency("reading images needs Pillow", "pip install 'edgekit[images]'") from None
    return Image, ImageOps
