"""Reading CSV files as spreadsheets write them: commas, semicolons or tabs, UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from refsr.errors import DataError
from refsr.image.atomic import reason

SEPARATORS = (",", ";", "\t")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_csv_rows(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[dict[str, str]]:
    """The rows of a CSV file by the columns that are read; "" where a row has none.

    Column names may have capitals and spaces around them; other columns are ignored. Raises
    DataError where the file is no such table or lacks a ``required`` column.
    """
    lines = _text(path).splitlines(keepends=True)
    if lines and lines[0].lower().startswith("sep="):  # of Excel, for itself
        lines = lines[1:]
    try:
        table = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=_separator(lines))
        header = [name.strip().lower() for name in next(table, [])]
        missing = [name for name in required if name not in header]
        if missing:
            raise DataError(
                f"{path} has no column {missing[0]!r}; its first line must name the columns "
                f"{', '.join([*required, *(f'{name} (optional)' for name in optional)])}."
            )
        places = {name: header.index(name) for name in (*required, *optional) if name in header}
        return [
            {
                name: row[places[name]].strip() if places.get(name, len(row)) < len(row) else ""
                for name in (*required, *optional)
            }
            for row in table
            if row
        ]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a CSV file ({error}).") from error


def file_names(cell: str) -> list[str]:
    """The names in a cell that may hold several, separated by semicolons; empty ones are none."""
    return [name for one in cell.split(";") if (name := one.strip())]


def _text(path: Path) -> str:
    """The text of a file. Raises DataError where it is not in UTF-8, nor marked as UTF-16."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read as a CSV file: {reason(error)}.") from error
    try:
        return data.decode("utf-16" if data.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} cannot be read as a CSV file: it is not in UTF-8; save it as 'CSV UTF-8'."
        ) from error


def _separator(lines: list[str]) -> str:
    """What parts the columns of the first line: a comma unless it has none."""
    first = lines[0] if lines else ""
    return next((one for one in SEPARATORS if one in first), ",")
