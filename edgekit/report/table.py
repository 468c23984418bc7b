"""Plain-text tables: columns aligned, numbers right, nothing drawn that does not help."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Write = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table; a column whose cells all start with a digit or a sign is right-aligned."""
    cells = [list(map(str, header)), *[list(map(str, row)) for row in rows]]
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
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    columns = range(len(header))
    rule = ["---:" if rows and all(_number(str(row[column])) for row in rows) else "---" for column in columns]
    return "\n".join("| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:]))


def _number(cell: str) -> bool:
    return cell[:1] in set("0123456789+-.") or cell == ""
