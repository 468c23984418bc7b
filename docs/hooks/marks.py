"""Markdown from docstrings and values."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CODE = re.compile(r"(`[^`]*`)")


def prose(text: str, signs: str = "<*") -> str:
    """Text of a docstring, with the signs that HTML and Markdown would take for theirs made plain outside of code."""
    plain = {ord(sign): f"&#{ord(sign)};" for sign in signs}
    return "".join(part if index % 2 else part.translate(plain) for index, part in enumerate(_CODE.split(text)))


def cell(text: str) -> str:
    """The text as one cell of a table."""
    return " ".join(prose(text).split()).replace("|", "\\|")


def code(text: object) -> str:
    """A code span that may stand in a table, or nothing for nothing."""
    return f"`{text}`".replace("|", "\\|") if text != "" else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; its rows are lists of cells."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def slug(text: str, longest: int = 60) -> str:
    """An anchor made of the words of a text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].rstrip("-")
