"""The lab sheet's questions; the right answers are determined by running code."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import Normal, kl_divergence
from torch.nn.utils import parameters_to_vector as flatten
from torch.nn.utils import vector_to_parameters as assign

from trpo.conjugate_gradient import conjugate_gradient
from trpo.scripts.cli.command import UsageError
from trpo.scripts.exercises import oracle
from trpo.scripts.exercises.fixtures import (
    Batch,
    FixturePolicy,
    batch_of,
    gaussian,
    right_side,
)
from trpo.scripts.exercises.probes import GAMMA, LAMBDA, SHEET


@dataclass(frozen=True)
class Question:
    """A question with answers to choose from, and the experiment that answers it.

    Args:
        text: what is asked.
        choices: letter to answer.
        experiment: () ↦ the letter of the right answer, and what was measured, in words.
    """

    text: str
    choices: dict[str, str]
    experiment: Callable[[], tuple[str, str]]


def _closest(value: float, candidates: dict[str, float]) -> str:
    """Return the letter whose number is nearest, by ratio, to what was measured."""
    return min(candidates, key=lambda letter: abs(math.log(value / candidates[letter])))


def _mean_kl(policy: FixturePolicy, batch: Batch) -> Tensor:
    with torch.no_grad():
        old = policy(batch.observations)
    return kl_divergence(old, policy(batch.observations)).sum(-1).mean()


def _gradient(value: Tensor, policy: FixturePolicy, keep: bool = False) -> Tensor:
    return flatten(grad(value, list(policy.parameters()), create_graph=keep))


def _kl_at_theta_old() -> tuple[str, str]:
    policy = gaussian()
    kl = _mean_kl(policy, batch_of(policy))
    slope = _gradient(kl, policy, keep=True)
    curvature = _gradient(slope @ torch.ones_like(slope), policy)
    sizes = kl.abs().item(), slope.norm().item(), curvature.norm().item()
    nonzero = "".join(str(int(size > 1e-10)) for size in sizes)
    letter = {"000": "a", "111": "b", "001": "c"}.get(nonzero, "d")
    return letter, "value {:.0e}, gradient {:.0e}, Hessian times a vector {:.1f}".format(*sizes)


def _natural_step(
    policy: FixturePolicy, batch: Batch, damping: float = 0.1, max_kl: float = 0.02
) -> tuple[Tensor, Tensor]:
    """Return the surrogate's gradient, and the full step."""
    g = _gradient(oracle.surrogate(policy, policy, batch), policy)
    A = oracle.dense_fisher(policy, batch) + damping * torch.eye(len(g), dtype=g.dtype)
    x = torch.linalg.solve(A, g)
    return g, torch.sqrt(2 * max_kl / (x @ A @ x)) * x


def _log_prob_for_ratio() -> tuple[str, str]:
    policy, old = gaussian(), gaussian()
    batch = batch_of(policy)

    def log_prob_objective() -> Tensor:
        log_prob = policy(batch.observations).log_prob(batch.actions).sum(-1)
        return (log_prob * batch.advantages).mean()

    g, step = _natural_step(policy, batch, max_kl=0.5)
    same_gradient = torch.allclose(_gradient(log_prob_objective(), policy), g)
    before = oracle.surrogate(policy, old, batch).item(), log_prob_objective().item()
    assign(flatten(policy.parameters()).detach() + step, policy.parameters())
    after = oracle.surrogate(policy, old, batch).item(), log_prob_objective().item()
    gains = after[0] - before[0], after[1] - before[1]
    same_gain = math.isclose(*gains, rel_tol=0.01)
    letter = ("b" if same_gain else "c") if same_gradient else "a"
    return letter, (
        f"gradients equal: {same_gradient}; over one step the surrogate gains {gains[0]:+.3f}, "
        f"E[log π · Â] {gains[1]:+.3f}"
    )


def _four_times_delta() -> tuple[str, str]:
    policy = gaussian()
    batch = batch_of(policy)
    lengths = [
        _natural_step(policy, batch, max_kl=delta)[1].norm().item() for delta in (0.01, 0.04)
    ]
    ratio = lengths[1] / lengths[0]
    return _closest(ratio, {"a": 1, "b": 2, "c": 4, "d": 16}), f"{ratio:.4f} times as long"


def _ten_times_the_rewards() -> tuple[str, str]:
    policy = gaussian()
    batch = batch_of(policy)
    one = _natural_step(policy, batch)[1]
    ten = _natural_step(policy, batch._replace(advantages=10 * batch.advantages))[1]
    ratio = (ten.norm() / one.norm()).item()
    letter = _closest(ratio, {"a": 1, "b": math.sqrt(10), "c": 10, "d": 100})
    return letter, f"{ratio:.4f} times as long"


def _much_damping() -> tuple[str, str]:
    policy = gaussian()
    batch = batch_of(policy)
    seen = []
    for damping in (1e-3, 100.0):
        g, step = _natural_step(policy, batch, damping)
        cosine = (torch.dot(g, step) / g.norm() / step.norm()).item()
        measured = gaussian()
        assign(flatten(policy.parameters()).detach() + step, measured.parameters())
        with torch.no_grad():
            pis = policy(batch.observations), measured(batch.observations)
            seen.append((cosine, kl_divergence(*pis).sum(-1).mean().item() / 0.02))
    (few, kl_few), (much, kl_much) = seen
    letter = {(True, True): "b", (True, False): "c", (False, True): "d"}.get(
        (much > few, kl_much < 0.5 * kl_few), "a"
    )
    return letter, (
        f"cosine to g from {few:.2f} to {much:.2f}, measured KL from {kl_few:.2f} δ to "
        f"{kl_much:.4f} δ"
    )


def _three_eigenvalues() -> tuple[str, str]:
    spectrum = torch.tensor([1.0, 1.0, 5.0, 5.0, 9.0, 9.0], dtype=torch.float64)
    solution = conjugate_gradient(lambda v: spectrum * v, right_side(), 100, 1e-10)
    letter = _closest(solution.iterations, {"a": 1, "b": 3, "c": 6, "d": 36})
    return (
        letter,
        f"{solution.iterations} iterations to a residual of {solution.relative_residual:.0e}",
    )


def _narrow_or_wide() -> tuple[str, str]:
    old = Normal(0.0, 1.0)
    narrow, wide = (kl_divergence(old, Normal(0.0, sigma)).item() for sigma in (0.5, 2.0))
    letter = "c" if math.isclose(narrow, wide) else "a" if narrow > wide else "b"
    return letter, f"KL {narrow:.3f} nats to N(0, ½²), {wide:.3f} to N(0, 2²)"


def _equal_steps() -> tuple[str, str]:
    wide, narrow = (
        kl_divergence(Normal(0.0, sigma), Normal(0.05, sigma)).item() for sigma in (1.0, 0.1)
    )
    ratio = narrow / wide
    letter = _closest(ratio, {"a": 1, "b": 10, "c": 100, "d": 1000})
    return letter, f"{wide:.5f} nats and {narrow:.5f} nats, a ratio of {ratio:.1f}"


def _two_ways_to_write_sigma() -> tuple[str, str]:
    """Return by how much a small step along either gradient moves σ, in log σ and in σ²."""
    data, h = torch.tensor([0.5, 1.5, -2.0], dtype=torch.float64), 1e-4
    moves: dict[str, list[float]] = {"gradient": [], "natural": []}
    for write, read in ((math.log, torch.exp), (lambda sigma: sigma**2, torch.sqrt)):
        theta = torch.tensor(write(2.0), dtype=torch.float64, requires_grad=True)
        (slope,) = grad(Normal(0.0, read(theta)).log_prob(data).mean(), theta)
        kl = kl_divergence(Normal(0.0, read(theta.detach())), Normal(0.0, read(theta)))
        (first,) = grad(kl, theta, create_graph=True)
        (fisher,) = grad(first, theta)
        for name, direction in (("gradient", slope), ("natural", slope / fisher)):
            moves[name].append((read(theta.detach() + h * direction) - 2.0).item() / h)
    differ = {name: not math.isclose(*pair, rel_tol=1e-2) for name, pair in moves.items()}
    letter = {(True, True): "a", (True, False): "b", (False, True): "c"}.get(
        (differ["gradient"], differ["natural"]), "d"
    )
    told = "; ".join(
        f"{name}: dσ/dh {by_log:.4f} by log σ, {by_square:.4f} by σ²"
        for name, (by_log, by_square) in moves.items()
    )
    return letter, told


def _truncation() -> tuple[str, str]:
    rewards, values, terminated, truncated = SHEET
    right = oracle.gae(rewards, values, terminated, truncated, GAMMA, LAMBDA)
    wrong = oracle.gae(rewards, values, terminated | truncated, truncated, GAMMA, LAMBDA)
    change = (wrong - right)[1].item()
    letter = min("abcd", key=lambda c: abs(change - {"a": 0, "b": -3.6, "c": 3.6, "d": -4}[c]))
    return (
        letter,
        f"Â at the truncated step goes from {right[1].item():.2f} to {wrong[1].item():.2f}",
    )


QUESTIONS = [
    Question(
        "At θ = θ_old, which of KL(π_old ‖ π_θ)'s value, gradient and Hessian are not 0?",
        {"a": "none", "b": "all three", "c": "the Hessian alone", "d": "gradient and Hessian"},
        _kl_at_theta_old,
    ),
    Question(
        "E[log π(a|s) · Â] passes every test of the gradient at θ_old. Why does it fail in TRPO, "
        "as the surrogate?",
        {
            "a": "its gradient is another one",
            "b": "it does not fail: it gains what the surrogate gains",
            "c": "the same gradient, but another value, and the line search compares values",
        },
        _log_prob_for_ratio,
    ),
    Question(
        "δ is four times as large. How much longer is the full step?",
        {"a": "it stays", "b": "2 times", "c": "4 times", "d": "16 times"},
        _four_times_delta,
    ),
    Question(
        "All rewards are ten times as large, and advantages are not normalised. How much longer "
        "is the full step?",
        {"a": "it stays", "b": "√10 times", "c": "10 times", "d": "100 times"},
        _ten_times_the_rewards,
    ),
    Question(
        "The damping β goes from 0.001 to 100. What becomes of the full step?",
        {
            "a": "nothing: β is there for numerical reasons only",
            "b": "it turns towards the gradient, and moves KL by much less than δ",
            "c": "it turns towards the gradient, and still moves KL by about δ",
            "d": "it keeps its direction, and moves KL by much less than δ",
        },
        _much_damping,
    ),
    Question(
        "A is 6 × 6 and has three different eigenvalues, each twice. After how many iterations is "
        "conjugate gradient done?",
        {"a": "1", "b": "3", "c": "6", "d": "36"},
        _three_eigenvalues,
    ),
    Question(
        "π_old is N(0, 1). Which costs more KL(π_old ‖ π_new)?",
        {
            "a": "halving σ: the old policy's actions become improbable",
            "b": "doubling σ",
            "c": "the same",
        },
        _narrow_or_wide,
    ),
    Question(
        "The mean of N(0, σ²) moves by 0.05. How much more KL is that for σ = 0.1 than for σ = 1? "
        "(C1)",
        {
            "a": "the same: the step is the same",
            "b": "10 times",
            "c": "100 times",
            "d": "1000 times",
        },
        _equal_steps,
    ),
    Question(
        "σ may be written as log σ or as σ². A small step of which method moves σ differently "
        "under the two? (C2)",
        {
            "a": "of gradient ascent and of the natural gradient",
            "b": "of gradient ascent alone",
            "c": "of the natural gradient alone",
            "d": "of neither",
        },
        _two_ways_to_write_sigma,
    ),
    Question(
        "In the sheet's rollout (exercise 1), truncation is taken for termination. How does Â "
        "change at the truncated step?",
        {"a": "not at all", "b": "by −3.6", "c": "by +3.6", "d": "by −4"},
        _truncation,
    ),
]


def as_markdown() -> str:
    """Return the questions as the lab sheet prints them."""
    lines = []
    for number, question in enumerate(QUESTIONS, 1):
        lines.append(f"{number}. {question.text}")
        lines += [f"   - ({letter}) {choice}" for letter, choice in question.choices.items()]
    return "\n".join(lines)


def mark(path: Path) -> int:
    """Mark the answers of a file by running each question's experiment; ask where there is none.

    Args:
        path: of answers.json, number of the question to letter.

    Returns:
        0 if all are right, else 1.

    Raises:
        UsageError: if the file cannot be read.
    """
    try:
        answers = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    right = 0
    for number, question in enumerate(QUESTIONS, 1):
        answer = str(answers.get(str(number), "")).strip().lower()
        print(f"{number}. {question.text}")
        if answer not in question.choices:
            for letter, choice in question.choices.items():
                print(f"   ({letter}) {choice}")
            continue
        torch.manual_seed(0)
        expected, measured = question.experiment()
        right += answer == expected
        verdict = "right" if answer == expected else "no"
        print(f"   ({answer}) {question.choices[answer]}: {verdict}. Measured: {measured}")
    print(f"{right} of {len(QUESTIONS)} right; answers go into {path}")
    return 0 if right == len(QUESTIONS) else 1
