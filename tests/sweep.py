"""Random, hard trust-region problems in float32: the step's promises must hold in every one.

`make sweep` runs 10,000 of them (about a minute); `python tests/sweep.py 500 7` runs 500, from seed
7 on. A broken promise is printed, and the exit code is 1.
"""

import math
import sys
from collections import Counter
from pathlib import Path

import torch
from torch.distributions import kl_divergence

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.helpers import ACTION_SPACES, HIDDEN, OBSERVATION_SIZE, flat_parameters
from trpo.agents.networks.encoders import flat_features
from trpo.agents.policies import Policy, PolicyConfig, make_policy
from trpo.agents.updates.batch import Batch
from trpo.agents.updates.update_rule import importance_weighted_advantage
from trpo.report import Status, StepReport
from trpo.trust_region import TrustRegionConfig, trust_region_step


def hard_problem(seed: int) -> tuple[Policy, Batch, TrustRegionConfig]:
    """Any action space, depth and batch to 4096; condition to 1e12; 16 decades of advantages."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    def one_in(n: int) -> bool:
        return int(torch.randint(n, (), generator=generator)) == 0

    size = round(4096 ** uniform(0, 1))
    spaces, depths = list(ACTION_SPACES.values()), list(HIDDEN.values())
    space, hidden = spaces[seed % len(spaces)], depths[seed % len(depths)]
    policy = make_policy(
        flat_features(OBSERVATION_SIZE), space, PolicyConfig(hidden=hidden), generator
    )
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += uniform(0, 1) * torch.randn(parameter.shape, generator=generator)
        decades = uniform(
            0, 6
        )  # of the observations' scales; F is quadratic in them, so up to 1e12
        scales = 10 ** torch.linspace(-decades / 2, decades / 2, OBSERVATION_SIZE)
        observations = scales * torch.randn(size, OBSERVATION_SIZE, generator=generator)
        if one_in(8):
            observations[:, int(torch.randint(OBSERVATION_SIZE, (), generator=generator))] = 0
        if one_in(8):
            observations[:] = observations[0]  # one state only
        output = policy.network(observations)
        actions = policy.family.act(output, policy.family.draw_noise(1, size, generator)[0])
        advantages = 10 ** uniform(-8, 8) * torch.randn(size, generator=generator)
        if one_in(8):
            advantages *= torch.rand(size, generator=generator) < 0.1  # mostly zeros
        if one_in(20):
            advantages.zero_()
        log_probs = policy.distribution(output).log_prob(actions)
    damping = [0.0, 1e-8, 1e-3, 0.1][int(torch.randint(4, (), generator=generator))]
    config = TrustRegionConfig(max_kl=10 ** uniform(-6, 0), damping=damping)
    places = torch.arange(size), torch.zeros(size, dtype=torch.int64)
    batch = Batch(observations, actions, log_probs, advantages, advantages, *places)
    return policy, batch, config


def step(seed: int) -> tuple[StepReport, str]:
    """Solve a problem; return its report, and the promise that was broken, or nothing."""
    policy, batch, config = hard_problem(seed)
    before = flat_parameters(policy)
    with torch.no_grad():  # as the policy acts: with gradients, tanh is rounded otherwise
        eta_old = [eta.clone() for eta in policy.eta(policy.network(batch.observations))]
    report = trust_region_step(policy.model(), importance_weighted_advantage, [batch], config)
    after = flat_parameters(policy)
    if not after.isfinite().all():
        return report, "parameters are not finite"
    if report.status is not Status.ACCEPTED:
        same = torch.equal(after.view(torch.int32), before.view(torch.int32))
        return report, "" if same else f"parameters moved, though {report.status.value}"
    with torch.no_grad():
        eta_new = policy.eta(policy.network(batch.observations))
    # in float64, by torch's own formula, where no probability underflows
    old, new = (policy.family(*(e.double() for e in eta)) for eta in (eta_old, eta_new))
    kl = kl_divergence(old, new).mean().item()
    if not report.mean_kl <= config.max_kl or (kl > config.max_kl * (1 + 1e-9) and kl < math.inf):
        return report, f"KL {report.mean_kl}, or {kl}, > {config.max_kl}"
    return report, ""


def main() -> int:
    """Solve COUNT problems (10,000) from seed FIRST (0) on."""
    count, first = [*map(int, sys.argv[1:]), *(10_000, 0)[len(sys.argv) - 1 :]]
    torch.set_num_threads(1)
    outcomes, broken = Counter[str](), 0
    for seed in range(first, first + count):
        try:
            report, complaint = step(seed)
        except Exception as error:  # that there is none is one of the promises
            complaint = f"raised {type(error).__name__}: {error}"
        else:
            outcomes[report.status.value] += 1
        if complaint:
            broken += 1
            print(f"seed {seed}: {complaint}", flush=True)
    for outcome, times in outcomes.most_common():
        print(f"{times:>6,} {outcome}")
    print(f"{broken} of {count:,} problems broke a promise")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
