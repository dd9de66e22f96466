"""What tests of several packages make: small policies with batches of their own, and trainers."""

from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from trpo.agents.config import LearnerConfig, TrainerConfig
from trpo.agents.networks.encoders import Encoder, flat_features
from trpo.agents.policies import Policy, PolicyConfig, make_policy
from trpo.agents.trainer import Trainer
from trpo.agents.updates.batch import Batch
from trpo.agents.value_function import ValueConfig
from trpo.envs.factory import WHOLE, EnvironmentConfig, Part, make_vector_env
from trpo.envs.grouped import GroupedVectorEnv

HOME = Path(__file__).resolve().parent.parent
OBSERVATION_SIZE = 5
ACTION_SPACES = {
    "box": gym.spaces.Box(-1.0, 1.0, (3,), np.float64),
    "discrete": gym.spaces.Discrete(4),
    "multidiscrete": gym.spaces.MultiDiscrete([3, 2, 4]),
    "multibinary": gym.spaces.MultiBinary(3),
    "joint": gym.spaces.Dict({
        "gear": gym.spaces.Discrete(3),
        "limbs": gym.spaces.Tuple((gym.spaces.Box(-1.0, 1.0, (2,)), gym.spaces.MultiBinary(2))),
    }),
}
HIDDEN = {"linear": (), "one layer": (7,), "two layers": (6, 5)}


@dataclass(frozen=True)
class Problem:
    """A policy, and a batch that it sampled, with advantages that are noise."""

    policy: Policy
    batch: Batch


def flat_parameters(policy: Policy) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in policy.parameters()])


def make_problem(
    space: gym.Space, hidden: tuple[int, ...], size: int = 40, seed: int = 0
) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    policy = make_policy(
        flat_features(OBSERVATION_SIZE),
        space,
        PolicyConfig(hidden=hidden, initial_log_std=-0.5),
        generator,
    ).double()
    with torch.no_grad():
        # away from the near-uniform start, so that every block of F matters
        for parameter in policy.parameters():
            parameter += 0.3 * torch.randn(
                parameter.shape, generator=generator, dtype=torch.float64
            )
        observations = torch.randn(size, OBSERVATION_SIZE, generator=generator, dtype=torch.float64)
        output = policy.network(observations)
        noise = policy.family.draw_noise(1, size, generator)[0].double()
        actions = policy.family.act(output, noise)
        batch = Batch(
            observations=observations,
            actions=actions,
            log_probs=policy.distribution(output).log_prob(actions),
            advantages=torch.randn(size, generator=generator, dtype=torch.float64),
            returns=torch.randn(size, generator=generator, dtype=torch.float64),
            times=torch.arange(size),
            environments=torch.zeros(size, dtype=torch.int64),
        )
    return Problem(policy, batch)


def make_trainer(
    env_id="CartPole-v1",
    engine="auto",
    step_timeout=0.0,
    threads=1,
    make_encoder=None,
    **changes,
) -> Trainer:
    environment = changes.pop("environment", {})
    loop = TrainerConfig(total_steps=10**9, batch_size=256, checkpoint_interval=2)
    learner = LearnerConfig(
        trainer=replace(loop, **changes.pop("trainer", {})),
        policy=changes.pop("policy", PolicyConfig(hidden=(16,))),
        value=ValueConfig(hidden=(16,), **changes.pop("value", {})),
        **changes,
    )
    config = EnvironmentConfig(engine, num_envs=8, step_timeout=step_timeout, **environment)
    part = Part(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else WHOLE

    def make_env(seed: int) -> GroupedVectorEnv:
        return make_vector_env(env_id, config, seed, threads, part=part)

    return Trainer(make_env, learner, threads, make_encoder)


class Convolutional(Encoder):
    """A small convolutional network for the camera of TestCamera-v0, beside a vector."""

    def __init__(self, space, generator):
        super().__init__(4 * 3 * 3 + 2)
        self.filters = torch.nn.Conv2d(3, 4, 3, stride=2)
        torch.nn.init.orthogonal_(self.filters.weight, generator=generator)

    def forward(self, observation):
        image = observation["camera"].movedim(-1, -3)  # channels first
        features = self.filters(image.to(self.filters.weight.dtype)).relu().flatten(1)
        return torch.cat([features, observation["speed"]], dim=1)


def run(trainer: Trainer, updates: int):
    records = trainer.updates()
    return [next(records) for _ in range(updates)]


def parameters(trainer: Trainer) -> torch.Tensor:
    return torch.cat([tensor.double().reshape(-1) for tensor in trainer.agent.tensors().values()])


def untimed(record):
    return (
        record.update,
        record.steps,
        record.status,
        {k: v for k, v in record.metrics.items() if not k.startswith("time/")},
    )
