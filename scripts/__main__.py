"""`trpo COMMAND …`: finds the command and runs it; expected failures print one line and exit."""

import difflib
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trpo.scripts.cli import torchrun
from trpo.scripts.cli.output import prepare_streams, say_error, unwritable

COMMANDS = {
    "train": "train a policy on a Gymnasium environment",
    "resume": "resume a run that was interrupted or killed, or extend it",
    "evaluate": "play a trained policy: returns, and optionally videos",
    "watch": "play a trained policy on screen",
    "export": "write the policy as one file, ONNX or TorchScript",
    "audit": "check that every update of a run kept its KL within the limit",
    "runs": "list runs: environment, steps, return, state, age",
    "plot": "draw a run's return and every update's KL, or several runs",
    "tune": "search for better settings, in several processes",
    "report": "write a self-contained HTML report of a run",
    "exercise": "implement TRPO yourself, in six functions: new, check, quiz",
    "envs": "list the available environments and their spaces",
    "presets": "list the environments with tuned settings",
    "compare": "train update rules over step sizes and seeds: which collapse?",
    "study": "run a natural-gradient study: claim, experiment, verdict",
    "benchmark": "measure learning, speed, checkpoints and Fisher products",
}

HOW_TO_RESUME = "to resume a run there, trpo train ENV --name NAME --resume"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command and its options; `None` for those of the process.

    Returns:
        The exit code of `trpo.scripts.cli.command.run_command`.
    """
    prepare_streams()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in {"-h", "--help"}:
        return _show(_help())
    if arguments[0] == "--version":
        from importlib.metadata import version  # a third of the time that --help takes

        return _show(f"trpo {version('trpo')}")
    command, *options = arguments
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        say_error(f"unknown command {command!r}: expected {', '.join(COMMANDS)}{guess}")
        return 2
    if said := torchrun.wrong():
        say_error(said)
        return 2
    if torchrun.size() > 1 and command != "train":
        if torchrun.rank() == 0:
            say_error(f"trpo {command} runs in one process, not under torchrun: {HOW_TO_RESUME}")
        return 2
    with _ended_by_ctrl_c():  # these import torch, for seconds; --help does not
        from trpo.scripts.cli.command import run_command

        module = importlib.import_module(f"trpo.scripts.{command}")
    return run_command(module.main, options)


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """End this process on Ctrl-C, without the traceback of whatever is being imported."""

    def end(number: int, frame: object) -> None:  # noqa: ARG001 the interface has it
        say_error("interrupted")
        os._exit(128 + number)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show(text: str) -> int:
    try:
        print(text, flush=True)
    except OSError as error:
        return unwritable(error)
    return 0


def _help() -> str:
    commands = "\n".join(f"  {name:<10} {description}" for name, description in COMMANDS.items())
    return f"""usage: trpo COMMAND [OPTIONS]
       trpo --version

Trust Region Policy Optimization: every update's KL measured, logged and held
under its limit.

commands:
{commands}

trpo COMMAND --help lists a command's options.
trpo train CartPole-v1 is a good first one."""


if __name__ == "__main__":
    sys.exit(main())
