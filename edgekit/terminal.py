"""The terminal that hears us: how wide it is, whether it can be rewritten, and text folded to its width.

What is piped has no width: nothing is folded or cut there, so that programs get whole lines.
"""

from __future__ import annotations

import os
import re
import textwrap
from typing import IO, Any

_CODE = re.compile(r"\x1b\[[0-9;]*m")
_QUOTED = re.compile(r"`[^`\n]*`")
_GAP = re.compile(r"(?<=\S)  +(?=\S)")
_KEPT = "\ue000"
"""Stands for a space at which no line may end."""


def columns(stream: IO[Any]) -> int | None:
    """Width of the terminal behind a stream, which COLUMNS overrules; None where there is no terminal."""
    if not stream.isatty():
        return None
    said = os.environ.get("COLUMNS", "")
    if said.isdigit() and int(said) > 0:
        return int(said)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def rewritable(stream: IO[Any]) -> bool:
    """Whether a line there can be replaced by the next one."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def colourless() -> bool:
    """Whether colours are not wanted (https://no-color.org), or not understood."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def fold(text: str, width: int | None) -> str:
    """Lines no longer than `width`, further ones below what is said first; `commands` and rows of tables stay whole."""
    return text if width is None else "\n".join(_folded(line, max(width, 20)) for line in text.split("\n"))


def _folded(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip(" ")))
    gaps = [found.end() for found in _GAP.finditer(line)]
    if len(_CODE.sub("", line)) <= width or len(gaps) > 1:
        return line
    further = " " * gaps[0] if gaps and gaps[0] <= width // 2 else f"{indent}  "
    kept = _QUOTED.sub(lambda found: found[0].replace(" ", _KEPT), line)
    made = textwrap.wrap(kept, width, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
    return "\n".join(made).replace(_KEPT, " ")
