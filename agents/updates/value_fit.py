"""The value function's fit to a batch's returns: Gauss–Newton by conjugate gradient, or Adam."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from trpo.agents.updates import optimizer_state
from trpo.agents.updates.batch import Batch
from trpo.agents.updates.minibatches import descend
from trpo.agents.updates.optimizer_state import Snapshot
from trpo.agents.value_function import ValueConfig, ValueFunction
from trpo.gauss_newton import gauss_newton_step
from trpo.reducer import SERIAL, Reducer, Totals
from trpo.report import Status, StepReport


def log_likelihood(distribution: Distribution, batch: Batch) -> Tensor:
    """Return log N(return; V(s), 1), minus half the squared error up to a constant.

    Args:
        distribution: of the returns at the batch's states.
        batch: b samples.

    Returns:
        (b,).
    """
    return distribution.log_prob(batch.returns)


@dataclass(frozen=True)
class FitReport:
    """The outcome of a fit, over all of its steps.

    Args:
        accepted: fraction of the steps that were accepted.
        gain_ratio: measured ÷ predicted gain of the likelihood, of the last accepted step; `None`
            if there is none, or no prediction.
        step_fraction: mean accepted fraction of the full step, 0 for failed steps; `None` for Adam.
    """

    accepted: float
    gain_ratio: float | None = None
    step_fraction: float | None = None

    @classmethod
    def of_steps(cls, reports: Sequence[StepReport]) -> "FitReport":
        """Report the steps of a fit.

        Args:
            reports: one per step, at least one.

        Returns:
            The report.
        """
        kept = [report for report in reports if report.status is Status.ACCEPTED]
        return cls(
            accepted=len(kept) / len(reports),
            gain_ratio=kept[-1].gain_ratio if kept else None,
            step_fraction=sum(report.step_fraction for report in reports) / len(reports),
        )

    def metrics(self) -> dict[str, float]:
        """Return the available values, by the names of `trpo.agents.metrics.METRICS`."""
        return {f"value/{name}": value for name, value in asdict(self).items() if value is not None}


class GaussNewtonFit:
    """Fits V by damped Gauss–Newton steps, each within a trust region.

    They maximise the Gaussian likelihood of the returns, with the mathematics of the policy's step.
    The trust region limits how far a batch of nearly identical states, or one rare fall, moves V
    elsewhere.

    Args:
        value_function: fitted in place.
        config: steps and damping.
        microbatch_size: maximum samples per forward/backward pass.
        reducer: sums the results over threads and processes.
    """

    def __init__(
        self,
        value_function: ValueFunction,
        config: ValueConfig,
        microbatch_size: int,
        reducer: Reducer = SERIAL,
    ) -> None:
        self.model = value_function.model()
        self.config = config
        self.microbatch_size = microbatch_size
        self.reducer = reducer

    def __call__(self, batch: Batch, generator: torch.Generator) -> FitReport:  # noqa: ARG002 nothing here is random
        """Fit to a batch's returns.

        Args:
            batch: V's inputs, as `network.inputs` has them, and returns.
            generator: not drawn from.

        Returns:
            What the steps measured.
        """
        microbatches = batch.microbatches(self.microbatch_size, self.reducer)
        fewer = batch.every(self.config.fisher_stride, self.microbatch_size, self.reducer)
        reports = [
            gauss_newton_step(
                self.model,
                log_likelihood,
                microbatches,
                self.config.damping,
                self.config.cg_iterations,
                max_change=2 * self.config.max_change * self._squared_error(microbatches),
                fisher_microbatches=fewer,
                reducer=self.reducer,
            )
            for _ in range(self.config.newton_steps)
        ]
        return FitReport.of_steps(reports)

    def _squared_error(self, microbatches: Sequence[Batch]) -> float:
        """Return E[(return − V)²]."""

        @torch.no_grad()
        def totals(microbatch: Batch) -> Totals:
            (values,) = self.model.outputs(microbatch)  # (b, 1)
            squares = (microbatch.returns - values.squeeze(-1)).square()
            return Totals(len(squares), (squares.sum(dtype=torch.float64),))

        (mean,) = self.reducer.reduce(totals, microbatches).means
        return mean.item()

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the fit's state between batches: none."""
        return {}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what `state_tensors` returned.

        Args:
            tensors: none.
        """


class AdamFit:
    """Fits V by Adam on shuffled minibatches of the squared error (Kingma & Ba 2015).

    Args:
        value_function: fitted in place.
        config: step size, passes and minibatches.
        reducer: averages a minibatch's gradient over processes.
    """

    def __init__(
        self, value_function: ValueFunction, config: ValueConfig, reducer: Reducer = SERIAL
    ) -> None:
        self.learned = value_function.network.learned
        self.config = config
        self.reducer = reducer
        self.optimizer = torch.optim.Adam(
            self.learned.parameters(), lr=config.learning_rate, fused=True
        )

    def __call__(self, batch: Batch, generator: torch.Generator) -> FitReport:
        """Fit to a batch's returns.

        Args:
            batch: V's inputs, as `network.inputs` has them, and returns.
            generator: source of the shuffles.

        Returns:
            Whether the fit was accepted: if V is no longer finite, it and Adam's state are
            restored.
        """
        old = Snapshot(list(self.learned.parameters()), self.optimizer)
        with old.restored_on_error():
            descend(
                self.optimizer,
                self._loss,
                batch,
                self.config.epochs,
                self.config.minibatch_size,
                generator,
                self.reducer,
            )
        fitted = [*self.learned.parameters(), *self.state_tensors().values()]
        if not all(tensor.isfinite().all() for tensor in fitted):
            old.restore()
            return FitReport(accepted=0.0)
        return FitReport(accepted=1.0)

    def _loss(self, minibatch: Batch) -> Tensor:
        values = self.learned(minibatch.observations).squeeze(-1)  # (b,)
        squares: Tensor = (values - minibatch.returns).square()
        return squares.mean()

    def state_tensors(self) -> dict[str, Tensor]:
        """Return Adam's moments and step counts."""
        return optimizer_state.state_tensors(self.optimizer)

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what `state_tensors` returned.

        Args:
            tensors: by the same names.
        """
        optimizer_state.load_state_tensors(self.optimizer, tensors)


def make_fit(
    value_function: ValueFunction,
    config: ValueConfig,
    microbatch_size: int,
    reducer: Reducer = SERIAL,
) -> GaussNewtonFit | AdamFit:
    """Return the fit that the configuration names.

    Args:
        value_function: to be fitted in place.
        config: which fit, and its effort.
        microbatch_size: maximum samples per forward/backward pass, for Gauss–Newton.
        reducer: sums the results over threads and processes.

    Returns:
        A callable (batch, generator) ↦ `FitReport`.
    """
    if config.fit == "adam":
        return AdamFit(value_function, config, reducer)
    return GaussNewtonFit(value_function, config, microbatch_size, reducer)
