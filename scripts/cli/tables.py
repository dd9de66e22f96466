"""Tables of results: stored as CSV with their provenance, and printed."""

import csv
import fcntl
import io
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from trpo.agents.runs.provenance import git_commit, versions
from trpo.agents.storage.files import replace_file
from trpo.scripts.cli.command import UsageError
from trpo.scripts.cli.options import cpu_count


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, so that commands add to its results one at a time.

    Args:
        folder: of results; locked itself, as files in it are replaced.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_rows(path: Path, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read a table.

    Args:
        path: a CSV file, or none yet.
        columns: required columns.

    Returns:
        Its rows, by column name.

    Raises:
        UsageError: if it lacks a column.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if lacking := [name for name in columns if name not in (table.fieldnames or ())]:
            raise UsageError(
                f"{path} is of something else, without a column {lacking[0]!r}: "
                "choose another --out"
            )
        return list(table)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table.

    Args:
        path: a CSV file.
        rows: with the same columns; floats are written with 6 digits.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(
        {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
    )
    replace_file(path, text.getvalue().encode("utf-8"))


def add_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a table, to which other commands may append concurrently.

    Args:
        path: a CSV file, or none yet, in an existing folder.
        rows: with its columns.
    """
    with locked(path.parent):
        write_rows(path, [*read_rows(path), *rows])


def write_provenance(path: Path, seconds: float | None = None, program: str = "trpo") -> None:
    """Append the provenance of results: command, versions, commit, machine.

    Args:
        path: a JSON file, or none yet.
        seconds: wall time, if it is to be recorded.
        program: the command's first words; this process's arguments follow.
    """
    provenance = {
        "command": " ".join([program, *sys.argv[1:]]),
        "git_commit": git_commit(),
        "versions": versions(),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": cpu_count()},
    } | ({} if seconds is None else {"seconds": round(seconds)})
    with locked(path.parent):
        earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        text = json.dumps([*earlier, provenance], indent=2) + "\n"
        replace_file(path, text.encode("utf-8"))


def print_rows(rows: Sequence[Mapping[str, str]]) -> None:
    """Print a table.

    Args:
        rows: with the same columns, formatted.
    """
    table = Table(*rows[0], box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row.values())
    table_console().print(table, highlight=False, markup=False)


def table_console() -> Console:
    """Return a console as wide as the terminal; through a pipe, wide enough not to break lines."""
    return Console(width=None if sys.stdout.isatty() else 160)
