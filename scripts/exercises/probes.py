"""The test cases of each function of the exercise.

A case is a function of an implementation that returns numbers. Only these numbers distinguish
implementations, so a student's code can be tried in one process and marked in another.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import Normal, kl_divergence

from trpo.scripts.exercises.fixtures import (
    FixturePolicy,
    GaussianPolicy,
    batch_of,
    categorical,
    gaussian,
    moved,
    parameter_vector,
    right_side,
    symmetric_matrix,
)

Implementation = Callable[..., Any]
Outcome = list[float] | str
"""Numbers; or, in words, why there are none."""


class UnfitError(ValueError):
    """A result that cannot be compared; the message completes "your function …"."""


def numbers(result: Any, shape: tuple[int, ...]) -> list[float]:
    """Return a result as numbers, if it has the shape it should have.

    Args:
        result: a tensor, an array, or what torch can make a tensor of.
        shape: that it should have.

    Returns:
        Its numbers, flattened.

    Raises:
        UnfitError: if it is something else.
    """
    if result is None:
        raise UnfitError("returns nothing: is a `return` missing?")
    try:
        tensor = torch.as_tensor(result).detach().to(torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnfitError(f"returns a {type(result).__name__}, expected a tensor {shape}") from error
    if tuple(tensor.shape) != shape:
        raise UnfitError(f"returns shape {tuple(tensor.shape)}, expected {shape}")
    return tensor.reshape(-1).tolist()


def _episodes(seed: int, terminated: list[list[int]], truncated: list[list[int]]) -> tuple:
    """Return random rewards and values, with episodes that end at given (t, n)."""
    steps, envs = 8, 2
    generator = torch.Generator().manual_seed(seed)
    ends = torch.zeros(2, steps, envs, dtype=torch.bool)
    for kind, places in enumerate((terminated, truncated)):
        for t, n in places:
            ends[kind, t, n] = True
    rewards = torch.randn(steps, envs, generator=generator, dtype=torch.float64)
    values = torch.randn(steps + 1, envs, generator=generator, dtype=torch.float64)
    return rewards, values, ends[0], ends[1]


def _column(*row: float) -> Tensor:
    return torch.tensor(row, dtype=torch.float64)[:, None]


# The lab sheet's: truncated at 1, so that 2 is a reset step; terminated at 3.
SHEET = (
    _column(1, 3, 2, 5),
    _column(1, 2, 4, 1, 8),
    _column(0, 0, 0, 1).bool(),
    _column(0, 1, 0, 0).bool(),
)
MIXED = _episodes(14, terminated=[[2, 0], [7, 1]], truncated=[[5, 0], [1, 1]])
GAMMA, LAMBDA = 0.9, 0.7


def _advantages(episodes: tuple, resets: bool = False) -> Callable[[Implementation], list[float]]:
    """Return a case: advantages of the steps of episodes, or of the resets between them."""

    def case(gae: Implementation) -> list[float]:
        rewards, _, terminated, truncated = episodes
        result = gae(*(tensor.clone() for tensor in episodes), GAMMA, LAMBDA)
        reset = torch.zeros_like(terminated)
        reset[1:] = (terminated | truncated)[:-1]
        advantages = torch.tensor(numbers(result, tuple(rewards.shape)), dtype=torch.float64)
        return advantages.view_as(rewards)[reset if resets else ~reset].tolist()

    return case


def _surrogate_value(make: Callable[[], FixturePolicy], away: bool) -> Callable:
    def case(surrogate: Implementation) -> list[float]:
        policy = make()
        old = moved(make()) if away else policy
        return numbers(surrogate(policy, old, batch_of(policy)), ())

    return case


def _surrogate_gradient(make: Callable[[], FixturePolicy], away: bool) -> Callable:
    def case(surrogate: Implementation) -> list[float]:
        policy = make()
        old = moved(make()) if away else policy
        value = surrogate(policy, old, batch_of(policy))
        numbers(value, ())
        if not isinstance(value, Tensor) or not value.requires_grad:
            raise UnfitError("returns a number that does not know how it depends on θ: no gradient")
        gradient = grad(value, list(policy.parameters()), allow_unused=True, materialize_grads=True)
        return torch.cat([piece.reshape(-1) for piece in gradient]).tolist()

    return case


def _fisher_product(make: Callable[[], FixturePolicy], damping: float, calls: int = 1) -> Callable:
    def case(fisher_vector_product: Implementation) -> list[float]:
        policy = make()
        v = parameter_vector(policy)
        results = [
            fisher_vector_product(policy, batch_of(policy), v.clone(), damping)
            for _ in range(calls)
        ]
        return [number for result in results for number in numbers(result, tuple(v.shape))]

    return case


class _Watched(Normal):
    """A Normal that notes which side of KL moves with θ."""

    of_a_copy = False  # whose own parameters, not θ, it depends on


_moving_sides: list[tuple[bool, bool]] = []


def _moves(side: Normal) -> bool:
    return side.loc.requires_grad and not (isinstance(side, _Watched) and side.of_a_copy)


def _noted(p: Normal, q: Normal) -> Tensor:
    _moving_sides.append((_moves(p), _moves(q)))
    return kl_divergence(Normal(p.loc, p.scale), Normal(q.loc, q.scale))


for _sides in ((_Watched, _Watched), (_Watched, Normal), (Normal, _Watched)):
    torch.distributions.register_kl(*_sides)(_noted)


class _WatchedPolicy(GaussianPolicy):
    def __init__(self) -> None:
        super().__init__(torch.Generator().manual_seed(0))
        self.original = id(self)  # which a copy takes over

    def forward(self, observations: Tensor) -> Normal:
        pi = super().forward(observations)
        assert isinstance(pi, Normal)
        watched = _Watched(pi.loc, pi.scale, validate_args=False)
        watched.of_a_copy = id(self) != self.original
        return watched


def _direction(fisher_vector_product: Implementation) -> list[float]:
    """Return 1 for KL(constant ‖ moving), -1 for its reverse, 0 where both move."""
    _moving_sides.clear()
    policy = _WatchedPolicy()
    fisher_vector_product(policy, batch_of(policy), parameter_vector(policy), 0.0)
    return [float(q) - float(p) for p, q in _moving_sides[:1]] or [1.0]  # [1] if it took none


def _backward_passes(fisher_vector_product: Implementation) -> list[float]:
    """Return how many backward passes reach the first weights, two where it is more."""
    policy, passes = gaussian(), [0]

    def count(_: Tensor) -> None:
        passes[0] += 1

    policy.network.get_parameter("0.weight").register_hook(count)
    fisher_vector_product(policy, batch_of(policy), parameter_vector(policy), 0.0)
    return [float(min(passes[0], 2))]


def _solve(iterations: int, tolerance: float = 0.0, length: float = 1.0) -> Callable:
    def case(conjugate_gradient: Implementation) -> list[float]:
        A, b = symmetric_matrix(), length * right_side()
        return numbers(conjugate_gradient(lambda v: A @ v, b, iterations, tolerance), (6,))

    return case


def _right_side_after(conjugate_gradient: Implementation) -> list[float]:
    A, b = symmetric_matrix(), right_side()
    conjugate_gradient(lambda v: A @ v, b, 2, 0.0)
    return b.tolist()


def _step(damping: float, max_kl: float) -> Callable:
    def case(full_step: Implementation) -> list[float]:
        A, x = symmetric_matrix(), right_side()
        g = 0.7 * A @ x + 0.2  # x solves it only roughly, as conjugate gradient stopped early
        return numbers(full_step(lambda v, beta: A @ v + beta * v, g, x, damping, max_kl), (6,))

    return case


def _search(
    step: Callable[[FixturePolicy], Tensor],
    surrogate: Callable[[float], float],
    max_kl: float,
    ratio: float = 0.5,
    backtracks: int = 4,
) -> Callable:
    """Return a case: a search along a step; L is a function of the fraction taken."""

    def case(line_search: Implementation) -> list[float]:
        policy = gaussian()
        full_step = step(policy)
        direction = full_step / (full_step @ full_step)
        theta_old = torch.nn.utils.parameters_to_vector(policy.parameters()).detach().clone()

        def measured() -> Tensor:
            theta = torch.nn.utils.parameters_to_vector(policy.parameters()).detach()
            value = surrogate(((theta - theta_old) @ direction).item())
            return torch.tensor(value, dtype=torch.float64)

        taken = line_search(
            policy, batch_of(policy), measured, full_step, max_kl, ratio, backtracks
        )
        if taken is None:
            raise UnfitError("returns nothing: expected True or False")
        theta = torch.nn.utils.parameters_to_vector(policy.parameters()).detach()
        restored = float(torch.equal(theta, theta_old))  # bit for bit
        return [float(bool(taken)), restored, *theta.tolist()]

    return case


def _random_step(scale: float) -> Callable[[FixturePolicy], Tensor]:
    return lambda policy: scale * parameter_vector(policy, seed=5)


def _widening_step(policy: FixturePolicy) -> Tensor:
    """Return a step mostly in log σ, where KL's two directions differ most."""
    step = 0.1 * parameter_vector(policy, seed=5)
    step[:2] = torch.tensor([1.6, -0.1], dtype=step.dtype)  # log_std comes first
    return step


def _vanishing_step(policy: FixturePolicy) -> Tensor:
    """Return a step at whose end both standard deviations are 0, and KL is NaN."""
    step = 0.1 * parameter_vector(policy, seed=5)
    step[:2] = -2000.0
    return step


CASES: Mapping[str, Mapping[str, Callable[[Implementation], list[float]]]] = {
    "gae": {
        "no episode ends": _advantages(_episodes(11, [], [])),
        "an episode terminates": _advantages(_episodes(12, [[3, 0], [5, 1]], [])),
        "an episode is truncated": _advantages(_episodes(13, [], [[2, 0], [6, 1]])),
        "both": _advantages(MIXED),
        "both in one step": _advantages(_episodes(15, [[3, 0]], [[3, 0], [5, 1]])),
        "the lab sheet's": _advantages(SHEET),
        "reset steps": _advantages(MIXED, resets=True),
    },
    "surrogate": {
        "value at θ_old": _surrogate_value(gaussian, away=False),
        "gradient at θ_old": _surrogate_gradient(gaussian, away=False),
        "value away from θ_old": _surrogate_value(gaussian, away=True),
        "gradient away from θ_old": _surrogate_gradient(gaussian, away=True),
        "value, categorical": _surrogate_value(categorical, away=True),
    },
    "fisher_vector_product": {
        "Gaussian": _fisher_product(gaussian, 0.0),
        "Gaussian, damped": _fisher_product(gaussian, 0.3),
        "categorical, damped": _fisher_product(categorical, 0.3),
        "called twice": _fisher_product(gaussian, 0.0, calls=2),
        "KL(old ‖ new)": _direction,
    },
    "conjugate_gradient": {
        "one iteration": _solve(1),
        "two iterations": _solve(2),
        "six, for six unknowns": _solve(6),
        "stops at a relative tolerance": _solve(6, tolerance=0.1, length=1e-4),
        "b = 0": _solve(6, length=0.0),
        "b is left as it was": _right_side_after,
    },
    "full_step": {
        "no damping": _step(0.0, 0.01),
        "damping": _step(0.5, 0.01),
        "another δ": _step(0.5, 0.08),
    },
    "line_search": {
        "the full step is good": _search(_random_step(0.02), lambda t: t, 0.05),
        "KL is too large": _search(_random_step(0.35), lambda t: t - 1, 0.06),
        "KL, not its reverse": _search(_widening_step, lambda t: t, 0.15),
        "L is no better": _search(_random_step(0.02), lambda t: -((t - 0.3) ** 2), 0.05),
        "L stays the same": _search(_random_step(0.02), lambda t: 0 * t, 0.05),
        "L is NaN": _search(_random_step(0.02), lambda t: t if t < 0.7 else float("nan"), 0.05),
        "KL is NaN": _search(_vanishing_step, lambda t: t, 0.05, ratio=1e-4),
        "the last try is good": _search(_random_step(0.35), lambda t: t, 0.06, backtracks=3),
        "one try too few": _search(_random_step(0.35), lambda t: t, 0.06, backtracks=2),
        "no try is good": _search(_random_step(0.35), lambda t: -t, 1e-9),
    },
}
"""Function, name of the case, case."""

CLUES: Mapping[str, Callable[[Implementation], list[float]]] = {
    "fisher_vector_product": _backward_passes
}
"""Distinguishes two mistakes that give the same numbers."""

FUNCTIONS = tuple(CASES)


@contextmanager
def float64() -> Iterator[None]:
    """Make float64 the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def observe(function: str, implementation: Implementation, file: str = "") -> dict[str, Outcome]:
    """Try an implementation on every case of its function, and on the clue if there is one.

    Args:
        function: of `FUNCTIONS`.
        implementation: of it.
        file: that contains it, to report the line of an error.

    Returns:
        An outcome a case.
    """
    cases = dict(CASES[function])
    if function in CLUES:
        cases["clue"] = CLUES[function]
    outcomes: dict[str, Outcome] = {}
    with float64():
        for name, case in cases.items():
            torch.manual_seed(0)
            try:
                outcomes[name] = case(implementation)
            except NotImplementedError:
                return dict.fromkeys(cases, "is not written yet")
            except UnfitError as error:
                outcomes[name] = str(error)
            except BaseException as error:  # whatever a student's code raises, SystemExit too
                outcomes[name] = one_line(error, file)
    return outcomes


def one_line(error: BaseException, file: str) -> str:
    """Return an error in one line, with the last line of the student's that led to it.

    Args:
        error: any.
        file: the student's.

    Returns:
        Text that completes "your function …".
    """
    if isinstance(error, SystemExit):
        return "calls exit()"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    where = f" (line {lines[-1]})" if lines else ""
    if isinstance(error, NotImplementedError):
        return f"is not written yet{where}"
    message = " ".join(str(error).split())
    return f"raises {type(error).__name__}{where}: {message[:200]}"
