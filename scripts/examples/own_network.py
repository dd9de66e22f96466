"""A custom network: images read by your own encoder."""

from functools import partial

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from trpo.agents import Encoder, LearnerConfig, Trainer, TrainerConfig
from trpo.agents.observations import Observation
from trpo.envs import EnvironmentConfig, make_vector_env


class Spotlight(gym.Env[np.ndarray, np.int64]):
    """A dark image with one bright square; the action is the quarter it is in."""

    observation_space = gym.spaces.Box(0, 255, (12, 12, 1), np.uint8)
    action_space = gym.spaces.Discrete(4)

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[np.ndarray, dict[str, object]]:
        """Show the first image."""
        super().reset(seed=seed, options=options)
        self.time = 0
        return self._image(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        """Reward the right quarter, and show the next image."""
        reward = float(action == self.quarter)
        self.time += 1
        return self._image(), reward, False, self.time >= 20, {}

    def _image(self) -> np.ndarray:
        row, column = self.np_random.integers(0, 10, 2)
        self.quarter = 2 * (row >= 5) + (column >= 5)
        image = self.np_random.integers(0, 40, (12, 12, 1), dtype=np.uint8)
        image[row : row + 2, column : column + 2] = 255
        return image


class Convolutions(Encoder):
    """Two convolutions; the trainer adds a perceptron for the policy and one for the values.

    Args:
        space: of the images, (height, width, channels).
        generator: source of the initial weights.
    """

    def __init__(self, space: gym.Space, generator: torch.Generator) -> None:
        super().__init__(size=16 * 3 * 3)
        channels = (space.shape or (0, 0, 0))[-1]
        self.filters = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        for layer in self.filters:
            if isinstance(layer, nn.Conv2d):
                nn.init.orthogonal_(layer.weight, 2**0.5, generator=generator)
                nn.init.zeros_(layer.bias) if layer.bias is not None else None

    def forward(self, observation: Observation) -> Tensor:
        """Return features.

        Args:
            observation: (B, height, width, channels) float; small images are normalised.

        Returns:
            (B, 144).
        """
        assert isinstance(observation, Tensor)
        return self.filters(observation.movedim(-1, 1)).flatten(1)


def main(total_steps: int = 40_000) -> float:
    """Train.

    Args:
        total_steps: environment steps.

    Returns:
        Mean return of the last 100 episodes, of 20 at most.
    """
    make_env = partial(make_vector_env, Spotlight, EnvironmentConfig(num_envs=16))
    config = LearnerConfig(trainer=TrainerConfig(total_steps=total_steps))
    trainer = Trainer(make_env, config, make_encoder=Convolutions)
    for update in trainer.updates():
        print(f"{update.steps:>7,} steps  return {update.metrics['episode/return_100']:.1f} of 20")
    return trainer.mean_return or 0.0


if __name__ == "__main__":
    main()
