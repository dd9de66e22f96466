"""Conjugate gradient against a direct solver, and what it says of the matrix."""

import pytest
import torch

from trpo.conjugate_gradient import conjugate_gradient


def spd(size: int, condition: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return (
        Q
        @ torch.diag(
            torch.logspace(0, -torch.tensor(condition).log10().item(), size, dtype=torch.float64)
        )
        @ Q.T
    )


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_equals_direct_solver(condition):
    A, b = (
        spd(12, condition),
        torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    )
    solution = conjugate_gradient(lambda v: A @ v, b, max_iterations=200, tolerance=1e-13)
    expected = torch.linalg.solve(A, b)
    assert torch.allclose(solution.x, expected, rtol=1e-8, atol=1e-10 * expected.norm().item())
    assert solution.quadratic_form == pytest.approx((expected @ A @ expected).item(), rel=1e-9)


def test_stops_on_the_relative_residual():
    A, b = spd(30, 1e2), torch.ones(30, dtype=torch.float64)
    for scale in (
        2.0**-30,
        1.0,
        2.0**30,
    ):  # an absolute tolerance would stop at different iterations
        solution = conjugate_gradient(
            lambda v: A @ v, scale * b, max_iterations=100, tolerance=1e-3
        )
        residual = (scale * b - A @ solution.x).norm() / (scale * b).norm()
        assert solution.relative_residual == pytest.approx(residual.item(), rel=1e-6)
        assert residual < 1e-3
        assert solution.iterations == conjugate_gradient(lambda v: A @ v, b, 100, 1e-3).iterations


def test_ritz_values_are_the_eigenvalues_once_the_space_is_spanned():
    A = spd(8, 50.0)
    solution = conjugate_gradient(
        lambda v: A @ v, torch.ones(8, dtype=torch.float64), max_iterations=8, tolerance=0.0
    )
    assert torch.allclose(
        torch.tensor(solution.ritz_values, dtype=torch.float64), torch.linalg.eigvalsh(A), rtol=1e-6
    )


def test_ritz_values_lie_within_the_spectrum_before_that():
    A = spd(40, 1e4)
    eigenvalues = torch.linalg.eigvalsh(A)
    ritz = conjugate_gradient(
        lambda v: A @ v, torch.ones(40, dtype=torch.float64), max_iterations=6
    ).ritz_values
    assert len(ritz) == 6
    assert eigenvalues[0] <= ritz[0] <= ritz[-1] <= eigenvalues[-1] * (1 + 1e-12)


def test_zero_right_hand_side():
    solution = conjugate_gradient(lambda v: v, torch.zeros(3))
    assert torch.equal(solution.x, torch.zeros(3))
    assert (solution.iterations, solution.relative_residual, solution.quadratic_form) == (
        0,
        0.0,
        0.0,
    )


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e18, 1e30])
def test_squares_neither_vanish_nor_overflow_in_float32(scale):
    A, b = spd(6, 10.0).float(), torch.ones(6)
    solution = conjugate_gradient(lambda v: A @ v, scale * b, 20, 1e-5)
    assert torch.allclose(solution.x / scale, torch.linalg.solve(A, b), rtol=1e-3)


def test_stops_where_there_is_no_curvature():
    A = torch.diag(torch.tensor([1.0, 0.0]))
    assert torch.equal(
        conjugate_gradient(lambda v: A @ v, torch.tensor([0.0, 1.0])).x, torch.zeros(2)
    )
    for never in (-1.0, torch.inf):
        assert conjugate_gradient(lambda v, a=never: a * v, torch.ones(2)).iterations == 0
    assert conjugate_gradient(lambda v: v * torch.nan, torch.ones(2)).x.isfinite().all()
    mixed = conjugate_gradient(lambda v: A @ v, torch.tensor([1.0, 1.0]), 10)
    assert mixed.x.isfinite().all()


def test_rounding_of_products_does_not_grow():
    """Of a matrix like F: few large eigenvalues, which CG finds before its last iteration."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(80, 80, generator=generator, dtype=torch.float64))
    eigenvalues = torch.logspace(1, -8, 80, base=10, dtype=torch.float64) ** 1.5
    A = basis @ torch.diag(eigenvalues) @ basis.T
    b = A @ torch.randn(80, generator=generator, dtype=torch.float64)
    cut = A[:, :40], A[:, 40:]
    one = conjugate_gradient(lambda v: A @ v, b, 12, 0.0, damping=1e-3).x
    other = conjugate_gradient(
        lambda v: cut[0] @ v[:40] + cut[1] @ v[40:], b, 12, 0.0, damping=1e-3
    ).x
    assert not torch.equal(one, other)
    assert (one - other).norm() < 1e-13 * one.norm()
