"""Which packages are installed, without importing them."""

from __future__ import annotations

from importlib import metadata

PACKAGES = ("edgekit", "tensorflow", "keras", "litert-quantizer", "ai-edge-litert", "tflite-runtime", "numpy")

SECOND_ENGINE = ("tensorflow-model-optimization", "tf_keras")


def version(package: str) -> str | None:
    """Version of an installed package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """The installed ones of some packages, by default of those that decide what a converted file looks like."""
    return {package: found for package in packages if (found := version(package))}
