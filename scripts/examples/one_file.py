"""Trust region policy optimisation in one file, from the environment to conjugate gradient.

    python scripts/examples/one_file.py CartPole-v1 [STEPS [SEED]]

Read it from the bottom up: `train` is the loop, `trpo_step` the update (Schulman et al. 2015). It
imports nothing of the project, whose tests hold that `trpo_step` moves a policy as
`trpo.trust_region.trust_region_step` does, and that CartPole-v1 is solved in 100,000 steps.

Symbols: T steps in a batch, θ the policy's P parameters, s a state, Â an advantage, δ the limit on
E_s[KL(π_old(·|s) ‖ π_θ(·|s))] in nats, F the Hessian of that KL at θ_old, β its damping.
"""

import sys
from collections import deque
from collections.abc import Callable

import gymnasium as gym
import torch
from gymnasium.spaces import flatdim
from torch import Tensor, nn
from torch.autograd import grad
from torch.distributions import Categorical, Distribution, Independent, Normal, kl_divergence
from torch.nn.utils import parameters_to_vector as flatten
from torch.nn.utils import vector_to_parameters as assign

GAMMA, LAMBDA, BATCH = 0.99, 0.95, 2048  # discount γ, λ of GAE, T
MAX_KL, DAMPING = 0.02, 0.1  # δ, β
CG_ITERATIONS, CG_TOLERANCE, BACKTRACKS, BACKTRACK_RATIO = 10, 1e-5, 10, 0.8


def mlp(inputs: int, outputs: int, last_gain: float) -> nn.Sequential:
    """Two hidden layers of 64, orthogonal at first (Andrychowicz et al. 2021)."""
    layers = [nn.Linear(inputs, 64), nn.Linear(64, 64), nn.Linear(64, outputs)]
    for layer, gain in zip(layers, (2**0.5, 2**0.5, last_gain), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


class Policy(nn.Module):
    """π_θ(·|s): categorical for Discrete actions, a diagonal Gaussian for Box."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__()
        self.discrete = isinstance(env.action_space, gym.spaces.Discrete)
        size = flatdim(env.action_space)  # choices, or dimensions
        self.network = mlp(flatdim(env.observation_space), size, last_gain=0.01)
        if not self.discrete:
            self.log_std = nn.Parameter(torch.full((size,), -0.5))  # part of θ like any other

    def forward(self, states: Tensor) -> Distribution:
        output = self.network(states)
        if self.discrete:
            return Categorical(logits=output)
        return Independent(Normal(output, self.log_std.exp()), 1)  # log π sums over the actions


def gae(
    rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor
) -> Tensor:  # (T,) each
    """Â_t = Σ_l (γλ)ˡ δ_{t+l}, δ_t = r_t + γ V(s_{t+1}) − V(s_t) (Schulman et al. 2016, eq. 16)."""
    delta = rewards + GAMMA * next_values * ~terminated - values  # after a terminal state V is 0;
    decay = GAMMA * LAMBDA * ~(terminated | truncated)  # after a time limit it is not; both cut Σ
    advantages, following = torch.zeros_like(delta), torch.tensor(0.0)
    for t in reversed(range(len(delta))):
        advantages[t] = following = delta[t] + decay[t] * following
    return advantages


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """Solve Ax = b by products with A alone (Nocedal & Wright 2006, algorithm 5.2)."""
    x, r, p = torch.zeros_like(b), b.clone(), b.clone()
    rr = r @ r
    for _ in range(CG_ITERATIONS):
        if rr.sqrt() <= CG_TOLERANCE * b.norm():
            break
        Ap = product(p)
        alpha = rr / (p @ Ap)
        x += alpha * p
        r -= alpha * Ap
        rr, rr_before = r @ r, rr
        p = r + rr / rr_before * p
    return x


def trpo_step(policy: nn.Module, states: Tensor, actions: Tensor, advantages: Tensor) -> str:
    """Maximise L(θ) = E[π_θ(a|s)/π_old(a|s) Â] subject to E_s[KL(π_old ‖ π_θ)] ≤ δ; say how."""
    parameters = list(policy.parameters())
    theta_old = flatten(parameters).detach().clone()  # (P,)
    with torch.no_grad():
        pi_old = policy(states)
        log_prob_old = pi_old.log_prob(actions)  # (T,)

    def surrogate_and_kl() -> tuple[Tensor, Tensor]:
        pi = policy(states)
        ratio = torch.exp(pi.log_prob(actions) - log_prob_old)  # (T,)
        return (ratio * advantages).mean(), kl_divergence(pi_old, pi).mean()

    # 1. The gradient g of L at θ_old; and that of KL, which is 0 there but can be differentiated.
    surrogate, kl = surrogate_and_kl()
    g = flatten(grad(surrogate, parameters, retain_graph=True))
    kl_gradient = flatten(grad(kl, parameters, create_graph=True))
    surrogate_before = surrogate.item()
    if not g.isfinite().all() or not g.any():
        return "no step: g is 0 or not finite"

    # 2. x ≈ (F + βI)⁻¹g. F v = ∇(∇KLᵀ v): two backward passes, and no P × P matrix.
    def product(v: Tensor) -> Tensor:
        return flatten(grad(kl_gradient @ v, parameters, retain_graph=True)) + DAMPING * v

    x = conjugate_gradient(product, g)

    # 3. As far along x as the quadratic model of KL, ½ tᵀ(F + βI)t, allows: √(2δ / xᵀ(F + βI)x) x.
    full_step = torch.sqrt(2 * MAX_KL / (x @ product(x))) * x

    # 4. The model is only a model: shrink the step until KL and L, as measured, agree.
    for backtracks in range(BACKTRACKS + 1):
        assign(theta_old + BACKTRACK_RATIO**backtracks * full_step, parameters)
        with torch.no_grad():
            surrogate, kl = surrogate_and_kl()
        if kl <= MAX_KL and surrogate > surrogate_before:  # False for NaN, as it has to be
            return f"KL {kl:.5f}  backtracks {backtracks}"
    assign(theta_old, parameters)  # bit for bit
    return "no step: KL above the limit, or L no better, at every try"


def train(env_id: str, total_steps: int, seed: int = 0) -> float:
    """Collect, estimate advantages, step, fit V; return the mean return of the last 20 episodes."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # networks this small gain nothing from more
    env = gym.make(env_id)
    policy, value = Policy(env), mlp(flatdim(env.observation_space), 1, last_gain=1.0)
    if not policy.discrete:
        env = gym.wrappers.ClipAction(env)  # log π stays that of the action before
    adam = torch.optim.Adam(value.parameters(), lr=1e-3)
    state, episode_return, returns = env.reset(seed=seed)[0], 0.0, deque([0.0], maxlen=20)
    for update in range(1, -(-total_steps // BATCH) + 1):
        batch = []
        for _ in range(BATCH):
            before = torch.as_tensor(state, dtype=torch.float32)
            with torch.no_grad():
                action = policy(before).sample()
            state, reward, end, cut, _ = env.step(action.numpy())
            after = torch.as_tensor(state, dtype=torch.float32)
            batch.append((before, action, float(reward), after, end, cut))
            episode_return += float(reward)
            if end or cut:
                returns.append(episode_return)
                state, episode_return = env.reset()[0], 0.0
        columns = list(zip(*batch, strict=True))
        states, actions, next_states = (torch.stack(columns[i]) for i in (0, 1, 3))
        rewards, terminated, truncated = (torch.tensor(columns[i]) for i in (2, 4, 5))

        with torch.no_grad():
            values, next_values = value(states).squeeze(1), value(next_states).squeeze(1)
        advantages = gae(rewards, values, next_values, terminated, truncated)
        targets = advantages + values  # TD(λ)
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        said = trpo_step(policy, states, actions, advantages)
        for minibatch in [m for _ in range(10) for m in torch.randperm(BATCH).split(128)]:
            error = value(states[minibatch]).squeeze(1) - targets[minibatch]
            adam.zero_grad()
            error.square().mean().backward()
            adam.step()
        mean_return = sum(returns) / len(returns)
        print(f"update {update:4d}  steps {update * BATCH:8,d}  return {mean_return:7.1f}  {said}")
    return mean_return


if __name__ == "__main__":
    env_id, steps, seed = sys.argv[1:] + ["CartPole-v1", "100000", "0"][len(sys.argv) - 1 :]
    train(env_id, int(steps), int(seed))
