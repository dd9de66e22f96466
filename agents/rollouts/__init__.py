"""From environments to a batch: rollouts, episodes, advantages; evaluation."""
