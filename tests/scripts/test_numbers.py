"""Each number on the pages is computed again from a committed table, or listed as a setting.

A setting is chosen, not measured: a step size, a width, how many digits. Whoever writes another
number on one of these pages adds here how it is computed, or that it is a setting.
"""

import math
import re
from statistics import median

import pytest

from tests import results_table
from tests.helpers import HOME
from tests.pages import is_among, numbers, prose, sections, value
from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.cli.options_record import resolved
from trpo.scripts.cli.tables import read_rows
from trpo.scripts.studies import one_update_findings

QUESTION = "Does a bound on KL avoid collapse?"
STUDIES = HOME / "scripts" / "studies" / "README.md"
COLLAPSE = HOME / "scripts" / "comparison" / "README.md"
DERIVATION = HOME / "trpo" / "README.md"
COMMANDS = HOME / "scripts" / "README.md"
REFERENCE = HOME / "runs" / "reference"


def rows(study, **where):
    """A study's rows whose columns are as given, compared as numbers where they are some."""
    return [
        row
        for row in read_rows(REFERENCE / "studies" / study / "results.csv")
        if all(
            row[name] == wanted
            if isinstance(wanted, str)
            else math.isclose(float(row[name]), wanted)
            for name, wanted in where.items()
        )
    ]


def column(which, study, **where):
    return [float(row[which]) for row in rows(study, **where)]


def spread(values):
    return [median(values), min(values), max(values)]


def gradient_step_over_training():
    """C1: by what factor the KL of a step along the loss's gradient varies; one a seed."""
    kls = [
        column("kl", "euclidean-vs-kl", direction="loss gradient", seed=str(seed))
        for seed in range(5)
    ]
    return spread([max(kl) / min(kl) for kl in kls])


def gaussians():
    """C2: distances of the same pairs, their KL; and the largest gaps at the smallest step."""
    apart = column("euclidean", "parameterisation", kind="distance")
    kl = column("kl", "parameterisation", kind="distance")
    gaps = [
        spread(column("kl", "parameterisation", kind="paths", name=name, h=0.005))
        for name in ("gradient descent", "Adam")
    ]
    return [min(apart), max(apart), *kl, *gaps[0], *gaps[1]]


def rescaled():
    """C2: how far two networks that should be one part, over the KL that training moved."""
    return [
        x
        for method in ("gradient descent", "Adam")
        for x in spread([
            float(row["gap"]) / float(row["moved"]) for row in rows("rescaled-layer", method=method)
        ])
    ]


def directions():
    """C3: the ratio of KL's two directions for a Gaussian's log σ at d = 3.2."""
    return [max(1 / x for x in column("ratio", "kl-asymmetry", pair="Gaussian, its log σ") if x)]


def quadratic():
    """C4: how far ½dᵀFd is from KL at ‖d‖ = 1, in percent, at the start and trained."""
    name = "½dᵀFd ÷ KL"
    return [
        100
        * median(
            abs(x - 1)
            for x in column("value", "fisher-three-ways", quantity=name, phase=phase, length=1)
        )
        for phase in ("start", "trained")
    ]


def loss_gradients():
    """C5: the norm of the loss's gradient, at the start and trained."""
    return [
        x
        for phase in ("start", "trained")
        for x in spread(column("value", "score", quantity="loss gradient", phase=phase))
    ]


def prices():
    """C7: by what factor the best first-order optimiser wins; F's GiB in float32, written out."""
    told = (REFERENCE / "studies" / "optimiser-race" / "verdicts.csv").read_text(encoding="utf-8")
    ratios = [
        float(x) for x in re.findall(r"([\d.]+) \([^)]*\) × to", told.partition("in seconds")[2])
    ]
    ratios = ratios[:4]  # to each of the four losses
    return [1 / max(ratios), 1 / min(ratios), 76_810**2 * 4 / 2**30]


def spectra():
    """C8: H's least and largest eigenvalue at the start, of the middle seed by the least."""
    least = column("smallest", "definiteness", matrix="H", step=0)
    largest = column("largest", "definiteness", matrix="H", step=0)
    return sorted(zip(least, largest, strict=True))[len(least) // 2]


def collapse():
    """C10: what test_collapse_page.py computes of the page on collapse."""
    return [value(n) for n in numbers(sections(COLLAPSE)[QUESTION])]


COMPUTED = {  # by the beginning of a section's title: studies whose verdicts it quotes, and more
    "": (
        "euclidean-vs-kl rescaled-layer fisher-three-ways score empirical-fisher optimiser-race "
        "fisher-cost definiteness",
        [collapse],
    ),
    "C1 ·": ("euclidean-vs-kl", [gradient_step_over_training]),
    "C2 ·": ("parameterisation rescaled-layer", [gaussians, rescaled]),
    "C3 ·": ("kl-asymmetry", [directions]),
    "C4 ·": ("fisher-three-ways", [quadratic]),
    "C1 and C4": ("trust-region", []),
    "C5 ·": ("score", [loss_gradients]),
    "C6 ·": ("empirical-fisher", []),
    "C7 ·": ("optimiser-race fisher-cost minibatches", [prices]),
    "C8 ·": ("fisher-cost definiteness", [spectra]),
    "C9 ·": ("optimiser-race noise-and-curvature", []),
    "C10 ·": ("one-update two-state locked", []),
    "KL from samples": ("kl-estimators", []),
}
SETTINGS = {
    "": "94",
    "C1 ·": "0 1,210 600",
    "C2 ·": "0.08 0.005 1 10 40",
    "C3 ·": "0",
    "C4 ·": "172 40",
    "C1 and C4": "1,200 0.1 10 2",
    "C5 ·": "0",
    "C6 ·": "30 1e-3 0 1,000 50",
    "C7 ·": "10 64 597 600 2,410",
    "C8 ·": "226 300",
    "C9 ·": "10 50 480",
    "KL from samples": "1 0.005 0",
}


def verdict_numbers(study):
    path = REFERENCE / "studies" / study / "verdicts.csv"
    return [value(n) for row in read_rows(path) for n in numbers(row["measured"] + row["test"])]


@pytest.mark.parametrize("start", COMPUTED)
def test_a_studys_numbers_are_computed(start):
    (text,) = (
        text
        for title, text in sections(STUDIES).items()
        if (title.startswith(start) if start else not title)
    )
    studies, more = COMPUTED[start]
    quoted = [number for study in studies.split() for number in verdict_numbers(study)]
    computed = [number for function in more for number in function()]
    settings = SETTINGS.get(start, "").split()
    written = numbers(text)
    missing = [n for n in written if n not in settings and not is_among(n, quoted + computed)]
    assert missing == []
    assert set(settings) <= set(written), "a setting that the page does not name any more"


def test_the_readmes_numbers_are_computed():
    panel, peers = (read_rows(REFERENCE / name / "results.csv") for name in ("panel", "peers"))
    reached = [*results_table.table(panel), results_table.falls_beside_peers(panel, peers)]
    computed = {
        "What it reaches": [n for line in reached for n in numbers(prose(line))],
        QUESTION: numbers(sections(COLLAPSE)[QUESTION]),  # see test_collapse_page.py
    }
    settings = {"What it reaches": ["95", "100"], "Quick start": ["3.10"]}
    for title, text in sections(HOME / "README.md").items():
        known = {*computed.get(title, []), *settings.get(title, [])}
        assert [n for n in numbers(text) if n not in known] == [], title


def test_the_numbers_of_the_page_on_collapse():
    """In its tables; test_collapse_page.py composes its sentences."""
    composed = [
        "135",
        "374",
        "6,926",
        "5,336.6",
        "4,842.9",
        "6,047.2",
        "28.4",
        "22.7",
        "9.3",
        "0.47",
    ]
    settings = ["64", "300", "1,443", "5,784"]  # the last two are others', as published
    pool = [1.96 * 0.5 / 64**0.5]  # half of 64 rewards of 0 or 1: the half of a 95 % interval
    pool += verdict_numbers("one-update") + verdict_numbers("two-state")
    harmless = [  # large, and yet nothing lost
        row["kl"]
        for seed in one_update_findings.read(REFERENCE / "studies" / "one-update")
        for row in seed.rows
        if row["kl"] >= one_update_findings.LARGE and row["share_left"] >= 0.9
    ]
    pool += harmless
    shown = one_update_findings.findings(REFERENCE / "studies" / "one-update").shown
    pool += [value(n) for row in shown for text in row.values() for n in numbers(text)]
    for env in ("CartPole-v1", "HalfCheetah-v5"):
        report = (REFERENCE / "collapse" / env / "report.md").read_text(encoding="utf-8")
        pool += [value(n) for n in numbers(report)]
    written = [n for text in sections(COLLAPSE).values() for n in numbers(text)]
    assert [n for n in written if n not in composed + settings and not is_among(n, pool)] == []


def test_the_derivation_measures_nothing():
    settings = {
        *["1", "2", "3", "4", "5", "6", "0", "0.8", "0.64", "20", "0.1"],
        "104",  # tests/trpo/test_divergence.py
        "14",  # an equation of
        *["1952", "1994", "1998", "2001", "2006", "2013", "2015", "2019", "2020"],
    }
    assert {n for text in sections(DERIVATION).values() for n in numbers(text)} <= settings


def test_the_options_defaults_are_those_of_the_command_line():
    options = resolved(parse_train_options(["SomeEnv-v0"])) | {"learner.trainer.seed": 0}
    table = COMMANDS.read_text(encoding="utf-8").partition("| option | default |")[2]
    compared = 0
    for words, defaults in re.findall(r"(?m)^\| (`--.*?`) \| (.*?) \|", table.partition("\n\n")[0]):
        names = [name.replace("-", "_") for name in re.findall(r"`--([\w.-]+)`", words)]
        for name, default in zip(names, re.split(r", (?=\d)", defaults), strict=False):
            found = [x for option, x in options.items() if f".{option}".endswith(f".{name}")]
            written = str(found[:1]).replace("False", "off").replace("[[]]", "[none]")
            if numbers(default):
                assert [*map(value, numbers(default))] == [*map(value, numbers(written))], name
                compared += 1
            elif found and name != "threads":  # one a core
                assert default in {word.strip("'") for word in written[1:-1].split()}, name
    assert compared > 10
