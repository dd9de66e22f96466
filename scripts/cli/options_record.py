"""All options that a result was made with, as they resolved; and whether they still do so.

A command says what was asked for; what it meant depends on the defaults of its day.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trpo.agents.runs.files import replace_file
from trpo.scripts.cli.options import TrainOptions, parse_train_options

FILE = "options.json"
PLACE = {"name", "runs", "resume", "learner.trainer.seed"}  # say where a run lies, and which it is


def flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested options by dotted names.

    Args:
        options: JSON's types and mappings of them.
        prefix: of every name.

    Returns:
        Such as {"environment.num_envs": 16}.
    """
    names: dict[str, Any] = {}
    for name, value in options.items():
        names |= (
            flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return {name: value for name, value in names.items() if name not in PLACE}


def resolved(options: TrainOptions) -> dict[str, Any]:
    """Return options as JSON keeps them, by dotted names.

    Args:
        options: of a run.

    Returns:
        All of them, but for those that say where the run lies, and which it is.
    """
    return flat(json.loads(json.dumps(asdict(options), default=str)))


def write_options(folder: Path, runs: Mapping[str, tuple[list[str], TrainOptions]]) -> None:
    """Write options.json beside a result.

    Args:
        folder: the result's.
        runs: by name, the words after `trpo train` and what they resolved to.
    """
    record = {
        name: {"words": words, "resolved": resolved(options)}
        for name, (words, options) in runs.items()
    }
    replace_file(folder / FILE, (json.dumps(record, indent=1) + "\n").encode())


def differences(folder: Path) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Resolve a result's words again, by the defaults of today.

    Args:
        folder: with options.json.

    Returns:
        For each run, the options that are now others: as recorded, and now; `None` where there is
        none of that name. Empty if all are the same.
    """
    record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    changed = {}
    for name, run in record.items():
        now = resolved(parse_train_options(run["words"]))
        then = run["resolved"]
        apart = {
            option: (then.get(option), now.get(option))
            for option in [*then, *(option for option in now if option not in then)]
            if then.get(option) != now.get(option)
        }
        if apart:
            changed[name] = apart
    return changed


def provenance_sentence(folder: Path) -> str:
    """Say whether a result's words still mean what they meant, or at which commit they did.

    Args:
        folder: with options.json and provenance.json.

    Returns:
        One sentence.
    """
    changed = differences(folder)
    if not changed:
        return f"{folder.name}: the command resolves to the recorded options today."
    commits = [p["git_commit"] for p in json.loads((folder / "provenance.json").read_text("utf-8"))]
    apart = {
        f"{option} {then} → {now}"
        for options in changed.values()
        for option, (then, now) in options.items()
    }
    return (
        f"{folder.name}: the command resolves to the recorded options at commit "
        f"{', '.join(dict.fromkeys(commits))}; today differ: {'; '.join(sorted(apart))}."
    )
