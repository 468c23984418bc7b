"""Plain-text tables: columns aligned, numbers right, nothing drawn that does not help."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.device.printable import printable

Write = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table; a column whose cells all start with a digit or a sign is right-aligned."""
    cells = [list(map(_one_line, row)) for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [all(_number(row[column]) for row in cells[1:]) and len(cells) > 1 for column in range(len(header))]

    def line(row: list[str]) -> str:
        parts = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(cells[0]), line(["-" * width for width in widths]), *map(line, cells[1:])])


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
