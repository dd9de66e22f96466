"""Trainings side by side, each in a process of its own."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
"""Processes that have torch imported already, and nothing else done."""
FORKS.set_forkserver_preload(["trpo.scripts.train", "envpool"])
