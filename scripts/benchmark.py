"""`trpo benchmark NAME`: measures learning, speed, checkpoints, Fisher products; takes a census."""

import importlib
from collections.abc import Sequence

from trpo.scripts.cli.command import UsageError

BENCHMARKS = {
    "learning": "train and evaluate over seeds: what each environment's preset reaches",
    "speed": "speed of training, against the bare environment and a peer",
    "checkpoint": "the cost of resume points: saving, and re-creating environments",
    "census": "two updates in every available environment: which train, and why others do not",
    "fisher": "one Fisher-vector product against gradients and other products: time and memory",
}


def main(arguments: Sequence[str]) -> int:
    """Run a benchmark.

    Args:
        arguments: the words after `trpo benchmark`.

    Returns:
        Its exit code.

    Raises:
        UsageError: if the benchmark is not one of those there are.
    """
    if not arguments or arguments[0] in {"-h", "--help"}:
        names = "\n".join(f"  {name:<10} {description}" for name, description in BENCHMARKS.items())
        print(
            f"usage: trpo benchmark NAME [OPTIONS]\n\nbenchmarks:\n{names}\n\n"
            "trpo benchmark NAME --help lists its options."
        )
        return 0
    name, *options = arguments
    if name not in BENCHMARKS:
        raise UsageError(f"unknown benchmark {name!r}: expected {', '.join(BENCHMARKS)}")
    return int(importlib.import_module(f"trpo.scripts.benchmarks.{name}").main(options))
