"""Models in: every supported file or reference becomes one `Model`."""

from edgekit.model.load import load_model
from edgekit.model.loaded import Model, TensorSpec

__all__ = ["Model", "TensorSpec", "load_model"]
