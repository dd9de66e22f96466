"""Results of tuning: the best settings as a preset's line, a table, parameter importance."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from trpo.scripts.cli.figures import save_figure

LEAST = 8  # minimum completed trials for meaningful importances


def ranked(study: Study) -> list[FrozenTrial]:
    """Return the trials, the best first; those without a score last.

    Args:
        study: any.

    Returns:
        By score; ties by the mean over the whole learning curve, so that faster learning wins.
    """
    return sorted(study.get_trials(deepcopy=False), key=_rank)


def _rank(trial: FrozenTrial) -> tuple[bool, float, float]:
    if trial.state is not TrialState.COMPLETE or trial.value is None:
        return True, 0.0, 0.0
    return False, -trial.value, -mean_evaluation(trial)


def mean_evaluation(trial: FrozenTrial) -> float:
    """Return the mean of a trial's learning curve.

    Args:
        trial: evaluated at least once.
    """
    return fmean(trial.intermediate_values.values())


def rows_of(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return trials as rows of a table.

    Args:
        trials: as `ranked` has them.

    Returns:
        Rows of the same columns.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    return [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "score": "" if trial.value is None else trial.value,
            "mean": mean_evaluation(trial) if trial.intermediate_values else "",
            **{name: _word(trial.params.get(name, "")) for name in names},
        }
        for trial in trials
    ]


def preset_of(trial: FrozenTrial, words: Sequence[str]) -> str:
    """Return options of `trpo train` that stand for a trial.

    Args:
        trial: whose settings they have.
        words: options that these were added to.

    Returns:
        One string, quoted for a shell, as in scripts/cli/presets.py.
    """
    options: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            # a repeated option counts from its last occurrence, which is followed by its values
            options.pop(name, None)
            options[name] = [shlex.quote(value)] if equals else []
        else:
            options[list(options)[-1]].append(shlex.quote(word))
    options |= {f"--{name}": [_word(value)] for name, value in trial.params.items()}
    return " ".join(" ".join([name, *values]) for name, values in options.items())


def _word(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw_importances(study: Study, out: Path) -> bool:
    """Draw how much of the scores' variation each setting explains (PED-ANOVA, Watanabe 2023).

    Args:
        study: any.
        out: the file to write.

    Returns:
        Whether there were enough trials.
    """
    import matplotlib.pyplot as plt

    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < LEAST:
        return False
    importances = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    names = list(importances)[::-1]
    figure, axes = plt.subplots(figsize=(6, 0.6 + 0.35 * len(names)), layout="constrained")
    axes.barh(names, [importances[name] for name in names])
    axes.set(xlabel="importance for reaching the best tenth of scores", title=study.study_name)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, out)
    return True
