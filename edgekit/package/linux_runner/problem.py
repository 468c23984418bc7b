"""What went wrong and what to do about it, and the exit code that says who must act."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib

FAILED, INPUT, RUNTIME, REFUSED = 1, 3, 4, 5
DAMAGE = (
    *(OSError, ValueError, EOFError, RuntimeError, SyntaxError, TypeError, OverflowError, MemoryError),
    *(struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What a damaged .npy, .npz or image makes its readers raise."""


class Problem(Exception):  # noqa: N818 - it is told to the user as it is
    """`code` is FAILED (not what was packaged), INPUT, RUNTIME (to be installed) or REFUSED (by the runtime)."""

    def __init__(self, problem: str, mend: str, code: int) -> None:
        super().__init__(problem)
        self.problem, self.mend, self.code = problem, mend, code

    def __str__(self) -> str:
        return f"{self.problem}\n  mend: {self.mend}"
