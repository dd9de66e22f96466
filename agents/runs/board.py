"""The layout of a run's TensorBoard pages: a few charts, the most important first."""

from typing import get_args

from trpo.agents.config import Algorithm
from trpo.agents.runs.config import RunConfig
from trpo.agents.storage.typed_json import flat, to_json

PAGES = {
    "1_overview": (
        "episode/return_100",
        "update/mean_kl",
        "trust_region/max_kl",
        "value/explained_variance",
        "evaluation/return",
        "episode/length",
        "policy/entropy",
    ),
    "2_update": (
        "update/max_state_kl",
        "update/accepted",
        "trust_region/backtracks",
        "update/gain_ratio",
        "update/gradient_norm",
        "natural_gradient/cg_residual",
        "natural_gradient/smallest_ritz",
        "natural_gradient/largest_ritz",
    ),
    "3_policy_and_value": (
        "policy/std",
        "policy/advantage_deviation",
        "episode/return",
        "value/explained_variance_after",
        "value/accepted",
        "value/mean_squared_change",
    ),
    "4_time": ("time/steps_per_second", "time/environment", "time/policy", "environment/restarts"),
}
"""Charted metrics, page by page; metrics.csv has all."""

TAGS = {
    metric: f"{page}/{number}_{metric.rpartition('/')[2]}"
    for page, metrics in PAGES.items()
    for number, metric in enumerate(metrics, 1)
}
"""A metric's tag, by which TensorBoard sorts."""

EPISODE = "5_video/episode"
"""The tag of the images in which the deterministic policy plays."""

CHARTS = {
    "First": {
        "Return, last 100 episodes, raw rewards": ["Multiline", [TAGS["episode/return_100"]]],
        "KL(old ‖ new): the band above it reaches up to its limit δ": [
            "Margin",  # a band from the KL up to δ, because all lines of a run have the same colour
            [TAGS["update/mean_kl"], TAGS["update/mean_kl"], TAGS["trust_region/max_kl"]],
        ],
        "Explained variance of returns that V has not seen": [
            "Multiline",
            [TAGS["value/explained_variance"]],
        ],
    },
}
"""The Custom Scalars page."""


def hyperparameters(config: RunConfig) -> dict[str, str | float]:
    """Return the columns to compare runs by, which TensorBoard sorts by name.

    Args:
        config: the run's.

    Returns:
        The environment, δ, and a few more.
    """
    learner = config.learner
    named: dict[str, str | float] = {
        "environment": config.env,
        "max_kl": "none" if learner.max_kl is None else learner.max_kl,
        "algorithm": learner.algorithm,
        "seed": learner.trainer.seed,
        "num_envs": str(config.environment.get("num_envs", "unknown")),
        "batch_size": learner.trainer.batch_size,
        "gamma": learner.trainer.gamma,
        "total_steps": learner.trainer.total_steps,
    }
    return {f"{number}_{name}": value for number, (name, value) in enumerate(named.items(), 1)}


def options(config: RunConfig) -> dict[str, object]:
    """Return a run's options, flattened, without those of other algorithms.

    Args:
        config: the run's.

    Returns:
        Names, such as trpo.max_kl, to values.
    """
    others = set(get_args(Algorithm)) - {config.learner.algorithm}
    learner = {name: part for name, part in to_json(config.learner).items() if name not in others}
    return flat({
        "env": config.env,
        "environment": config.environment,
        "threads": config.threads,
        **learner,
    })


def options_table(config: RunConfig) -> str:
    """Return a run's options as Markdown.

    Args:
        config: the run's.

    Returns:
        A table, one option per row.
    """
    rows = "\n".join(f"| {name} | {value} |" for name, value in options(config).items())
    versions = ", ".join(f"{name} {number}" for name, number in config.versions.items())
    return f"| option | value |\n|---|---|\n{rows}\n\n{versions}; commit {config.git_commit}"
