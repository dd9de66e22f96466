"""The outcome of a run, and statistics of outcomes.

A run has U updates; a window is W = max(1, ⌊U / 10⌋) consecutive ones, and R(w) the mean over a
window's updates of the return of the episodes that ended in them. R₀ is the untrained policy's
return; G, the grid's scale, is the largest max_w R(w) − R₀ of any of its runs. A run

- *never learned* if its own max_w R(w) − R₀ < G / 10;
- else *collapsed* if R(last window) − R₀ < (max_w R(w) − R₀) / 2: it lost more than half of what
  it had gained; or if its numbers were no longer finite, and training stopped;
- else *held*.

Whichever it is, it is *locked* if from some update to its end, for at least a third of its updates,
its return is below R₀: worse than a policy that has learned nothing, and no way back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.stats import binomtest, fisher_exact

WINDOWS = 10  # windows per run
LEARNED = 0.1  # of the grid's largest gain
LOST = 0.5  # of the run's own largest gain
NEAR_BEST = 0.8  # of the method's largest final gain
LOCKED = 3  # a run is locked if the part of it below R₀ up to its end is one in this many, or more
AROUND = 10  # updates on each side of a fall
LEAP = 10  # times the median KL before


class Outcome(Enum):
    """The outcome of a run."""

    HELD = "held"
    COLLAPSED = "collapsed"
    NEVER_LEARNED = "never learned"


def last_known(returns: np.ndarray) -> np.ndarray:
    """Fill gaps with the last known return.

    Args:
        returns: (U,), NaN where no episode ended.

    Returns:
        (U,), NaN only before the first.
    """
    return returns[np.maximum.accumulate(np.where(np.isnan(returns), 0, np.arange(len(returns))))]


def window_means(returns: np.ndarray) -> np.ndarray:
    """Return R(w) for every window of a run.

    Args:
        returns: (U,), of the episodes that ended in each update, NaN where none did: then the last
            known return stands.

    Returns:
        (U − W + 1,), of windows in the order of their first updates; windows before the first
        episode's end are NaN.
    """
    width = max(1, len(returns) // WINDOWS)
    return np.lib.stride_tricks.sliding_window_view(last_known(returns), width).mean(axis=1)


@dataclass(frozen=True)
class Judged:
    """A run's outcome.

    Args:
        outcome: held, collapsed, or never learned.
        best: max_w R(w).
        final: R(last window).
        mean: of R(w) over all windows.
    """

    outcome: Outcome
    best: float
    final: float
    mean: float


def judge(returns: np.ndarray, untrained: float, scale: float, stopped: bool = False) -> Judged:
    """Return a run's outcome by the definition above.

    Args:
        returns: (U,), NaN where no episode ended.
        untrained: R₀.
        scale: G, the grid's largest gain.
        stopped: whether training stopped because numbers were not finite.

    Returns:
        The outcome, and the returns it follows from: all R₀ if no episode ended.
    """
    means = window_means(returns)
    if np.isnan(means[-1]):
        return Judged(Outcome.NEVER_LEARNED, untrained, untrained, untrained)
    best, final, mean = float(np.nanmax(means)), float(means[-1]), float(np.nanmean(means))
    lost = stopped or final - untrained < LOST * (best - untrained)
    outcome = Outcome.COLLAPSED if lost else Outcome.HELD
    if best - untrained < LEARNED * scale or scale <= 0:
        outcome = Outcome.NEVER_LEARNED
    return Judged(outcome, best, final, mean)


def is_locked(returns: np.ndarray, untrained: float) -> bool:
    """Return whether a run ended below the untrained policy after a long time there.

    Args:
        returns: (U,), NaN where no episode ended: then the last known return stands.
        untrained: R₀.

    Returns:
        Whether all of its last ⌈U / 3⌉ updates, or more, were below R₀.
    """
    tail = last_known(returns)[-math.ceil(len(returns) / LOCKED) :]
    return bool((tail < untrained).all())


def settling_kl(kl: np.ndarray) -> float:
    """Return the KL that corresponds to a run's step size: the median of its first window.

    Not of the whole run: a locked policy has stopped changing, so its median is 0.

    Args:
        kl: (U,), nats.

    Returns:
        Nats.
    """
    return float(np.median(kl[: max(1, len(kl) // WINDOWS)]))


@dataclass(frozen=True)
class Fall:
    """The steepest fall of a run, found by returns only, and the KL before it.

    Args:
        index: the last update before the fall, from 0.
        return_before: mean return of the ten updates up to it.
        return_after: mean return of the ten after it.
        leap: the largest KL of the eleven updates up to it ÷ the median of the ten before those;
            NaN if there are not so many.
        elsewhere: the same ratio at every update that is not within twenty of it.
    """

    index: int
    return_before: float
    return_after: float
    leap: float
    elsewhere: np.ndarray


def find_fall(returns: np.ndarray, kl: np.ndarray) -> Fall | None:
    """Find the ten updates whose mean return is lowest against that of the ten before them.

    Args:
        returns: (U,); a row's episodes ended before its update.
        kl: (U,), nats.

    Returns:
        The fall; `None` if the run is too short, or its return never fell.
    """
    known = last_known(returns)
    if len(known) < 2 * AROUND:
        return None
    means = np.lib.stride_tricks.sliding_window_view(known, AROUND).mean(axis=1)
    falls = means[AROUND:] - means[:-AROUND]  # after − before, of updates from the tenth
    if np.isnan(falls).all() or np.nanmin(falls) >= 0:
        return None
    place = int(np.nanargmin(falls))
    leaps = _leaps(kl)
    index = place + AROUND - 1
    far = np.abs(np.arange(len(kl)) - index) > 2 * AROUND
    return Fall(
        index,
        float(means[place]),
        float(means[place + AROUND]),
        float(leaps[index]),
        leaps[far & ~np.isnan(leaps)],
    )


def _leaps(kl: np.ndarray) -> np.ndarray:
    # (U,): the largest KL of an update and the ten before it ÷ the median of the ten before those
    leaps = np.full(len(kl), np.nan)
    for index in range(2 * AROUND, len(kl)):
        median = np.median(kl[index - 2 * AROUND : index - AROUND])
        if median > 0:
            leaps[index] = kl[index - AROUND : index + 1].max() / median
    return leaps


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half, ⌊n/4⌋ values left out at each end (Agarwal et al. 2021).

    Args:
        values: (…, n), one per seed.

    Returns:
        (…).
    """
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


def bootstrap_interval(values: np.ndarray, resamples: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Return a 95 % percentile bootstrap interval of the interquartile mean over seeds.

    Args:
        values: (…, n), one per seed.
        resamples: with replacement, the same for every row.

    Returns:
        The lower and the upper end, each (…).
    """
    seeds = values.shape[-1]
    drawn = np.random.default_rng(0).integers(seeds, size=(resamples, seeds))
    means = interquartile_mean(values[..., drawn])  # (…, resamples)
    low, high = np.percentile(means, [2.5, 97.5], axis=-1)
    return low, high


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate (Wilson 1927).

    Args:
        count: number of occurrences.
        total: number of cases, ≥ 1.

    Returns:
        The lower and the upper end.
    """
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def told_rate(count: int, total: int) -> str:
    """Return a rate with Wilson's 95 % interval as text.

    Args:
        count: number of occurrences.
        total: number of cases.

    Returns:
        Such as "7 of 10 (40 to 89 %)".
    """
    if total == 0:
        return "0 of 0"
    low, high = wilson_interval(count, total)
    return f"{count:,} of {total:,} ({100 * low:.0f} to {100 * high:.0f} %)"


def fisher_p(count: int, total: int, other: int, other_total: int) -> float:
    """Return the p-value of Fisher's exact test, two-sided, that two rates are equal.

    Args:
        count: number of occurrences.
        total: number of cases.
        other: how often it happened elsewhere.
        other_total: number of cases.

    Returns:
        p.
    """
    table = [[count, total - count], [other, other_total - other]]
    return float(fisher_exact(table).pvalue)


def range_near_best(
    step_sizes: Sequence[float], finals: Sequence[float], untrained: float
) -> tuple[float, float]:
    """Return the unbroken range of step sizes around the best with at least 80 % of its final gain.

    Args:
        step_sizes: ascending.
        finals: final returns, one per step size.
        untrained: R₀.

    Returns:
        Its smallest and its largest step size.
    """
    gains = np.asarray(finals) - untrained
    best = int(np.argmax(gains))
    low = high = best
    while low > 0 and gains[low - 1] >= NEAR_BEST * gains[best]:
        low -= 1
    while high < len(gains) - 1 and gains[high + 1] >= NEAR_BEST * gains[best]:
        high += 1
    return step_sizes[low], step_sizes[high]
