"""Which packages are installed, without importing them."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

PACKAGES = ("edgekit", "tensorflow", "keras", "litert-quantizer", "ai-edge-litert", "tflite-runtime", "numpy")

SECOND_ENGINE = ("tensorflow-model-optimization", "tf_keras")


def version(package: str) -> str | None:
    """Version of an installed package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_newer(release: str) -> bool:
    """Whether a release of edgekit is later than the one that is installed."""
    return numbers(release) > numbers(version("edgekit") or "")


def numbers(release: str) -> list[int]:
    """The numbers in the name of a release, by which releases are in order."""
    return [int(number) for number in re.findall(r"\d{1,9}", release)]


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """The installed ones of some packages, by default of those that decide what a converted file looks like."""
    return {package: found for package in packages if (found := version(package))}


def install_folders(packages: tuple[str, ...]) -> tuple[Path, ...]:
    """Folders whose time changes when another version of one of these packages is installed, or any other package.

    They stay, where the files that say a version go with it: CMake's Makefiles never forget what a build depended on.
    """
    found = (Path(str(metadata.distribution(package).locate_file(""))) for package in versions(packages))
    return tuple(dict.fromkeys(path.resolve() for path in found))
