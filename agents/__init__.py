"""The learners: policies, value function, rollouts, advantages, update rules and the training loop."""
