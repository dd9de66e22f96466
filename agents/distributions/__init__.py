"""Distributions over actions: one family per kind of action space."""
