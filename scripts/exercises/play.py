"""Tries a student's code in this process, which may hang or die without harm.

Results are printed as lines of JSON.

`python -m trpo.scripts.exercises.play FOLDER FUNCTION …` prints "ready" once torch is imported,
"imported" once exercise.py is, and then one line per function. The output of the student's code
goes to stderr.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import torch

from trpo.scripts.exercises.probes import float64, observe, one_line

FILE = "exercise.py"


def load(folder: Path) -> ModuleType:
    """Import a folder's exercise.py, which may import other files of the folder.

    Args:
        folder: of the student.

    Returns:
        The module.
    """
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("exercise", folder / FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["exercise"] = module
    spec.loader.exec_module(module)
    return module


def main(folder: str, *functions: str) -> None:
    """Try functions, and print their results.

    Args:
        folder: of the student.
        functions: of `probes.FUNCTIONS`.
    """
    lines = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # so that the student's output does not mix with it

    def say(**line: object) -> None:
        lines.write(json.dumps(line) + "\n")

    torch.set_num_threads(1)
    say(stage="ready")
    home = Path(folder).resolve()
    try:
        with float64():
            module = load(home)
    except BaseException as error:  # whatever a student's code raises, SystemExit too
        say(stage="failed", says=one_line(error, str(home / FILE)))
        return
    say(stage="imported")
    for function in functions:
        if hasattr(module, function):
            outcomes = observe(function, getattr(module, function), str(home / FILE))
        else:
            outcomes = dict.fromkeys(["clue"], f"is not in {FILE}")
        say(stage="played", function=function, outcomes=outcomes)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # not delayed by threads that the student's code may have started
