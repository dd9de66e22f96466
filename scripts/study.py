"""`trpo study NAME`: runs a natural-gradient study: a claim, the experiment that tests it, and its verdict."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from trpo.scripts.cli.command import UsageError, parse

STUDIES = {
    "euclidean-vs-kl": "C1: equal steps in parameter space, and how far each moves the distribution",
    "parameterisation": "C2: one Gaussian, three parameterisations: distances and optimisers' paths",
    "rescaled-layer": "C2: one network, a layer's weights rescaled; what damping does to invariance",
    "kl-asymmetry": "C3: KL in both directions over growing distance",
    "fisher-three-ways": "C4: expected score outer product, Hessian of KL, JᵀMJ; and ½dᵀFd against KL",
    "score": "C5: the score's mean and covariance; the loss gradient beside it",
    "empirical-fisher": "C6: the data's targets in place of the model's own: directions, and losses reached",
    "optimiser-race": "C7, C9: eight optimisers on real data: steps, seconds, KL, angle to the natural direction",
    "fisher-cost": "C7, C8: dense F against products, F against the loss Hessian: time and memory",
    "definiteness": "C8: the ends of the spectra of F and of the loss Hessian over training",
}


@dataclass(frozen=True)
class StudyOptions:
    """Run a study: print its table and verdicts, write its numbers and figure."""

    out: Path = Path("runs/studies")
    """Folder that gets a folder for each study."""


def main(arguments: Sequence[str]) -> int:
    """Run a study, or all.

    Args:
        arguments: the words after `trpo study`.

    Returns:
        0.

    Raises:
        UsageError: if the study is not one of those there are.
    """
    if not arguments or arguments[0] in {"-h", "--help"}:
        names = "\n".join(f"  {name:<18} {description}" for name, description in STUDIES.items())
        print(
            f"usage: trpo study NAME [--out FOLDER]\n\nstudies:\n{names}\n  {'all':<18} every one of them"
        )
        return 0
    name, *words = arguments
    if name not in {*STUDIES, "all"}:
        raise UsageError(f"unknown study {name!r}: expected {', '.join(STUDIES)} or all")
    options = parse(StudyOptions, words, f"study {name}")
    for study in STUDIES if name == "all" else [name]:
        run_study(study, options.out / study)
    return 0


def run_study(name: str, folder: Path) -> None:
    """Run one study on one thread, so that its numbers repeat and its times compare.

    Args:
        name: of `STUDIES`.
        folder: to write to.
    """
    from trpo.scripts.studies.findings import (
        publish,
    )  # imports matplotlib and tensorboard; the list of studies does not

    print(f"\n{name} · {STUDIES[name]}\n", flush=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        publish(
            importlib.import_module(f"trpo.scripts.studies.{name.replace('-', '_')}").study(),
            folder,
        )
    finally:
        torch.set_num_threads(threads)
    print(f"\n{folder / 'figure.png'}")
