"""The parts of `trpo tune`: search space, trials, findings."""
