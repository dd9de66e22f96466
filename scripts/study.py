"""`trpo study NAME`: a claim about natural gradients, the experiment that tests it, the verdict."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from trpo.scripts.cli.command import UsageError, parse
from trpo.validation import require

STUDIES = {
    "euclidean-vs-kl": "C1: equal steps in parameter space, how far each moves the distribution",
    "parameterisation": "C2: one Gaussian, three parameterisations: distances and paths",
    "rescaled-layer": "C2: a layer's weights rescaled; what damping does to invariance",
    "kl-asymmetry": "C3: KL in both directions over growing distance",
    "fisher-three-ways": "C4: score outer product, Hessian of KL, JᵀMJ; and ½dᵀFd against KL",
    "score": "C5: the score's mean and covariance, and the loss gradient",
    "empirical-fisher": "C6: the data's targets in place of the model's own: directions, losses",
    "optimiser-race": "C7, C9: eight optimisers on real data: steps, seconds, gain per KL",
    "fisher-cost": "C7, C8: dense F against products, F against the loss Hessian: time and memory",
    "trust-region": "C1, C4: the trust region of a policy of two parameters, drawn, over a run",
    "two-state": "C10: a loop that closes, with exact values: which steps close it for ever",
    "one-update": "C10: one update of any rule, what is left, and the way back; hours, not in all",
    "locked": "C10: locked runs of the grids go on ten times as long; an hour, not in all",
    "minibatches": "C7: minibatches, a test set and processor time",
    "noise-and-curvature": "C9: gradient noise, momentum and accumulators compared with F",
    "kl-estimators": "KL from samples: k1, k2, k3 against the closed form",
    "definiteness": "C8: the ends of the spectra of F and of the loss Hessian over training",
}


@dataclass(frozen=True)
class StudyOptions:
    """Run a study: print its table and verdicts, write its numbers and figure."""

    out: Path = Path("runs/studies")
    """Folder in which each study has a subfolder."""


@dataclass(frozen=True)
class LongStudyOptions(StudyOptions):
    """Train, and add to the tables; repeating the command resumes it."""

    tasks: tuple[str, ...] = ()
    """Which of the study's environments."""
    seeds: int = 5
    """Number of runs of each, from seed 0."""

    def __post_init__(self) -> None:
        known = type(self).tasks
        require(self, "tasks", set(self.tasks) <= set(known), f"of {', '.join(known)}")
        require(self, "seeds", self.seeds >= 1, "an integer ≥ 1")


@dataclass(frozen=True)
class OneUpdateOptions(LongStudyOptions):
    """Make one update with each rule at many step sizes, and let TRPO recover.

    Repeating the command resumes it.
    """

    tasks: tuple[str, ...] = (
        "Hopper-v5",
        "CartPole-v1",
        "FrozenLake-v1",
        "MountainCar-v0",
        "Walker2d-v5",
    )
    """Which of these five environments."""


@dataclass(frozen=True)
class LockedOptions(LongStudyOptions):
    """Continue the locked runs of the grids, and TRPO's, for ten times their length.

    Repeating the command resumes it.
    """

    tasks: tuple[str, ...] = ("CartPole-v1", "HalfCheetah-v5")
    """Which of these two environments."""
    seeds: int = 10
    """Number of seeds of each grid, from 0, where it has as many."""


LONG: dict[str, type[LongStudyOptions]] = {"one-update": OneUpdateOptions, "locked": LockedOptions}


def main(arguments: Sequence[str]) -> int:
    """Run a study, or all.

    Args:
        arguments: the words after `trpo study`.

    Returns:
        0.

    Raises:
        UsageError: if the study is unknown.
    """
    if not arguments or arguments[0] in {"-h", "--help"}:
        names = "\n".join(f"  {name:<18} {description}" for name, description in STUDIES.items())
        print(
            f"usage: trpo study NAME [--out FOLDER]\n\nstudies:\n{names}\n"
            f"  {'all':<18} all of them except {' and '.join(LONG)}"
        )
        return 0
    name, *words = arguments
    if name not in {*STUDIES, "all"}:
        raise UsageError(f"unknown study {name!r}: expected {', '.join(STUDIES)} or all")
    options = parse(LONG.get(name, StudyOptions), words, f"study {name}")
    for study in [each for each in STUDIES if each not in LONG] if name == "all" else [name]:
        run_study(study, options)
    return 0


def run_study(name: str, options: StudyOptions) -> None:
    """Run one study on one thread, so that its numbers are reproducible and its times comparable.

    Args:
        name: of `STUDIES`.
        options: of the study.
    """
    folder = options.out / name
    # here, because matplotlib and tensorboard are slow to import
    from trpo.scripts.studies.findings import publish

    print(f"\n{name} · {STUDIES[name]}\n", flush=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        module = importlib.import_module(f"trpo.scripts.studies.{name.replace('-', '_')}")
        if isinstance(options, LongStudyOptions):
            findings = module.study(folder, options.tasks, options.seeds)
        else:
            findings = module.study()
        publish(findings, folder)
    finally:
        torch.set_num_threads(threads)
    print(f"\n{folder / 'figure.png'}")
