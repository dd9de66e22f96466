"""Chunks side by side give what chunks one after the other give, bit for bit."""

import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from tests.conftest import ACTION_SPACES, flat_parameters, make_problem
from trpo.agents.update_rule import importance_weighted_advantage
from trpo.parallel import map_chunks, set_workers, side_by_side, workers
from trpo.trust_region import Status, TrustRegionConfig, trust_region_step


@pytest.fixture(autouse=True)
def _one_worker_afterwards() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    set_workers(1)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("chunk_size", [10, 20, 7])  # 4 and 2 chunks; 6 of unequal size
def test_a_step_is_the_same_with_any_number_of_workers(action_space, chunk_size):
    parameters, reports = [], []
    for count in (1, 2, 4):
        set_workers(count)
        problem = make_problem(action_space, (6,))
        chunks = [
            problem.batch.rows(slice(start, start + chunk_size))
            for start in range(0, 40, chunk_size)
        ]
        reports.append(
            trust_region_step(
                problem.policy.model(), importance_weighted_advantage, chunks, TrustRegionConfig()
            )
        )
        parameters.append(flat_parameters(problem.policy))
    assert reports[0].status is Status.ACCEPTED
    assert reports[0] == reports[1] == reports[2]
    assert torch.equal(parameters[0], parameters[1])
    assert torch.equal(parameters[0], parameters[2])


@pytest.mark.parametrize("count", [1, 2])
def test_a_step_has_one_chunk_a_worker_in_memory(count):
    set_workers(count)
    problem = make_problem(ACTION_SPACES["box"], (6,))
    model, alive, most = problem.policy.model(), weakref.WeakSet(), []

    def linearize(chunk):
        here = model.linearize(chunk)
        alive.add(here)
        most.append(len(alive))
        return here

    chunks = [problem.batch.rows(slice(start, start + 4)) for start in range(0, 40, 4)]
    report = trust_region_step(
        replace(model, linearize=linearize),
        importance_weighted_advantage,
        chunks,
        TrustRegionConfig(cg_tolerance=0.0),
    )
    assert len(most) == len(chunks) * (1 + report.cg_iterations + 1)  # gradient, products, π_old
    assert max(most) <= 2 * count  # a worker's last one is there until it has its next


def test_results_come_in_order_from_several_threads():
    set_workers(3)
    barrier = threading.Barrier(
        3, timeout=10
    )  # passed only if three chunks are worked on at a time

    def work(chunk: int) -> tuple[int, int]:
        barrier.wait()
        return 10 * chunk, torch.get_num_threads()

    assert map_chunks(work, [1, 2, 3]) == [(10, 1), (20, 1), (30, 1)]
    assert workers() == 3


def test_an_error_in_a_chunk_is_raised():
    set_workers(2)

    def work(chunk: int) -> int:
        return 1 // chunk

    with pytest.raises(ZeroDivisionError):
        map_chunks(work, [1, 0])


@pytest.mark.parametrize(("count", "each"), [(1, 1), (2, 1), (5, 2)])
def test_side_by_side_shares_the_workers(count, each):
    set_workers(count)
    barrier = threading.Barrier(
        2 if count > 1 else 1, timeout=10
    )  # passed only if both run at a time

    def work(number: int) -> list[int]:
        barrier.wait()
        assert workers() == each
        return map_chunks(lambda chunk: number * chunk, [1, 2, 3])

    assert side_by_side(lambda: work(1), lambda: work(10)) == ([1, 2, 3], [10, 20, 30])
    assert workers() == count


def test_side_by_side_raises_the_others_error_and_shares_no_longer():
    set_workers(2)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda: 1, lambda: 1 // 0)
    assert workers() == 2


def test_batches_are_cut_evenly_and_for_the_workers():
    batch = make_problem(ACTION_SPACES["discrete"], (), size=2048).batch
    assert [len(chunk) for chunk in batch.chunks(10_000)] == [2048]
    assert [len(chunk) for chunk in batch.chunks(1000)] == [683, 683, 682]
    set_workers(2)
    assert [len(chunk) for chunk in batch.chunks(10_000)] == [1024, 1024]
    set_workers(16)
    assert len(batch.chunks(10_000)) == 4
    assert torch.equal(torch.cat([chunk.actions for chunk in batch.chunks(300)]), batch.actions)
