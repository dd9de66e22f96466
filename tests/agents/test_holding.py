"""What is learned is kept, where states are nearly identical and advantages are all noise."""

from dataclasses import replace

import numpy as np

from trpo.agents.config import LearnerConfig
from trpo.agents.trainer import Trainer
from trpo.envs.factory import EnvironmentConfig, make_vector_env


def test_a_solved_pendulum_stays_solved():
    """Solved in a third of the steps; with a full δ at every update it is lost again."""
    learner = LearnerConfig()
    learner = replace(learner, trainer=replace(learner.trainer, total_steps=150_000, seed=3))
    trainer = Trainer(
        lambda seed: make_vector_env("InvertedPendulum-v5", EnvironmentConfig(), seed, threads=1),
        learner,
    )
    returns = np.array([
        (record.steps, record.metrics["episode/return"])
        for record in trainer.updates()
        if "episode/return" in record.metrics
    ])
    late = returns[returns[:, 0] > 75_000, 1]
    assert late.min() > 300
    assert trainer.mean_return > 950
