"""metrics.csv, one row per update: its only reader and its only writer."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trpo.agents.metrics import METRICS, UpdateRecord
from trpo.agents.storage.errors import RunError
from trpo.agents.storage.files import AppendedFile, read_file, replace_file
from trpo.report import Status

TABLE = "metrics.csv"
KEYS = ("update", "steps", "status")


def read_records(path: Path) -> list[UpdateRecord]:
    """Read a table.

    Args:
        path: the file.

    Returns:
        Its updates; none if there is no file.

    Raises:
        RunError: if the file cannot be read, or is not such a table.
    """
    try:
        content = read_file(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    whole = content[: content.rfind(b"\n") + 1]  # a killed process may leave a partial row
    try:
        rows = list(csv.reader(io.StringIO(whole.decode("utf-8"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    if not rows:
        return []
    header = [_name_today(name) for name in rows[0]]
    if tuple(header[: len(KEYS)]) != KEYS:
        raise RunError(f"{path} is damaged: its first line does not begin with {','.join(KEYS)}")
    return [_record(path, number, header, row) for number, row in enumerate(rows[1:], 2)]


def _name_today(name: str) -> str:
    """Return a metric's current name; in earlier versions, `update/…` was `trust_region/…`."""
    quantity = name.removeprefix("trust_region/")
    names = (name, f"update/{quantity}", f"natural_gradient/{quantity}")
    return next((known for known in names if known in METRICS), name)


def _record(path: Path, number: int, header: list[str], row: list[str]) -> UpdateRecord:
    try:
        update, steps, status, *values = row
        named = zip(header[len(KEYS) :], values, strict=True)
        metrics = {name: _number(value) for name, value in named if value and name in METRICS}
        return UpdateRecord(_integer(update), _integer(steps), Status[status], metrics)
    except (ValueError, KeyError) as error:
        raise RunError(f"{path} is damaged: line {number} is no update") from error


def _number(text: str) -> float:
    # integers stay integers, so that they are written again with the same digits
    return _integer(text) if text.isdecimal() else float(text)


def _integer(text: str) -> int:
    number = int(text)
    if abs(number) >= 2**63:  # more than any count, and than a float can represent
        raise ValueError(f"{text} is out of range: expected an integer of 64 bits")
    return number


def columns_of(records: Sequence[UpdateRecord]) -> dict[str, np.ndarray]:
    """Return updates as columns of numbers.

    Args:
        records: U updates.

    Returns:
        `update`, `steps` and every metric, each (U,), NaN where an update has none.
    """
    columns = {name: [record.metrics.get(name, math.nan) for record in records] for name in METRICS}
    counts = {
        "update": [float(record.update) for record in records],
        "steps": [float(record.steps) for record in records],
    }
    return {name: np.array(values) for name, values in (counts | columns).items()}


class TableWriter:
    """Writes a table row by row, flushing each.

    Rows of later updates, written by an earlier process, are kept until these are repeated.

    Args:
        path: the file.
        earlier: updates before the one at which training resumes.
        later: updates that will be repeated.
    """

    def __init__(
        self, path: Path, earlier: Sequence[UpdateRecord] = (), later: Sequence[UpdateRecord] = ()
    ) -> None:
        self._path = path
        self._made = [_row(record) for record in earlier] if later else []
        self._later = list(later)
        replace_file(path, _table([_row(record) for record in (*earlier, *later)]))
        self._file = AppendedFile(path)

    def write(self, record: UpdateRecord) -> None:
        """Add a row.

        Args:
            record: the next update.
        """
        if not self._later:
            self._file.write(_row(record))
            return
        self._made.append(_row(record))
        self._later = [old for old in self._later if old.update > record.update]
        self._replace([*self._made, *map(_row, self._later)])

    def forget_later(self) -> None:
        """Drop rows of updates that were not repeated because training ended before them."""
        if self._later:
            self._later = []
            self._replace(self._made)

    def sync(self) -> None:
        """Flush all rows to disk."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _replace(self, rows: Sequence[bytes]) -> None:
        replace_file(self._path, _table(rows))
        self._file.close()
        self._file = AppendedFile(self._path)


def _table(rows: Sequence[bytes]) -> bytes:
    return b"".join([_line([*KEYS, *METRICS]), *rows])


def _row(record: UpdateRecord) -> bytes:
    values = [record.metrics.get(name, "") for name in METRICS]
    return _line([record.update, record.steps, record.status.name, *values])


def _line(values: Sequence[str | float]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue().encode("utf-8")
