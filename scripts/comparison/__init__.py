"""The policy-collapse comparison: methods, the grid, what collapse is, report and figures."""
