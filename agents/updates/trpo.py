"""Trust region policy optimisation (Schulman et al. 2015) as an update rule."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from trpo.agents.observations import Observation, count, leaves, nested_as, select
from trpo.agents.policies import Policy
from trpo.agents.updates.batch import Batch, even_slices
from trpo.agents.updates.update_rule import UpdateRule, importance_weighted_advantage
from trpo.reducer import SERIAL, Reducer
from trpo.report import StepReport
from trpo.trust_region import TrustRegionConfig, trust_region_step
from trpo.validation import ConfigError, require


@dataclass(frozen=True)
class TrpoConfig(TrustRegionConfig):
    """The trust-region step."""

    step_size: float = 6.0
    """η: the step is at most ηx, where x is computed from advantages divided by their running
    standard deviation. It is shortened further where δ requires it; inf: only δ limits it."""
    anneal_to: float = 1.0
    """Anneal δ linearly to this fraction of its initial value at total_steps, and η in proportion
    to √δ. 1: no annealing."""
    entropy_bonus: float = 0.0
    """c: coefficient of the entropy bonus c·E[H(π_θ(·|s))] in TRPO's surrogate (Mnih et al. 2016,
    §4), in nats, where advantages have a running standard deviation of 1. A Gaussian's entropy is
    unbounded: where advantages stay uninformative, it grows without limit."""
    memory: int = 16
    """Average F over states kept from this many earlier updates as well, half a batch of them in
    total. 0: over the current batch only. (For recurrent policies, see --recurrent.)"""
    fisher_stride: int = 0
    """Average F over every n-th state, the same ones for the whole solve. 0: every 8th if nature or
    impala reads images and the policy is not recurrent, else all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "anneal_to", 0 < self.anneal_to <= 1, "a number in (0, 1]")
        require(self, "entropy_bonus", 0 <= self.entropy_bonus < math.inf, "a number ≥ 0")
        require(self, "memory", self.memory >= 0, "an integer ≥ 0")
        require(self, "fisher_stride", self.fisher_stride >= 0, "an integer ≥ 0")

    def annealed(self, progress: float) -> "TrpoConfig":
        """Return the limits of an update: δ (1 − (1 − a) p), and η √(1 − (1 − a) p).

        Args:
            progress: p, the share of the run's steps taken before it, in [0, 1].
        """
        left = 1 - (1 - self.anneal_to) * progress
        return replace(self, max_kl=left * self.max_kl, step_size=math.sqrt(left) * self.step_size)


@dataclass(frozen=True)
class States:
    """A microbatch of states only, which is all that F needs.

    Args:
        observations: tensors (b, *shape), as the environment gave them.
    """

    observations: Observation


class Trpo(UpdateRule):
    """One trust-region step per batch.

    A batch covers a short stretch of N episodes, and does not constrain what a step does to the
    policy in all other states. So F is averaged over states of earlier updates as well: a step is
    short along directions that would change what was learned there.

    Args:
        policy: updated in place.
        config: limits and effort.
        microbatch_size: maximum samples per forward/backward pass.
        reducer: sums the results over threads and processes.
    """

    def __init__(
        self, policy: Policy, config: TrpoConfig, microbatch_size: int, reducer: Reducer = SERIAL
    ) -> None:
        super().__init__(policy, microbatch_size, reducer)
        self.config = config
        self.stride = max(config.fisher_stride, 1)
        self.remembered: list[list[Tensor]] = []  # states of each update: (b, *shape) per leaf

    @property
    def limits(self) -> TrpoConfig:
        """The configuration, with δ and η as they are at this update."""
        return self.config.annealed(self.progress)

    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:  # noqa: D102
        def surrogate(distribution: Distribution, microbatch: Batch) -> Tensor:
            # in units of the running standard deviation
            terms = batch.deviation * importance_weighted_advantage(distribution, microbatch)
            if self.config.entropy_bonus:
                terms = terms + self.config.entropy_bonus * distribution.entropy()
            return terms

        report = trust_region_step(
            self.model,
            surrogate,
            self.microbatches(batch),
            self.limits,
            self._fisher_microbatches(batch),
            self.reducer,
        )
        if self.config.memory:
            share = math.ceil(batch.total / (2 * self.config.memory))
            sample = torch.randperm(batch.total, generator=generator)[:share]
            some = self._of_all_processes(batch, sample)
            self.remembered = [*self.remembered, some][-self.config.memory :]
        return report

    def _of_all_processes(self, batch: Batch, sample: Tensor) -> list[Tensor]:
        """Return the states of some of the whole batch's samples, the same in every process."""
        places, rows = batch.own(sample)
        own = leaves(select(batch.observations, rows))
        return [self.reducer.assemble(leaf, places, len(sample)) for leaf in own]

    def _fisher_microbatches(self, batch: Batch) -> list[States] | None:
        """Return the states that F is averaged over; `None` for the batch, linearized already."""
        if not self.remembered and self.stride == 1:
            return None
        states = self._states(batch)
        rows = even_slices(count(states), self.microbatch_size, self.reducer)
        return [States(select(states, part)) for part in rows]

    def _states(self, batch: Batch) -> Observation:
        """Return every n-th of the batch's and the remembered states, of both this process's.

        All processes hold the same remembered states, of which each uses every R-th.
        """
        now = leaves(batch.observations)
        kinds = [(leaf.shape[1:], leaf.dtype) for leaf in now]
        for some in self.remembered:
            if [(leaf.shape[1:], leaf.dtype) for leaf in some] != kinds:
                raise ConfigError("the checkpoint's states are not those of this environment")
        stride = self.stride
        if stride > 1:
            _, rows = batch.own(torch.arange(0, batch.total, stride))
            now = [leaf[rows] for leaf in now]
        # the stride continues across the end of the batch
        first = -batch.total % stride + stride * self.reducer.rank
        own = slice(first, None, stride * self.reducer.size)
        device = now[0].device  # a checkpoint's states are loaded to the CPU
        earlier = [torch.cat(leaf)[own].to(device) for leaf in zip(*self.remembered, strict=True)]
        together = zip(now, earlier, strict=True) if earlier else zip(now, strict=True)
        return nested_as(batch.observations, [torch.cat(leaf) for leaf in together])

    def metrics(self, report: StepReport) -> dict[str, float]:  # noqa: D102
        return super().metrics(report) | {"trust_region/max_kl": self.limits.max_kl}

    def state_tensors(self) -> dict[str, Tensor]:  # noqa: D102
        return {
            f"{update}.{number}": leaf
            for update, states in enumerate(self.remembered)
            for number, leaf in enumerate(states)
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:  # noqa: D102
        groups: dict[int, dict[int, Tensor]] = {}
        for name, tensor in tensors.items():
            update, _, number = name.partition(".")
            if not (update.isdecimal() and number.isdecimal()):
                raise ConfigError(f"the checkpoint's update rule has no {name!r}")
            groups.setdefault(int(update), {})[int(number)] = tensor
        self.remembered = [[leaf for _, leaf in sorted(groups[u].items())] for u in sorted(groups)]
