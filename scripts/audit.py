"""`trpo audit RUN`: checks every update's guarantees, and how the return developed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trpo.agents.runs import Run
from trpo.scripts.cli.command import RunFolder, UsageError, parse
from trpo.scripts.cli.display import print_facts
from trpo.scripts.comparison.collapse import is_locked, window_means
from trpo.validation import require


@dataclass(frozen=True)
class AuditOptions:
    """Check every update of a run: KL within δ, surrogate not worse, no rejected step kept.

    The exit code is 1 if a check failed. Also reports how far the return fell from its best,
    whether the run is locked below its first return, and how often the line search intervened.
    """

    run: RunFolder
    """Folder of the run, as trpo train leaves it, of any algorithm."""
    max_kl: float | None = None
    """δ to check the run against, in nats. Default: its own, if it had one."""

    def __post_init__(self) -> None:
        require(self, "max_kl", self.max_kl is None or self.max_kl > 0, "a number of nats > 0")


def main(arguments: Sequence[str]) -> int:
    """Audit, as the options say.

    Args:
        arguments: the words after `trpo audit`.

    Returns:
        0 if every guarantee was kept, else 1.

    Raises:
        UsageError: if the run held no δ and none is given.
    """
    options = parse(AuditOptions, arguments, "audit")
    run = Run.open(options.run)
    learner = run.config.learner
    columns = run.metrics()
    if options.max_kl is not None:
        limit = f"KL(old ‖ new) ≤ {options.max_kl:g} nats"
        max_kl = np.full_like(columns["update/mean_kl"], options.max_kl)
    elif learner.max_kl is not None:
        limit = learner.limit
        max_kl = np.fmin(columns["trust_region/max_kl"], learner.max_kl)  # it may be annealed
    else:
        raise UsageError(
            f"run {options.run} is of {learner.algorithm}, which has no δ: "
            "give one to hold it against, --max-kl"
        )
    broken = broken_promises(columns, limit, max_kl)
    kl, update = columns["update/mean_kl"], columns["update"].astype(int)
    worst = int(np.argmax(np.where(np.isnan(kl), np.inf, kl / max_kl)))

    def kept(flags: np.ndarray) -> str:
        which = ", ".join(f"{number:,}" for number in update[flags][:5]) + (
            ", …" if flags.sum() > 5 else ""
        )
        return f"{len(flags) - flags.sum():,} of {len(flags):,} updates" + (
            f"; not in {which}" if flags.any() else ""
        )

    print_facts(
        {promise: kept(flags) for promise, flags in broken.items()}
        | {
            "largest KL ÷ δ": f"{kl[worst]:.6g} nats, {kl[worst] / max_kl[worst]:.3g} δ, "
            f"in update {update[worst]:,}"
        }
        | {"median KL": f"{np.nanmedian(kl):.6g} nats"}
        | new_statistics(columns)
        | outcome(columns)
    )
    return 1 if any(flags.any() for flags in broken.values()) else 0


def new_statistics(columns: dict[str, np.ndarray]) -> dict[str, str]:
    """Report how far new observation statistics moved the policy, which δ does not limit.

    Args:
        columns: of a run's metrics.csv.

    Returns:
        A fact, by name; none for a run without statistics.
    """
    kl = columns["update/statistics_kl"]
    if np.isnan(kl).all():
        return {}
    largest = int(np.nanargmax(kl))
    return {
        "KL of new statistics": f"median {np.nanmedian(kl):.3g} nats, largest {kl[largest]:.3g}, "
        f"in update {columns['update'][largest]:,.0f}"
    }


def outcome(columns: dict[str, np.ndarray]) -> dict[str, str]:
    """Report how the return developed, and where the line search intervened.

    Args:
        columns: of a run's metrics.csv.

    Returns:
        Facts, by name.
    """
    facts = {}
    backtracks = columns.get("trust_region/backtracks")
    if backtracks is not None and not np.isnan(backtracks).all():
        failed = columns["update/accepted"] != 1
        acted = (backtracks > 0) | failed
        facts["line search acted"] = (
            f"in {acted.sum():,} of {len(acted):,} updates; {failed.sum():,} took no step"
        )
    returns = columns.get("episode/return", np.full(len(columns["update"]), np.nan))
    if np.isnan(returns).all():
        return facts | {"return": "no episode has ended"}
    first = returns[~np.isnan(returns)][0]
    means = window_means(returns)
    best, last = np.nanmax(means), means[-1]
    facts["fall from best"] = (
        f"{best - last:,.1f}: best tenth {best:,.1f}, last tenth {last:,.1f}, first {first:,.1f}"
    )
    facts["locked"] = (
        "yes: below its first return for the last third or more"
        if is_locked(returns, first)
        else "no"
    )
    return facts


def broken_promises(
    columns: dict[str, np.ndarray], limit: str, max_kl: np.ndarray
) -> dict[str, np.ndarray]:
    """Return where each guarantee of a trust-region update was violated.

    Args:
        columns: of a run's metrics.csv.
        limit: on KL, in words.
        max_kl: (U,), the limit of each update, nats.

    Returns:
        Guarantees, mapped to (U,) flags, true where an update violated them.
    """
    kl, before, after = (
        columns[f"update/{name}"] for name in ("mean_kl", "surrogate_before", "surrogate_after")
    )
    accepted = columns["update/accepted"] == 1
    moved = (kl != 0) | (columns["update/step_norm"] != 0)
    return {
        limit: ~(kl <= max_kl),  # so that NaN counts as a violation
        "surrogate not worse": accepted & ~(after >= before),
        "no refused step kept": ~accepted & moved,
        "numbered without a gap": columns["update"] != np.arange(1, len(kl) + 1),
    }
