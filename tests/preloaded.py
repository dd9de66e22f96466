"""What every training does at its start: done once, in the process that tests' own are forked from.

Where a test needs a process, and not the start of one, a fork of this takes a second instead of six.
"""

import importlib

import envpool  # noqa: F401

import trpo.scripts.evaluate
import trpo.scripts.resume
import trpo.scripts.train  # noqa: F401
from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.cli.processes import LATE

importlib.import_module(LATE)
parse_train_options(["CartPole-v1"])  # tyro remembers the types that it has read
