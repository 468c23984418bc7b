"""What went wrong; a shipped runner has the file of the Linux package's runner in this place."""

from edgekit.package.linux_runner.problem import DAMAGE, FAILED, INPUT, REFUSED, RUNTIME, Problem

__all__ = ["DAMAGE", "FAILED", "INPUT", "REFUSED", "RUNTIME", "Problem"]
