"""The mistakes that the checker knows by name: implementations of each, and a sentence.

Each function's mistakes are one implementation with its choices as arguments; a mistake is the
wrong value of one of them.
"""

from collections.abc import Mapping

from trpo.scripts.exercises.mistakes.conjugate_gradient import CONJUGATE_GRADIENT
from trpo.scripts.exercises.mistakes.fisher import FISHER
from trpo.scripts.exercises.mistakes.full_step import FULL_STEP
from trpo.scripts.exercises.mistakes.gae import GAE
from trpo.scripts.exercises.mistakes.line_search import LINE_SEARCH
from trpo.scripts.exercises.mistakes.mistake import Mistake
from trpo.scripts.exercises.mistakes.surrogate import SURROGATE

MISTAKES: Mapping[str, Mapping[str, Mistake]] = {
    "gae": GAE,
    "surrogate": SURROGATE,
    "fisher_vector_product": FISHER,
    "conjugate_gradient": CONJUGATE_GRADIENT,
    "full_step": FULL_STEP,
    "line_search": LINE_SEARCH,
}
"""Function, name of the mistake, mistake."""
