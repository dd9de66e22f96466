"""The mathematics of trust-region policy optimisation, free of agents and environments.

`README.md` in this folder is the derivation; it names the function behind every equation.
"""

from trpo.conjugate_gradient import Solution, conjugate_gradient
from trpo.curvature import (
    empirical_fisher_product,
    hessian_vector_product,
    materialize,
    score_moments,
)
from trpo.fisher import dense_fisher, double_backward_product, fisher_vector_product
from trpo.line_search import backtracking_line_search
from trpo.measurement import Measurement, mean_kl, measure_from_here
from trpo.model import Model, surrogate_gradient
from trpo.parallel import set_workers
from trpo.parameters import assign, flatten, unflatten
from trpo.trust_region import Status, StepReport, TrustRegionConfig, trust_region_step
from trpo.validation import ConfigError

__all__ = [
    "ConfigError",
    "Measurement",
    "Model",
    "Solution",
    "Status",
    "StepReport",
    "TrustRegionConfig",
    "assign",
    "backtracking_line_search",
    "conjugate_gradient",
    "dense_fisher",
    "double_backward_product",
    "empirical_fisher_product",
    "fisher_vector_product",
    "flatten",
    "hessian_vector_product",
    "materialize",
    "mean_kl",
    "measure_from_here",
    "score_moments",
    "set_workers",
    "surrogate_gradient",
    "trust_region_step",
    "unflatten",
]
