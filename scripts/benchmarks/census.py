"""`trpo benchmark census`: two updates in every available environment, each in its own process.

Environments are taken from each family in turn, so that an interrupted census covers all families.
Repeating the command resumes it.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import tyro

from trpo.agents.metrics import UpdateRecord
from trpo.agents.trainer import Trainer, TrainingError
from trpo.envs.catalogue import Entry, catalogue
from trpo.envs.errors import EnvError
from trpo.scripts.cli.command import UsageError, parse
from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.cli.processes import FORKS, start_process
from trpo.scripts.cli.tables import print_rows, read_rows, write_provenance, write_rows
from trpo.validation import ConfigError, require

WORDS = "--num-envs 4 --batch-size 64 --threads 1"
UPDATES = 2
TRAINED = "trained"


@dataclass(frozen=True)
class CensusOptions:
    """Train for two updates in every available environment; add one row each to OUT/results.csv."""

    families: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FAMILY ...]")
    ] = ()
    """Families to include, as named by trpo envs; default: all."""
    most: int = 0
    """Maximum number of environments, of those that have no row yet; 0: all."""
    timeout: float = 120.0
    """Time limit per environment, in seconds; raise it on a busy machine."""
    out: Path = Path("runs/census")
    """Folder for results.csv."""

    def __post_init__(self) -> None:
        require(self, "most", self.most >= 0, "an integer ≥ 0")
        require(self, "timeout", self.timeout > 0, "seconds > 0")


def main(arguments: Sequence[str]) -> int:
    """Run the census.

    Args:
        arguments: the words after `trpo benchmark census`.

    Returns:
        0.

    Raises:
        UsageError: if a family is unknown, or OUT contains something else.
    """
    options = parse(CensusOptions, arguments, "benchmark census")
    every = catalogue()
    for family in options.families:
        if family not in {entry.family for entry in every}:
            raise UsageError(f"families: unknown family {family!r}: expected some of trpo envs")
    entries = in_turns([
        entry for entry in every if not options.families or entry.family in options.families
    ])
    results = options.out / "results.csv"
    rows = read_rows(results, ["engine", "environment", "outcome"])
    options.out.mkdir(parents=True, exist_ok=True)
    done = {(row["engine"], row["environment"]) for row in rows}
    left = [entry for entry in entries if (entry.engine, entry.env_id) not in done]
    write_provenance(options.out / "provenance.json")
    for number, entry in enumerate(left[: options.most or None], 1):
        rows.append(row := examine(entry, options.timeout))
        write_rows(results, rows)
        print(f"[{number}/{len(left)}] {entry.engine} {entry.env_id}: {row['outcome']}", flush=True)
    print_rows(summarize(rows))
    return 0


def in_turns(entries: Sequence[Entry]) -> list[Entry]:
    """Reorder environments: the first of each family, then the second of each, etc.

    Args:
        entries: by engine and family.

    Returns:
        All of them.
    """
    families = [list(members) for _, members in groupby(entries, lambda e: (e.engine, e.family))]
    return [entry for turn in zip_longest(*families) for entry in turn if entry]


def examine(entry: Entry, timeout: float) -> dict[str, Any]:
    """Train for two updates in a process that may die, or hang.

    Args:
        entry: the environment.
        timeout: seconds, after which the process is killed.

    Returns:
        A row of results.csv.
    """
    ours, theirs = FORKS.Pipe(duplex=False)
    process = start_process(_report, entry, theirs)
    theirs.close()
    try:
        found = ours.recv() if ours.poll(timeout) else {"outcome": f"no answer in {timeout:g} s"}
    except EOFError:
        process.join()
        found = {"outcome": f"its process ended with code {process.exitcode}"}
    process.kill()
    process.join()
    return {
        "environment": entry.env_id,
        "engine": entry.engine,
        "family": entry.family,
        "outcome": "",
        "largest_kl": "",
        "accepted": "",
        **found,
    }


def _report(entry: Entry, connection: Connection) -> None:
    """Send the outcome of two updates; runs in a separate process."""
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the output of simulators in C
    connection.send(train(entry))


def train(entry: Entry) -> dict[str, Any]:
    """Train for two updates.

    Args:
        entry: the environment.

    Returns:
        The columns of its row.
    """
    words = [entry.env_id, "--engine", entry.engine, *WORDS.split()]
    try:
        options = parse_train_options(words)
        trainer = Trainer(options.make_env, options.learner, options.cpu_threads)
        updates = trainer.updates()
        records = [next(updates) for _ in range(UPDATES)]
    except (EnvError, ConfigError, TrainingError, UsageError) as error:
        return {"outcome": str(error)}
    except Exception as error:  # a bug of ours, reported as such
        return {"outcome": f"unexpected error: {error!r}"}
    return outcome_of(records)


def outcome_of(records: Sequence[UpdateRecord]) -> dict[str, Any]:
    """Return what is to be told of updates.

    Args:
        records: one or more.
    """
    largest = max(record.metrics["update/mean_kl"] for record in records)
    within = all(
        record.metrics["update/mean_kl"] <= record.metrics["trust_region/max_kl"]
        for record in records
    )
    return {
        "outcome": TRAINED if within else "KL above its limit",
        "largest_kl": largest,
        "accepted": sum(int(record.metrics["update/accepted"]) for record in records),
    }


def summarize(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return one row per family, with the first reason for environments that were not trained.

    Args:
        rows: of results.csv.

    Returns:
        Rows to print.
    """
    summary = []
    for engine, family in sorted({(row["engine"], row["family"]) for row in rows}):
        mine = [r for r in rows if (r["engine"], r["family"]) == (engine, family)]
        failed = [row["outcome"] for row in mine if row["outcome"] != TRAINED]
        summary.append({
            "engine": engine,
            "family": family,
            "trained": f"{len(mine) - len(failed)} of {len(mine)}",
            "else": failed[0] if failed else "",
        })
    return summary
