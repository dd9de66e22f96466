"""The natural gradient: the direction that gains most of the surrogate for its KL."""

from collections.abc import Sequence

from torch import Tensor

from trpo.conjugate_gradient import Solution, conjugate_gradient
from trpo.fisher import fisher_vector_product
from trpo.model import Microbatch, Model
from trpo.reducer import SERIAL, Reducer


def natural_direction(
    model: Model[Microbatch],
    g: Tensor,
    microbatches: Sequence[Microbatch],
    damping: float,
    max_iterations: int = 10,
    tolerance: float = 1e-10,
    reducer: Reducer = SERIAL,
) -> Solution:
    """Solve (F + βI) x = g by conjugate gradient (Amari 1998; Kakade 2001; Schulman et al. 2015, appendix C).

    Args:
        model: the distribution, at the θ of F.
        g: (P,), the surrogate's gradient there, finite.
        microbatches: the states that F is averaged over, the same ones for the whole solve.
        damping: β ≥ 0.
        max_iterations: products with F to spend at most.
        tolerance: relative residual ‖g − (F + βI)x‖ / ‖g‖ to stop at.
        reducer: brings the microbatches together.

    Returns:
        x, (P,), and what the solve tells of F.
    """
    product = fisher_vector_product(model, microbatches, reducer)
    return conjugate_gradient(product, g, max_iterations, tolerance, damping)
