"""Each mistake is told by its name and by no other; right solutions raise no alarm."""

import inspect
from itertools import combinations

import pytest
import torch

from tests.exercises import right_solutions, solution
from tests.exercises.mistakes import EDITS, mistaken
from trpo.scripts.exercises.check import judge, mistaken_outcomes, right_outcomes, same
from trpo.scripts.exercises.mistakes import MISTAKES
from trpo.scripts.exercises.probes import FUNCTIONS, observe

EDITED = [(function, *edit) for function in FUNCTIONS for edit in EDITS[function]]
RIGHT = [
    (function, name)
    for function in FUNCTIONS
    for name, _ in inspect.getmembers(right_solutions, inspect.isfunction)
    if name.startswith(f"{function}_as_")
]


@pytest.mark.parametrize(
    ("function", "name", "old", "new"), EDITED, ids=[f"{e[0]}-{e[1]}" for e in EDITED]
)
def test_a_mistake_is_told_by_its_name(function, name, old, new):
    text = mistaken(inspect.getsource(getattr(solution, function)), old, new)
    scope = vars(solution).copy()
    exec(text, scope)
    result = judge(function, observe(function, scope[function]))
    assert result.mistake == name, result.says
    assert result.marks < 10


def test_every_mistake_that_has_a_name_is_tried():
    for function in FUNCTIONS:
        tried = {name for name, *_ in EDITS[function]} - {"subsample-redrawn"}
        assert tried == set(MISTAKES[function])
    assert sum(map(len, MISTAKES.values())) >= 45


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_two_mistakes_look_alike(function):
    ways = [
        (name, outcomes)
        for name, kinds in mistaken_outcomes(function).items()
        for outcomes in kinds
    ]
    for (one, a), (other, b) in combinations([*ways, ("right", right_outcomes(function))], 2):
        assert one == other or not all(same(a[case], b[case]) for case in a), (one, other)


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")  # torch.func's own
@pytest.mark.parametrize(("function", "name"), RIGHT)
def test_a_right_solution_raises_no_alarm(function, name):
    result = judge(function, observe(function, getattr(right_solutions, name)))
    assert result.right, result.says
    assert result.marks == 10


def test_the_right_solutions_are_many():
    assert len(RIGHT) >= 20
    assert {function for function, _ in RIGHT} == set(FUNCTIONS)


def test_an_unknown_factor_is_told():
    result = judge("full_step", observe("full_step", lambda *a: 3 * solution.full_step(*a)))
    assert result.mistake is None
    assert result.says == "is 3 times the right one (no damping)"


def test_a_wrong_shape_is_told():
    transposed = observe("gae", lambda *a: solution.gae(*a).T)
    assert judge("gae", transposed).says == "returns shape (2, 8), expected (8, 2)"
    nothing = observe("full_step", lambda *a: None)
    assert judge("full_step", nothing).says == "returns nothing: is a `return` missing?"


def test_float32_is_no_mistake():
    def single(product, b, max_iterations, tolerance):
        return solution.conjugate_gradient(product, b, max_iterations, tolerance).to(torch.float32)

    assert judge("conjugate_gradient", observe("conjugate_gradient", single)).right
