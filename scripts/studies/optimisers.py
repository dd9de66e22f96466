"""The optimisers that the race runs: five of torch.optim, and three that solve with curvature, behind one kind of step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, Optimizer, RMSprop

from scripts.studies.digits import Digits, log_likelihood
from trpo.conjugate_gradient import conjugate_gradient
from trpo.curvature import hessian_vector_product
from trpo.fisher import fisher_vector_product
from trpo.model import Model, surrogate_gradient
from trpo.parameters import assign, flatten, unflatten
from trpo.trust_region import TrustRegionConfig, trust_region_step

Step = Callable[[], float]
FIRST_ORDER: dict[str, Callable[[Sequence[Tensor], float], Optimizer]] = {
    "gradient descent": SGD,
    "momentum": lambda parameters, step_size: SGD(parameters, step_size, momentum=0.9),
    "Adagrad": Adagrad,
    "RMSProp": RMSprop,
    "Adam": Adam,
}
NEWTON, NATURAL, TRUST_REGION = "Newton–CG", "natural gradient", "trust region"


@dataclass(frozen=True)
class Trial:
    """One setting of an optimiser.

    Args:
        step_size: the learning rate; δ in nats for the trust region.
        damping: β of those that solve with A + βI.
    """

    step_size: float
    damping: float = 0.0


def _decades(top: float) -> list[Trial]:
    return [Trial(top * 10 ** (-number / 2)) for number in range(8)]


def _with_damping(step_sizes: Sequence[float], dampings: Sequence[float]) -> list[Trial]:
    return [Trial(step_size, damping) for step_size in step_sizes for damping in dampings]


TRIALS = {  # eight each
    "gradient descent": _decades(10.0),
    "momentum": _decades(3.0),
    "Adagrad": _decades(1.0),
    "RMSProp": _decades(0.1),
    "Adam": _decades(0.3),
    NEWTON: _with_damping((1.0, 0.5, 0.2, 0.1), (1e-1, 1e-2)),
    NATURAL: _with_damping((1.0, 0.5, 0.2, 0.1), (1e-2, 1e-3)),
    TRUST_REGION: _with_damping((1.0, 0.3, 0.1, 0.03), (1e-2, 1e-3)),
}


def make_step(name: str, trial: Trial, model: Model, digits: Digits) -> Step:
    """Make an optimiser of the mean log-likelihood of all the digits at once.

    Args:
        name: of `TRIALS`.
        trial: its setting.
        model: changed in place by every step.
        digits: the data.

    Returns:
        A function that takes a step, and returns the loss before it.
    """
    if name == TRUST_REGION:
        config = TrustRegionConfig(max_kl=trial.step_size, damping=trial.damping)
        return lambda: -trust_region_step(model, log_likelihood, [digits], config).surrogate_before
    if name in FIRST_ORDER:
        optimiser = FIRST_ORDER[name](list(model.parameters), trial.step_size)

        def first_order_step() -> float:
            value, g = surrogate_gradient(model, log_likelihood, [digits])
            for parameter, piece in zip(model.parameters, unflatten(-g, model.parameters), strict=True):
                parameter.grad = piece
            optimiser.step()
            return -value

        return first_order_step

    def solving_step() -> float:
        value, g = surrogate_gradient(model, log_likelihood, [digits])
        direction = curved_direction(name, model, digits, g, trial.damping)
        assign(model.parameters, flatten(model.parameters).detach() + trial.step_size * direction)
        return -value

    return solving_step


def curved_direction(name: str, model: Model, digits: Digits, g: Tensor, damping: float, iterations: int = 10) -> Tensor:
    """Solve (A + βI)x = ∇L by conjugate gradient, A the Fisher matrix or the Hessian of the loss.

    Args:
        name: Newton–CG, else the natural gradient.
        model: at θ.
        digits: the data.
        g: ∇L.
        damping: β.
        iterations: of conjugate gradient at most.

    Returns:
        x; g itself where the first direction has no positive curvature (Nocedal & Wright 2006, algorithm 7.1).
    """
    if name == NEWTON:
        product = hessian_vector_product(model, log_likelihood, [digits])
        solution = conjugate_gradient(lambda v: damping * v - product(v), g, iterations)  # the loss is −L
    else:
        Fv = fisher_vector_product(model, [digits])
        solution = conjugate_gradient(lambda v: Fv(v) + damping * v, g, iterations)
    return solution.x if solution.iterations else g
