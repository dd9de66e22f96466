"""All options of a result as they resolved, and whether they still resolve to the same.

A command alone does not suffice: what it means depends on the defaults at the time.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from trpo.agents.runs.provenance import git_commit
from trpo.agents.storage.files import replace_file
from trpo.agents.storage.typed_json import flat
from trpo.scripts.cli.command import UsageError
from trpo.scripts.cli.options import TrainOptions, parse_train_options
from trpo.scripts.cli.tables import locked

Record: TypeAlias = dict[str, dict[str, Any]]
FILE = "options.json"
# options that only identify a run and its folder
PLACE = {"name", "runs", "resume", "learner.trainer.seed"}
# the behaviour before an option existed, if today's default differs
BEFORE = {"learner.policy.distribution": "gaussian"}


def resolved(options: TrainOptions) -> dict[str, Any]:
    """Return options as JSON content, by dotted names.

    Args:
        options: of a run.

    Returns:
        Such as {"environment.num_envs": 16}: all except those that only identify the run and its
        folder; infinity, which JSON lacks, as "inf".
    """
    found = flat(json.loads(json.dumps(asdict(options), default=str)))
    return {
        name: "inf" if value == math.inf else value
        for name, value in found.items()
        if name not in PLACE
    }


def record_of(runs: Mapping[str, Sequence[str]]) -> Record:
    """Resolve the options of some runs.

    Args:
        runs: by name, the words after `trpo train`.

    Returns:
        By name, the words, the resolved options, and this checkout's commit.
    """
    commit = git_commit()
    return {
        name: {
            "words": list(words),
            "git_commit": commit,
            "resolved": resolved(parse_train_options(words)),
        }
        for name, words in runs.items()
    }


def write_options(folder: Path, runs: Mapping[str, Sequence[str]]) -> None:
    """Write options.json next to a result, replacing an existing one.

    Args:
        folder: the result's; created if needed.
        runs: by name, the words after `trpo train`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, record_of(runs))


def add_options(folder: Path, runs: Mapping[str, Sequence[str]]) -> None:
    """Add runs to a folder's options.json.

    Args:
        folder: the results'; created if needed.
        runs: by name, the words after `trpo train`; existing entries are kept.

    Raises:
        UsageError: if an existing run's results were made with a different option.
    """
    now = record_of(runs)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        record = read_options(folder)
        for name, run in now.items():
            then = record.get(name, run)["resolved"]
            for option, value in run["resolved"].items():
                if (before := then.get(option, BEFORE.get(option, value))) != value:
                    raise UsageError(
                        f"{folder} holds results of {name} with {option} = {before!r}, "
                        f"not {value!r}: choose another --out"
                    )
        _write(folder, now | record)


def read_options(folder: Path) -> Record:
    """Read a folder's options.json.

    Args:
        folder: of results.

    Returns:
        By name, a run's words, commit and resolved options; nothing where there is no such file.
    """
    path = folder / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write(folder: Path, record: Record) -> None:
    replace_file(folder / FILE, (json.dumps(record, indent=1) + "\n").encode())


def differences(run: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Resolve a recorded run's words again, with today's defaults.

    Args:
        run: of a record.

    Returns:
        The options that differ now: as recorded, and now; `None` where an option does not exist.
    """
    then, now = run["resolved"], resolved(parse_train_options(run["words"]))
    return {
        option: (then.get(option), now.get(option))
        for option in dict.fromkeys([*then, *now])
        if then.get(option) != now.get(option)
    }
