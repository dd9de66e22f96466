"""The learners: policies, value function, rollouts, advantages, update rules, training loop."""

from trpo.agents.agent import Agent
from trpo.agents.config import LearnerConfig, TrainerConfig
from trpo.agents.networks.encoders import Encoder
from trpo.agents.rollouts.policy_evaluation import evaluate_policy
from trpo.agents.runs import Run, RunConfig
from trpo.agents.trainer import Trainer, TrainingError

__all__ = [
    "Agent",
    "Encoder",
    "LearnerConfig",
    "Run",
    "RunConfig",
    "Trainer",
    "TrainerConfig",
    "TrainingError",
    "evaluate_policy",
]
