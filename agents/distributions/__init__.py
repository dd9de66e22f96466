"""Distributions over actions: a family for every kind of action space."""
