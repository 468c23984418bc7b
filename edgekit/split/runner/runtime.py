"""The TFLite runtime of this Python; a shipped runner has the file of the Linux package's runner in this place."""

from edgekit.package.linux_runner.runtime import Runtime, enter_environment, numpy_version, open_runtime

__all__ = ["Runtime", "enter_environment", "numpy_version", "open_runtime"]
