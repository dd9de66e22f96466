"""The policy-collapse comparison: methods, grid, definition of collapse, report, figures."""
