"""Processes that work side by side: none goes on once the command that began it was killed."""

import subprocess
import sys
import time

import pytest

from tests.helpers import HOME
from tests.processes import start
from trpo.agents.runs.lock import Lock

ENDLESS = "--options=--total-steps=100000000"
COMMANDS = {
    "train": "train CartPole-v1 --total-steps 100000000 --seeds 2 --runs",
    "compare": "compare CartPole-v1 --methods trpo --step-sizes 1 --steps 100000000 --out",
    "tune": f"tune CartPole-v1 --workers 1 {ENDLESS} --out",
    "benchmark": f"benchmark learning CartPole-v1 --workers 1 {ENDLESS} --out",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_leaves_no_run_that_goes_on_alone(name, tmp_path):
    if name == "tune":
        pytest.importorskip("optuna")
    command = start(f"{COMMANDS[name]} {tmp_path}")
    while not (tables := list(tmp_path.rglob("metrics.csv"))):
        assert command.is_alive()
        time.sleep(0.01)
    lock, ends = Lock(tables[0].parent), time.monotonic() + 30
    assert lock.is_held()
    command.kill()
    command.join()
    while lock.is_held():  # until the run's process is gone, too
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_streams_that_are_closed_are_closed_to_no_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from trpo.scripts.cli.output import prepare_streams\n"
        "from trpo.scripts.cli.processes import start_process\n"
        "def work():\n"
        "    sys.stdout.write('nobody reads this')\n"
        "if __name__ == '__main__':\n"
        "    prepare_streams()\n"
        "    process = start_process(work)\n"
        "    process.join()\n"
        "    sys.exit(process.exitcode)\n",
        encoding="utf-8",
    )
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, str(program)]
    subprocess.run(closed, cwd=HOME, check=True)
