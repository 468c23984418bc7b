"""What Keras and TensorFlow say when they refuse something, in one line."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_AT_NODE = re.compile(r"([^\n]+)\n\s*\[\[\{\{")
_MOST = 500


def line_of(cause: BaseException) -> str:
    """The words of an exception in one line, or its type where it has none.

    What Keras writes around the innermost cause is left out: whole configurations, and lists of arguments; and so is
    where in a graph TensorFlow met it.
    """
    if found := _AT_NODE.search(str(cause)):
        return found[1].strip()[:_MOST]
    innermost = _COLOUR.sub("", str(cause)).rpartition("\n\nException encountered: ")[2]
    words = innermost.partition("\n\nArguments received by")[0].split()
    return " ".join(words)[:_MOST] or type(cause).__name__
