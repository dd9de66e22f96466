"""The exercise: six functions of TRPO to write, and a checker that knows the mistakes by name."""
