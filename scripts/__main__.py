"""`trpo COMMAND …`: finds the command and runs it; a foreseen failure is one line and a code."""

import difflib
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "train": "train a policy on a Gymnasium environment",
    "resume": "go on with a run that was interrupted or killed, or for longer",
    "evaluate": "play a trained policy: returns, and a video if asked for",
    "audit": "check that every update of a run kept its KL within the limit",
    "plot": "draw a run's learning curve, and its KL at every update",
    "presets": "list the environments with tuned settings",
    "compare": "train update rules over step sizes and seeds, and see which collapse",
    "study": "run a natural-gradient study: a claim, its experiment, its verdict",
    "benchmark": "measure learning, speed and Fisher products, as the published numbers were",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command and its options; `None` for those of the process.

    Returns:
        The exit code: 0, 2 for bad input, 130 after Ctrl-C, 1 when training cannot go on.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_help())
        return 0
    command, *options = arguments
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        print(
            f"trpo: unknown command {command!r}: expected {', '.join(COMMANDS)}"
            + (f"; did you mean {near[0]}?" if near else ""),
            file=sys.stderr,
        )
        return 2
    from trpo.scripts.cli.command import run_command  # what follows imports torch; --help does not

    return run_command(importlib.import_module(f"trpo.scripts.{command}").main, options)


def _help() -> str:
    commands = "\n".join(f"  {name:<10} {description}" for name, description in COMMANDS.items())
    return f"""usage: trpo COMMAND [OPTIONS]

Trust Region Policy Optimization: every update's KL measured, logged and held under its limit.

commands:
{commands}

trpo COMMAND --help lists a command's options; trpo train CartPole-v1 is a good first one."""


if __name__ == "__main__":
    sys.exit(main())
