"""The state-value function V(s)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from trpo.agents.networks.encoders import Features
from trpo.agents.networks.network import HIDDEN, Activation, Network, mlp
from trpo.agents.observations import HasObservations, Observation, map_pieces
from trpo.linearization import Linearization, Tensors
from trpo.model import Model
from trpo.reducer import SERIAL, Reducer
from trpo.validation import require, require_numbers


@dataclass(frozen=True)
class ValueConfig:
    """The value function, and how it is fitted to a batch's returns."""

    hidden: tuple[int, ...] | None = None
    """Width of each hidden layer. None: as for the policy."""
    activation: Activation = "tanh"
    """Nonlinearity."""
    trunk: Literal["own", "policy"] = "own"
    """Encoder and recurrent layer of V: own, or the policy's. The shared ones are frozen during V's
    fit, because changing them would move the policy outside its trust region."""
    fit: Literal["auto", "gauss-newton", "adam"] = "auto"
    """Gauss–Newton by conjugate gradient, or Adam on minibatches. auto: Adam if nature or impala
    reads images and the networks are not recurrent, else Gauss–Newton."""
    newton_steps: int = 2
    """Gauss–Newton: steps per batch (measured on an early version: 2 fit better than 10 epochs of
    Adam, in two thirds of the time)."""
    damping: float = 1e-3
    """Gauss–Newton: β in (JᵀJ/B + βI)x = g."""
    max_change: float = 0.1
    """Gauss–Newton: trust region ε of each step, E[(V_new − V)²] / (2σ²) ≤ ε, with σ² the mean
    squared error E[(return − V)²] before the step (Schulman et al. 2016, §5)."""
    cg_iterations: int = 6
    """Gauss–Newton: conjugate-gradient iterations per step (measured: V fits the next batch as well
    as with 10)."""
    fisher_stride: int = 1
    """Gauss–Newton: average JᵀJ over every n-th sample; gradient and line search use all."""
    learning_rate: float = 1e-3
    """Adam: step size (as in sb3-contrib, Tianshou and Spinning Up)."""
    epochs: int = 10
    """Adam: passes over the batch."""
    minibatch_size: int = 256
    """Adam: samples per minibatch."""

    def __post_init__(self) -> None:
        require_numbers(self)
        require(self, "hidden", all(width >= 1 for width in self.hidden or ()), "widths ≥ 1")
        require(self, "newton_steps", self.newton_steps >= 1, "an integer ≥ 1")
        require(self, "damping", 0 <= self.damping < math.inf, "a number ≥ 0")
        require(self, "max_change", self.max_change > 0, "a number > 0")
        require(self, "cg_iterations", self.cg_iterations >= 1, "an integer ≥ 1")
        require(self, "fisher_stride", self.fisher_stride >= 1, "an integer ≥ 1")
        require(self, "learning_rate", 0 < self.learning_rate < math.inf, "a number > 0")
        require(self, "epochs", self.epochs >= 1, "an integer ≥ 1")
        require(self, "minibatch_size", self.minibatch_size >= 1, "an integer ≥ 1")


class ValueFunction(nn.Module):
    """V_φ(s).

    Args:
        features: from observations; the policy's own with `trunk` policy.
        config: network and fit.
        generator: source of the initial weights.
    """

    def __init__(self, features: Features, config: ValueConfig, generator: torch.Generator) -> None:
        super().__init__()
        hidden = HIDDEN if config.hidden is None else config.hidden
        head = mlp(features.size, hidden, 1, config.activation, last_gain=1.0, generator=generator)
        self.network = Network(features, head, shared_features=config.trunk == "policy")

    def forward(self, observations: Observation) -> Tensor:
        """Return V(s).

        Args:
            observations: tensors (B, *shape).

        Returns:
            (B,).
        """
        return self.network(observations).squeeze(-1)

    @torch.no_grad()
    def predict(self, inputs: Observation, microbatch_size: int) -> Tensor:
        """Return V of any number of observations.

        Args:
            inputs: of B observations, as `network.inputs` has them.
            microbatch_size: maximum observations per forward pass.

        Returns:
            (B,).
        """
        return map_pieces(self.network.learned, inputs, microbatch_size).squeeze(-1)

    def model(self) -> Model:
        """Return V as the mean of a unit-variance Gaussian over returns.

        Its Fisher matrix is E[JᵀJ], Gauss–Newton's. Its microbatches have `network.inputs`.
        """
        learned = self.network.learned

        def outputs(microbatch: HasObservations) -> tuple[Tensor, ...]:
            return (learned(microbatch.observations),)  # (b, 1)

        def family(*eta: Tensor) -> Distribution:
            return Normal(eta[0].squeeze(-1), torch.ones_like(eta[0][:, 0]), validate_args=False)

        def family_fisher(_: Tensor) -> Callable[[Tensors], Tensors]:
            return lambda u: u  # at unit variance, M = I

        def linearize(microbatch: HasObservations) -> Linearization:
            features = microbatch.observations
            assert isinstance(features, Tensor)
            return self.network.head.linearize(features)

        by_hand = linearize if learned is self.network.head else None
        return Model(list(learned.parameters()), outputs, family, by_hand, family_fisher)

    @torch.no_grad()
    def metrics(
        self,
        inputs: Observation,
        returns: Tensor,
        values: Tensor,
        microbatch_size: int,
        reducer: Reducer = SERIAL,
    ) -> dict[str, float]:
        """Return how well V predicts returns, before and after a fit to them.

        Args:
            inputs: of B observations, as `network.inputs` has them.
            returns: (B,), the targets of the fit.
            values: (B,), V before the fit.
            microbatch_size: maximum observations per forward pass.
            reducer: pools the samples of all processes.

        Returns:
            By name, of `trpo.agents.metrics.METRICS`; no explained variance if the returns do not
            vary.
        """
        fitted = self.predict(inputs, microbatch_size)
        columns = torch.stack(
            [returns, returns - values, returns - fitted, (fitted - values).square()], dim=1
        )
        _, means, variances = reducer.moments(columns.double())
        metrics = {
            "value/mean_return": means[0].item(),
            "value/mean_squared_change": means[3].item(),
        }
        if variances[0] > 0:
            unexplained = variances[1:3] / variances[0]
            metrics["value/explained_variance"] = 1 - unexplained[0].item()
            metrics["value/explained_variance_after"] = 1 - unexplained[1].item()
        return metrics
