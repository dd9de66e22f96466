"""Tables of results in READMEs, made from committed runs."""

from collections.abc import Sequence

import numpy as np

from trpo.scripts.benchmarks.learning import PANEL
from trpo.scripts.benchmarks.learning_report import bounds, fell, interval, summarize

SHIPPED = "as shipped"  # the recipe of those rows of holding.csv that were not made by trial code
UNTUNED = {  # by RL Baselines3 Zoo, whose settings for its other MuJoCo tasks are used there
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "Reacher-v5",
    "Pusher-v5",
}
COLUMNS = ("environment", "seeds", "mean", "range", "largest fall", "fell")


def table(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return the lines of the table: one an environment, and its options, if any.

    Args:
        rows: of results.csv, all TRPO's.

    Returns:
        Lines of Markdown.
    """
    lines = []
    for row in summarize(sorted(rows, key=lambda row: PANEL.index(row["environment"]))):
        options = row["learner"].removeprefix("trpo").strip()
        row["environment"] += f", `{options}`" if options else ""
        row["fell"] = row["fell"].replace(" of ", "/")
        lines.append(f"| {' | '.join(row[column] for column in COLUMNS)} |")
    return lines


def peers_table(panel: Sequence[dict[str, str]], peers: Sequence[dict[str, str]]) -> list[str]:
    """Return the lines of the table beside sb3-contrib: one an environment, of the same seeds.

    Args:
        panel: rows of the panel's results.csv.
        peers: of the peers' results.csv.

    Returns:
        Lines of Markdown; whether intervals are apart is said of three seeds and more.
    """
    lines = []
    for env in dict.fromkeys(row["environment"] for row in peers):
        theirs = _finals(peers, env, "sb3-contrib")
        own = _finals(panel, env, "trpo")
        seeds = [seed for seed in theirs if seed in own]
        sides = [np.array([side[seed] for seed in seeds]) for side in (own, theirs)]
        apart = "–"
        if len(seeds) >= 3:
            (low, high), (their_low, their_high) = map(bounds, sides)
            apart = "above" if low > their_high else "below" if high < their_low else "no"
        told = [f"{side.mean():,.1f}{interval(side)}" for side in sides]
        lines.append(f"| {' | '.join([env, str(len(seeds)), *told, apart])} |")
    return lines


def beside_peers(
    panel: Sequence[dict[str, str]], peers: Sequence[dict[str, str]]
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return this project's rows on the tasks and seeds that sb3-contrib ran, and sb3-contrib's.

    Args:
        panel: rows of the panel's results.csv.
        peers: of the peers' results.csv.
    """
    theirs = [row for row in peers if row["learner"] == "sb3-contrib"]
    ran = {(row["environment"], row["seed"]) for row in theirs}
    own = [row for row in panel if (row["environment"], row["seed"]) in ran and not row["options"]]
    return own, theirs


def falls_beside_peers(panel: Sequence[dict[str, str]], peers: Sequence[dict[str, str]]) -> str:
    """Return how many of sb3-contrib's runs fell, and of ours, on tasks that the Zoo has tuned.

    Args:
        panel: rows of the panel's results.csv.
        peers: of the peers' results.csv.

    Returns:
        As the README has it.
    """
    own, theirs = (
        [row for row in side if row["environment"] not in UNTUNED]
        for side in beside_peers(panel, peers)
    )
    fallen = sum(map(fell, theirs))
    return f"{fallen} of its {len(theirs)} runs fell, {sum(map(fell, own))} of ours."


def _finals(rows: Sequence[dict[str, str]], env: str, learner: str) -> dict[str, float]:
    return {
        row["seed"]: float(row["deterministic_return"])
        for row in rows
        if (row["environment"], row["learner"], row["options"]) == (env, learner, "")
    }
