"""What collapse is, and the statistics that it is told with.

A run has U updates; its window is W = max(1, ⌊U / 10⌋) of them in a row, and R(w) the mean over a
window's updates of the return of the episodes that ended in them. R₀ is the untrained policy's
return; G, the grid's scale, is the largest max_w R(w) − R₀ of any of its runs. A run

- *never learned* if its own max_w R(w) − R₀ < G / 10; - else *collapsed* if R(last window) − R₀ <
(max_w R(w) − R₀) / 2: it lost more than half of what it had gained; or if its
  numbers were no longer finite, and training stopped;
- else *held*.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

WINDOWS = 10  # windows that a run is long
LEARNED = 0.1  # of the grid's largest gain
LOST = 0.5  # of the run's own largest gain
NEAR_BEST = 0.8  # of the method's largest final gain
LEAP = 10  # times the median KL before it


class Outcome(Enum):
    """What became of a run."""

    HELD = "held"
    COLLAPSED = "collapsed"
    NEVER_LEARNED = "never learned"


def last_known(returns: np.ndarray) -> np.ndarray:
    """Let each return stand until the next.

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
    """A run, judged.

    Args:
        outcome: what became of it.
        best: max_w R(w).
        final: R(last window).
        mean: of R(w) over all windows.
    """

    outcome: Outcome
    best: float
    final: float
    mean: float


def judge(returns: np.ndarray, untrained: float, scale: float, stopped: bool = False) -> Judged:
    """Judge a run by the definition above.

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


@dataclass(frozen=True)
class Break:
    """The update that broke a run.

    Args:
        index: its place among the run's updates, from 0.
        kl: its KL(old ‖ new), nats.
        median_before: the median KL of the updates before it, nats.
        return_before: the last return before it.
        return_after: the first return after it.
    """

    index: int
    kl: float
    median_before: float
    return_before: float
    return_after: float

    @property
    def ratio(self) -> float:
        """How many times the median the KL was."""
        return self.kl / self.median_before if self.median_before > 0 else math.inf


def breaking_update(returns: np.ndarray, kl: np.ndarray) -> Break | None:
    """Return the update after which the return fell most at once; the choice does not look at KL where it need not.

    Only where no episode ended between several updates, so that the fall is of all of them, is it
    the one of largest KL.

    Args:
        returns: (U,); a row's episodes ended before its update.
        kl: (U,), nats.

    Returns:
        The update; `None` if the return never fell, or none but the first update's did.
    """
    ends = np.flatnonzero(~np.isnan(returns))
    ends = ends[ends > 0]  # so that there is a median before
    if len(ends) < 2:
        return None
    fall = int(np.argmin(np.diff(returns[ends])))
    before, after = int(ends[fall]), int(ends[fall + 1])
    if returns[after] >= returns[before]:
        return None
    index = before + int(np.argmax(kl[before:after]))
    return Break(
        index,
        float(kl[index]),
        float(np.median(kl[:index])),
        float(returns[before]),
        float(returns[after]),
    )


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half, ⌊n/4⌋ values left out at each end (Agarwal et al. 2021).

    Args:
        values: (…, n), one a seed.

    Returns:
        (…).
    """
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


def bootstrap_interval(values: np.ndarray, resamples: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Return a 95 % percentile bootstrap interval of the interquartile mean over seeds.

    Args:
        values: (…, n), one a seed.
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
        count: how often it happened.
        total: out of how many, ≥ 1.

    Returns:
        The lower and the upper end.
    """
    z, rate = 1.959964, count / total
    middle = (rate + z * z / (2 * total)) / (1 + z * z / total)
    half = (
        z / (1 + z * z / total) * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def range_near_best(
    step_sizes: Sequence[float], finals: Sequence[float], untrained: float
) -> tuple[float, float]:
    """Return the unbroken range of step sizes around the best whose final gain is at least 80 % of the best's.

    Args:
        step_sizes: ascending.
        finals: final returns, one a step size.
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
