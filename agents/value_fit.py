"""The value function's fit to a batch's returns: Gauss–Newton by conjugate gradient, or Adam."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from trpo.agents import optimizer_state
from trpo.agents.batch import Batch
from trpo.agents.value_function import ValueConfig, ValueFunction
from trpo.trust_region import TrustRegionConfig, trust_region_step


def log_likelihood(distribution: Distribution, batch: Batch) -> Tensor:
    """Return log N(return; V(s), 1), which falls with half the squared error.

    Args:
        distribution: of the returns at the batch's states.
        batch: b samples.

    Returns:
        (b,).
    """
    return distribution.log_prob(batch.returns)


class GaussNewtonFit:
    """Fits V by damped Gauss–Newton steps: the policy's own mathematics, maximising the returns' Gaussian likelihood.

    Args:
        value_function: fitted in place.
        config: steps and damping.
        chunk_size: samples whose graphs are in memory at a time.
    """

    def __init__(self, value_function: ValueFunction, config: ValueConfig, chunk_size: int) -> None:
        self.model = value_function.model()
        self.steps = config.newton_steps
        self.stride = config.fisher_stride
        self.chunk_size = chunk_size
        self.newton = TrustRegionConfig(
            max_kl=float("inf"),
            damping=config.damping,
            cg_iterations=config.cg_iterations,
            backtrack_ratio=0.5,
        )

    def __call__(self, batch: Batch, generator: torch.Generator) -> None:  # noqa: ARG002 nothing here is random
        """Fit to a batch's returns.

        Args:
            batch: observations and returns.
            generator: not drawn from.
        """
        chunks = batch.chunks(self.chunk_size)
        fisher_chunks = (
            batch.rows(slice(None, None, self.stride)).chunks(self.chunk_size)
            if self.stride > 1
            else None
        )
        for _ in range(self.steps):
            trust_region_step(self.model, log_likelihood, chunks, self.newton, fisher_chunks)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what the fit carries from batch to batch: nothing."""
        return {}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` returned.

        Args:
            tensors: none.
        """


class AdamFit:
    """Fits V by Adam on shuffled minibatches of the squared error (Kingma & Ba 2015).

    Args:
        value_function: fitted in place.
        config: step size, passes and minibatches.
    """

    def __init__(self, value_function: ValueFunction, config: ValueConfig) -> None:
        self.value_function = value_function
        self.config = config
        self.optimizer = torch.optim.Adam(
            value_function.parameters(), lr=config.learning_rate, fused=True
        )

    def __call__(self, batch: Batch, generator: torch.Generator) -> None:
        """Fit to a batch's returns.

        Args:
            batch: observations and returns.
            generator: source of the shuffles.
        """
        for _ in range(self.config.epochs):
            for index in torch.randperm(len(batch), generator=generator).split(
                self.config.minibatch_size
            ):
                minibatch = batch.rows(index)
                loss = (
                    (self.value_function(minibatch.observations) - minibatch.returns)
                    .square()
                    .mean()
                )
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()

    def state_tensors(self) -> dict[str, Tensor]:
        """Return Adam's moments and step counts."""
        return optimizer_state.state_tensors(self.optimizer)

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` returned.

        Args:
            tensors: by the same names.
        """
        optimizer_state.load_state_tensors(self.optimizer, tensors)


def make_fit(
    value_function: ValueFunction, config: ValueConfig, chunk_size: int
) -> GaussNewtonFit | AdamFit:
    """Return the fit that the configuration names.

    Args:
        value_function: to be fitted in place.
        config: which fit, and its effort.
        chunk_size: samples whose graphs are in memory at a time, for Gauss–Newton.

    Returns:
        A callable (batch, generator) ↦ nothing.
    """
    if config.fit == "adam":
        return AdamFit(value_function, config)
    return GaussNewtonFit(value_function, config, chunk_size)
