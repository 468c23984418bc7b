"""Plain-text tables: columns aligned, numbers right, nothing drawn that does not help.

On a terminal that is too narrow texts are folded within their columns; where even that is too wide, each row becomes a
block of lines, one a column. So nothing is cut or lost; what is piped keeps one line a row.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from itertools import zip_longest

from edgekit.device.printable import printable
from edgekit.terminal import columns

Write = Callable[[Sequence[str], Sequence[Sequence[str]]], str]

_GAP = "  "
_PART = re.compile(r"[^-/_:.]*[-/_:.]+|[^-/_:.]+")
_LONG, _LEAST = 24, 10
"""Words, and parts of names, longer than the one are cut where there is no room; a column of text is not narrower than
the other."""


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table; a column whose cells all start with a digit or a sign is right-aligned."""
    cells = [list(map(_one_line, row)) for row in (header, *rows)]
    right = [all(_number(row[column]) for row in cells[1:]) and len(cells) > 1 for column in range(len(header))]
    room = columns(sys.stdout)
    widths = _widths(cells, right, room)
    if room is not None and _total(widths) > room:
        return _blocks(cells, room)
    lines = [_lines(row, widths, right) for row in cells]
    rule = _GAP.join("-" * width for width in widths)
    return "\n".join([*lines[0], rule, *(line for row in lines[1:] for line in row)])


def _lines(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    """A row, on as many lines as its longest cell needs."""
    folded = [_fold(cell, width) for cell, width in zip(row, widths, strict=True)]
    made = []
    for parts in zip_longest(*folded, fillvalue=""):
        cells = zip(parts, widths, right, strict=True)
        made.append(_GAP.join(part.rjust(width) if flush else part.ljust(width) for part, width, flush in cells))
    return [line.rstrip() for line in made]


def _blocks(cells: Sequence[Sequence[str]], room: int) -> str:
    """Each row as lines of a title and its cell."""
    titles = max(map(len, cells[0]))
    widths, left = (titles, max(room - titles - len(_GAP), _LEAST)), (False, False)
    blocks = (
        "\n".join(line for pair in zip(cells[0], row, strict=True) for line in _lines(pair, widths, left))
        for row in cells[1:]
    )
    return "\n\n".join(blocks)


def _fold(cell: str, width: int) -> list[str]:
    """A cell as lines: it ends a line between words, within a name behind its signs."""
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(" ".join(_pieces(word, width) for word in cell.split()), width, break_on_hyphens=False)


def _pieces(word: str, width: int) -> str:
    """A word that is too long as pieces with spaces between, each as long as fits."""
    made = [""]
    for part in _PART.findall(word) if len(word) > width else [word]:
        made += [""] if made[-1] and len(made[-1]) + len(part) > width else []
        made[-1] += part
    return " ".join(made)


def _widths(cells: Sequence[Sequence[str]], right: Sequence[bool], room: int | None) -> list[int]:
    """The width of each column: what it asks for, or less where there is not so much room."""
    by_column = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in by_column]
    if room is None:
        return widths
    for parted in (False, True):
        least = [_least(column, flush, parted) for column, flush in zip(by_column, right, strict=True)]
        widths = _squeezed(widths, least, room)
    return widths


def _squeezed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """The widest columns made narrower, none below its least, until the table fits or can give no more."""
    made = list(widths)
    while _total(made) > room:
        loose = [column for column, width in enumerate(made) if width > least[column]]
        if not loose:
            break
        made[max(loose, key=made.__getitem__)] -= 1
    return made


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _least(column: Sequence[str], flush: bool, parted: bool) -> int:
    """How narrow a column may be: numbers are never folded, of texts the longest word is not, or part of a name."""
    if flush:
        return max(len(part) for part in (*column[0].split(), *column[1:], ""))
    words = [word for cell in column for word in cell.split()]
    parts = [part for word in words for part in (_PART.findall(word) if parted else [word])]
    return min(max(map(len, parts), default=0), _LONG)


def render_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as a Markdown table."""
    cells = [[_one_line(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    columns = range(len(header))
    rule = ["---:" if rows and all(_number(str(row[column])) for row in rows) else "---" for column in columns]
    return "\n".join("| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:]))


def _one_line(cell: object) -> str:
    """A cell, in which a name of a file or a tensor can neither end the line nor drive a terminal."""
    return printable(str(cell)).replace("\n", " ")


def _number(cell: str) -> bool:
    return cell[:1] in set("0123456789+-.") or cell == ""
