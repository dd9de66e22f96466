"""What every training does first: done once, in the process that tests' own are forked from.

Where a test needs a process, and not the start of one, a fork takes one second of six.
"""

import importlib

from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.cli.processes import LATE

for name in ("envpool", "trpo.scripts.evaluate", "trpo.scripts.resume", "trpo.scripts.train", LATE):
    importlib.import_module(name)
parse_train_options(["CartPole-v1"])  # tyro remembers the types that it has read
