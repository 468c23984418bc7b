"""Python values as C source that C99 and C++11 compilers take without a warning."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

_WIDTH = 100
_HEADERS = frozenset(
    {
        *("alloca", "assert", "complex", "ctype", "endian", "errno", "fcntl", "features", "fenv", "float", "glob"),
        *("inttypes", "iso646", "limits", "locale", "malloc", "math", "memory", "newlib", "picolibc", "poll"),
        *("pthread", "reent", "regex", "sched", "search", "setjmp", "signal", "stdalign", "stdarg", "stdatomic"),
        *("stdbool", "stddef", "stdint", "stdio", "stdlib", "stdnoreturn", "string", "strings", "tgmath", "threads"),
        *("time", "uchar", "unistd", "wchar", "wctype"),
    }
)

C_TYPES = {
    **{name: f"{name}_t" for name in ("int8", "uint8", "int16", "int32", "int64")},
    "float32": "float",
    "bool": "uint8_t",
}


def identifier(words: str) -> str:
    """The nearest beginning of names that C and C++ leave to the user: ASCII, underscores inside and single.

    A file `NAME.h` in the search path hides no header of the standard library.
    """
    name = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_")
    name = f"model_{name}".rstrip("_") if not name or name[0].isdigit() else name
    return f"{name}_model" if name.lower() in _HEADERS else name


def string(text: str) -> str:
    r"""A string literal of the UTF-8 bytes; what is not plain ASCII, and `?` (trigraphs), in octal.

    >>> string('a"b?')
    '"a\\"b\\077"'
    """
    return '"' + "".join(_character(byte) for byte in text.encode()) + '"'


def comment(text: str) -> str:
    """A text that may stand in a comment: printable ASCII on one line, without the signs that begin or end one."""
    plain = "".join(sign if " " <= sign <= "~" else "?" for sign in text)
    return re.sub(r"/(?=\*)|\*(?=/)", lambda found: found[0] + " ", plain)


def number(value: int | float) -> str:
    """A literal of an integer of at most 64 bits, or of a float32.

    >>> number(2.0), number(1e-10), number(-128), number(-(2**63))
    ('2.0f', '1e-10f', '-128', '(-9223372036854775807LL - 1)')
    """
    if isinstance(value, int):
        if value == -(2**63):
            return f"(-{2**63 - 1}LL - 1)"
        return f"{value}LL" if abs(value) >= 2**31 else str(value)
    if not math.isfinite(value):
        raise ValueError(f"{value} has no literal")
    digits = f"{value:.9g}"
    return digits + ("f" if {"e", "."} & {*digits} else ".0f")


def byte_lines(data: bytes) -> str:
    """The elements of a `uint8_t` array, 16 to a line."""
    pairs = data.hex(",").split(",") if data else []
    lines = (pairs[start : start + 16] for start in range(0, len(pairs), 16))
    return ",\n".join("    " + ", ".join(f"0x{pair}" for pair in line) for line in lines)


def number_lines(values: Iterable[int | float]) -> str:
    """The elements of an array of numbers, wrapped."""
    return _wrapped([number(value) for value in values])


def _wrapped(words: Sequence[str]) -> str:
    lines, line = [], "   "
    for place, word in enumerate(words):
        piece = f" {word}" + ("," if place + 1 < len(words) else "")
        if len(line) + len(piece) > _WIDTH:
            lines.append(line)
            line = "   "
        line += piece
    return "\n".join([*lines, line])


def _character(byte: int) -> str:
    sign = chr(byte)
    if sign in '"\\':
        return f"\\{sign}"
    return sign if " " <= sign <= "~" and sign != "?" else f"\\{byte:03o}"
