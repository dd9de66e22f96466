"""The exercise: six functions of TRPO to implement, and a checker that names common mistakes."""
