"""A custom environment: training, saving and using an agent from Python."""

from functools import partial

import gymnasium as gym
import numpy as np

from trpo.agents import Agent, LearnerConfig, Trainer, TrainerConfig
from trpo.envs import EnvironmentConfig, make_vector_env


class Thermostat(gym.Env[np.ndarray, np.ndarray]):
    """Keep a room at 20 °C: heat and cool by up to 500 W, against the weather."""

    observation_space = gym.spaces.Box(-40.0, 60.0, (2,), np.float32)  # inside, outside
    action_space = gym.spaces.Box(-500.0, 500.0, (1,), np.float32)  # watts

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[np.ndarray, dict[str, object]]:
        """Start at a random temperature."""
        super().reset(seed=seed, options=options)
        self.inside, self.outside = self.np_random.uniform([10, -10], [30, 35])
        self.time = 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        """Heat or cool for a minute; the reward is the comfort left."""
        self.inside += 0.004 * float(action[0]) + 0.02 * (self.outside - self.inside)
        self.time += 1
        comfort = -abs(self.inside - 20) / 10
        return self._observation(), comfort, False, self.time >= 100, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.inside, self.outside], np.float32)


def main(total_steps: int = 60_000, path: str = "thermostat.safetensors") -> float:
    """Train, save, load, and play an episode.

    Args:
        total_steps: environment steps.
        path: of the agent's file.

    Returns:
        The episode's return.
    """
    make_env = partial(make_vector_env, Thermostat, EnvironmentConfig(num_envs=16))
    trainer = Trainer(make_env, LearnerConfig(trainer=TrainerConfig(total_steps=total_steps)))
    for update in trainer.updates():
        metrics = update.metrics
        print(f"{update.steps:>7,} steps  KL {metrics['update/mean_kl']:.5f}", end="  ")
        print(f"return {metrics.get('episode/return_100', float('nan')):.1f}")
    trainer.agent.save(path)

    agent, env = Agent.load(path), Thermostat()
    observation, _ = env.reset(seed=0)
    total, done = 0.0, False
    while not done:
        action, _ = agent.act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, done = total + reward, terminated or truncated
    return total


if __name__ == "__main__":
    print(f"return of one episode: {main():.1f}")
