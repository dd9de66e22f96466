"""The policy-collapse comparison: methods, the grid of runs, what collapse is, the report and its figures."""
