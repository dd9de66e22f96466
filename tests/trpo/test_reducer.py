"""Microbatches side by side give what microbatches one after the other give, bit for bit."""

import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from tests.helpers import ACTION_SPACES, flat_parameters, make_problem
from trpo.agents.updates.update_rule import importance_weighted_advantage
from trpo.measurement import measure_against_present
from trpo.reducer import SERIAL, ThreadReducer, Totals
from trpo.report import Status
from trpo.trust_region import TrustRegionConfig, trust_region_step


@pytest.fixture
def threads() -> Iterator[Callable[[int], ThreadReducer]]:
    """The maker of reducers, which are closed afterwards."""
    made = []

    def make(count: int) -> ThreadReducer:
        made.append(ThreadReducer(count))
        return made[-1]

    yield make
    for reducer in made:
        reducer.close()


def test_totals_of_a_batch_are_those_of_its_pieces():
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    totals = SERIAL.reduce(
        lambda part: Totals(len(part), (part.sum(0), part.square().sum()), (part.amax(0),)),
        x.split(4),
    )
    assert totals.count == 10
    assert torch.allclose(totals.means[0], x.mean(0), rtol=1e-14)
    assert torch.allclose(totals.means[1], x.square().sum(1).mean(), rtol=1e-14)
    assert torch.equal(totals.maxima[0], x.amax(0))


def test_moments_are_those_of_the_whole_batch():
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    count, mean, variance = SERIAL.moments(x)
    assert count == 10
    assert torch.equal(mean, x.mean(0))
    assert torch.allclose(variance, (x - mean).square().mean(0))


@pytest.mark.parametrize("size", [10, 20, 7])  # 4 and 2 microbatches; 6 of unequal size
def test_a_step_is_the_same_with_any_number_of_threads(action_space, size, threads):
    parameters, reports = [], []
    for reducer in (SERIAL, threads(1), threads(2), threads(4)):
        problem = make_problem(action_space, (6,))
        rows = [slice(start, start + size) for start in range(0, 40, size)]
        reports.append(
            trust_region_step(
                problem.policy.model(),
                importance_weighted_advantage,
                [problem.batch.rows(index) for index in rows],
                TrustRegionConfig(),
                reducer=reducer,
            )
        )
        parameters.append(flat_parameters(problem.policy))
    assert reports[0].status is Status.ACCEPTED
    assert all(report == reports[0] for report in reports)
    assert all(torch.equal(theta, parameters[0]) for theta in parameters)


def test_the_largest_kl_is_that_of_all_microbatches(problem, threads):
    model, batch = problem.policy.model(), problem.batch
    pieces = [batch.rows(slice(start, start + 10)) for start in range(0, 40, 10)]
    whole = measure_against_present(model, importance_weighted_advantage, [batch])
    cut = measure_against_present(model, importance_weighted_advantage, pieces, threads(2))
    with torch.no_grad():
        for parameter in model.parameters:
            parameter += 0.1
    assert cut().max_state_kl == pytest.approx(whole().max_state_kl, rel=1e-12)
    assert cut().mean_kl == pytest.approx(whole().mean_kl, rel=1e-12)


@pytest.mark.parametrize("count", [1, 2])
def test_a_step_has_one_microbatch_a_thread_in_memory(count, threads):
    problem = make_problem(ACTION_SPACES["box"], (6,))
    model, alive, most = problem.policy.model(), weakref.WeakSet(), []

    def linearize(microbatch):
        linearization = model.linearize(microbatch)
        alive.add(linearization)
        most.append(len(alive))
        return linearization

    microbatches = [problem.batch.rows(slice(start, start + 4)) for start in range(0, 40, 4)]
    report = trust_region_step(
        replace(model, linearize=linearize),
        importance_weighted_advantage,
        microbatches,
        TrustRegionConfig(cg_tolerance=0.0),
        reducer=threads(count),
    )
    # gradient, products, π_old
    assert len(most) == len(microbatches) * (1 + report.cg_iterations + 1)
    assert max(most) <= 2 * count  # a thread's last one is there until it has its next


def test_results_come_in_order_from_several_threads(threads):
    reducer = threads(3)
    barrier = threading.Barrier(3, timeout=10)  # passed only by three threads at a time

    def work(number: int) -> tuple[int, int]:
        barrier.wait()
        return 10 * number, torch.get_num_threads()

    assert reducer.map(work, [1, 2, 3]) == [(10, 1), (20, 1), (30, 1)]
    assert reducer.map(lambda number: 10 * number, range(8)) == list(range(0, 80, 10))
    assert reducer.map(work, []) == []


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_a_microbatch_is_raised_when_no_thread_works_on(failing, threads):
    done = []

    def work(number: int) -> None:
        if number == failing:
            raise ZeroDivisionError
        threading.Event().wait(0.05)
        done.append(number)

    with pytest.raises(ZeroDivisionError):
        threads(2).map(work, [0, 1])
    assert done == [1 - failing]


@pytest.mark.parametrize(("count", "each"), [(1, 1), (2, 1), (5, 2)])
def test_side_by_side_shares_the_threads(count, each, threads):
    reducer = threads(count)
    barrier = threading.Barrier(2 if count > 1 else 1, timeout=10)  # passed only by both at a time

    def work(half, number: int) -> list[int]:
        barrier.wait()
        assert half.threads == each
        return half.map(lambda item: number * item, [1, 2, 3])

    one, other = reducer.halves()
    for _ in range(2):
        assert reducer.side_by_side(lambda: work(one, 1), lambda: work(other, 10)) == (
            [1, 2, 3],
            [10, 20, 30],
        )
    assert reducer.threads == count
    assert reducer.halves() == (one, other)


def test_side_by_side_raises_the_others_error(threads):
    with pytest.raises(ZeroDivisionError):
        threads(2).side_by_side(lambda: 1, lambda: 1 // 0)


def test_an_error_beside_another_function_is_raised_when_that_has_ended(threads):
    ended = []

    def other() -> None:
        threading.Event().wait(0.05)
        ended.append(True)

    with pytest.raises(ZeroDivisionError):
        threads(2).side_by_side(lambda: 1 // 0, other)
    assert ended


def test_closing_ends_the_threads_of_the_halves_too():
    before = threading.active_count()
    reducer = ThreadReducer(4)
    for half in reducer.halves():
        half.map(abs, [1, 2])
    reducer.map(abs, [1, 2, 3, 4])
    assert threading.active_count() > before
    reducer.close()
    assert threading.active_count() == before


def test_batches_are_cut_evenly_and_for_the_threads(threads):
    batch = make_problem(ACTION_SPACES["discrete"], (), size=2048).batch

    def sizes(size: int, reducer) -> list[int]:
        return [len(microbatch) for microbatch in batch.microbatches(size, reducer)]

    assert sizes(10_000, SERIAL) == [2048]
    assert sizes(1000, SERIAL) == [683, 683, 682]
    assert sizes(10_000, threads(2)) == [1024, 1024]
    assert sizes(10_000, threads(16)) == 4 * [512]
    # of a process without a sample, an empty one: it takes part in what all reduce
    assert [len(part) for part in batch.rows(slice(0)).microbatches(1000, SERIAL)] == [0]
    pieces = batch.microbatches(300, SERIAL)
    assert torch.equal(torch.cat([piece.actions for piece in pieces]), batch.actions)
    assert batch.every(1, 300, SERIAL) is None
    fewer = batch.every(4, 300, SERIAL)
    assert torch.equal(torch.cat([piece.actions for piece in fewer]), batch.actions[::4])


@pytest.mark.parametrize("count", [1, 2])
def test_microbatches_gradients_are_not_all_in_memory(threads, count):
    made, alive = [], []

    def totals(_: int) -> Totals:
        total = torch.ones(3)
        made.append(weakref.ref(total))
        alive.append(sum(other() is not None for other in made))
        return Totals(1, (total,))

    assert threads(count).reduce(totals, range(40)).means[0].tolist() == [1, 1, 1]
    assert max(alive) <= 2 * count + 1
