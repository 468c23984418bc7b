"""CSV: one row a sample, or time series as windows over rows or as one recording for each id."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.data.npz import PART_WORDS
from edgekit.data.raw import CSV_SUFFIXES, Raw, RawPart
from edgekit.data.spec import Csv
from edgekit.errors import DataError, did_you_mean

Array = npt.NDArray[Any]

_DELIMITERS = ",;\t|"
_KINDS: tuple[tuple[Callable[[str], float], type], ...] = ((int, np.int64), (float, np.float64))
_BLOCK = 4  # windows that overlap are kept together in blocks of this many windows' rows


def load_csv(path: Path, settings: Csv, *, labelled: bool) -> Raw:
    """Read a file, or a folder with train.csv, test.csv ...

    Without `labelled` every column is an input, unless a label column is named. Columns of several files go by name, in
    the order of the training part, and labels are text in all of them if they are in one. Raises DataError naming
    column and line for cells that are no numbers, for rows of another length, and for files of unlike columns.
    """
    tables = {part: _read(file, settings) for part, file in _files(path).items()}
    labels = {part: _label(table, settings, labelled) for part, table in tables.items()}
    text = any(tables[part].is_text(label) for part, label in labels.items() if label)
    features = {part: _features(table, settings, labels[part]) for part, table in tables.items()}
    first = "train" if "train" in tables else next(iter(tables), "")  # a model knows the order that it was trained in
    for part, table in tables.items():
        if set(features[part]) != set(features[first]):
            raise DataError(
                f"{table.path} has the inputs {', '.join(features[part])}, {tables[first].path.name} has "
                f"{', '.join(features[first])}",
                "give every file the same columns, or leave some out: csv.ignore = [...]",
            )
    return Raw({part: _part(tables.pop(part), settings, features[first], labels[part], text) for part in labels})


def _files(path: Path) -> dict[str, Path]:
    """The file of each part; one that is no folder has all samples."""
    if not path.is_dir():
        return {"all": path}
    found: dict[str, Path] = {}
    for file in sorted(file for file in path.iterdir() if not file.name.startswith(".")):
        part = PART_WORDS.get(file.stem.lower(), "") if file.suffix.lower() in CSV_SUFFIXES else ""
        if not part or part in found:
            raise DataError(
                f"{file}: not the file of a part",
                "name the files train.csv, validation.csv, test.csv ..., and keep others elsewhere",
            )
        found[part] = file
    return found


@dataclass(frozen=True)
class _Table:
    """Cells by column, as text, and the line number of each row."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def find(self, name: str) -> str:
        """The column of this name, or of this number counted from 0."""
        if name in self.columns:
            return name
        if re.fullmatch("[0-9]{1,9}", name) and int(name) < len(self.columns):
            return list(self.columns)[int(name)]
        raise DataError(f"{self.path}: no column {name!r}", did_you_mean(name, self.columns))

    def numbers(self, names: list[str]) -> Array:
        """Columns as `[rows, columns]`, int64 if all are written as whole numbers, else float32."""
        table = np.stack([self._numbers(name) for name in names], axis=1)
        with np.errstate(over="ignore"):
            return table if table.dtype.kind == "i" else table.astype(np.float32)

    def is_text(self, name: str) -> bool:
        """Whether a column has other words than numbers."""
        cells = set(self.columns[name])
        return "" not in cells and not all(map(_is_number, cells))

    def labels(self, name: str, text: bool) -> Array:
        """A column as text, in which no cell is empty, or as numbers."""
        cells = self.columns[name]
        return np.array(cells) if text and "" not in cells else self._numbers(name)

    def _numbers(self, name: str) -> Array:
        cells = self.columns[name]
        for read, kind in _KINDS if all("_" not in cell for cell in cells) else ():
            try:
                return np.array([read(cell) for cell in cells], kind)
            except (ValueError, OverflowError):
                continue
        row = next(index for index, cell in enumerate(cells) if not _is_number(cell))
        raise DataError(
            f"{self.path}:{self.lines[row]}: column {name!r} is {repr(cells[row]) if cells[row] else 'empty'}, "
            "not a number",
            f"make it a number, or drop the column: csv.ignore = [{name!r}]; if line 1 is names: csv.header = 'yes'",
        )


def _special(table: _Table, settings: Csv) -> dict[str, str]:
    return {key: table.find(name) for key in ("id", "group") if (name := getattr(settings, key))}


def _ignored(table: _Table, settings: Csv) -> set[str]:
    return {*map(table.find, settings.ignore), *_special(table, settings).values()}


def _label(table: _Table, settings: Csv, labelled: bool) -> str:
    """The column of the labels; empty where there is none."""
    if settings.label:
        return table.find(settings.label)
    ignored = _ignored(table, settings)
    return next((name for name in reversed(table.columns) if name not in ignored), "") if labelled else ""


def _features(table: _Table, settings: Csv, label: str) -> list[str]:
    left_out = {*_ignored(table, settings), label}
    features = [name for name in table.columns if name not in left_out]
    if not features:
        raise DataError(f"{table.path}: no column is left for the inputs", "name the label with csv.label")
    return features


def _part(table: _Table, settings: Csv, features: list[str], label: str, text: bool) -> RawPart:
    special, path = _special(table, settings), table.path
    x, y = table.numbers(features), table.labels(label, text) if label else None
    groups = np.array(table.columns[special["group"]]) if "group" in special else None
    if not settings.window and "id" not in special:
        return RawPart({"": x}, {} if y is None else {"": y}, groups)
    recordings = _recordings(table, special.get("id") or special.get("group"))
    if settings.window:
        samples, blocks = _windows(recordings, settings, path)
    else:
        samples, blocks = _whole(recordings, y, path), np.arange(len(recordings))
    last = samples[:, -1]
    groups = blocks if groups is None else groups[last]
    return RawPart({"": x[samples]}, {} if y is None else {"": y[last]}, groups)


def _recordings(table: _Table, column: str | None) -> dict[str, Array]:
    """Row numbers of each recording, in the order of the file."""
    if column is None:
        return {"": np.arange(len(next(iter(table.columns.values()))))}
    rows: dict[str, list[int]] = {}
    for row, cell in enumerate(table.columns[column]):
        rows.setdefault(cell, []).append(row)
    return {name: np.array(found) for name, found in rows.items()}


def _windows(recordings: dict[str, Array], settings: Csv, path: Path) -> tuple[Array, Array]:
    """Row numbers `[windows, window]`, and the block of each: windows of different blocks share no row."""
    window, stride = settings.window, settings.stride or settings.window
    length = window if stride >= window else _BLOCK * window
    step = max(length, stride)
    found, blocks, block = [], [], 0
    for rows in recordings.values():
        for begin in range(0, len(rows), step):
            inside = rows[begin : begin + length]
            starts = range(0, len(inside) - window + 1, stride)
            found += [inside[start : start + window] for start in starts]
            blocks += [block] * len(starts)
            block += 1
    if not found:
        raise DataError(f"{path}: no recording has the {window} rows of a window", "make csv.window smaller")
    return np.stack(found), np.array(blocks)


def _whole(recordings: dict[str, Array], y: Array | None, path: Path) -> Array:
    (first, model), *_ = recordings.items()
    for name, rows in recordings.items():
        if len(rows) != len(model):
            raise DataError(
                f"{path}: recording {name!r} has {len(rows)} rows, {first!r} has {len(model)}",
                "give csv.window = ROWS to cut recordings into samples of one length",
            )
        if y is not None and len(np.unique(y[rows])) > 1:
            raise DataError(f"{path}: recording {name!r} has several labels", "give csv.window to label its windows")
    return np.stack(list(recordings.values()))


def _read(path: Path, settings: Csv) -> _Table:
    rows = list(_rows(path, settings))
    if not rows:
        raise DataError(f"{path}: empty", "give a table with one row a sample")
    (first_line, first), width = rows[0], len(rows[0][1])
    for line, row in rows:
        if len(row) != width:
            raise DataError(
                f"{path}:{line}: {len(row)} cells, line {first_line} has {width}",
                "give each line the same number of cells",
            )
    header = settings.header == "yes" or (settings.header == "auto" and not any(map(_is_number, first)))
    names = [name.strip() or str(index) for index, name in enumerate(first)] if header else list(map(str, range(width)))
    if len(set(names)) < width:
        raise DataError(f"{path}:{first_line}: two columns have the same name", "rename one of them")
    body = rows[1:] if header else rows
    if not body:
        raise DataError(f"{path}: a header and no rows", "give a table with one row a sample")
    columns = zip(*(row for _, row in body), strict=True)
    cells = {name: list(map(str.strip, column)) for name, column in zip(names, columns, strict=True)}
    return _Table(path, cells, [line for line, _ in body])


def _rows(path: Path, settings: Csv) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            start = stream.readline()
            stream.seek(0)
            delimiter = settings.delimiter or max(_DELIMITERS, key=start.count)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            yield from ((reader.line_num, row) for row in reader if row)
    except OSError as cause:
        raise DataError(f"{path}: {cause.strerror}", "check the file and its permissions") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file", "save it as CSV in UTF-8") from None
    except csv.Error as cause:
        raise DataError(f"{path}: not valid CSV: {cause}", "save it as CSV in UTF-8") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # which Python takes for 12 in 1_2
