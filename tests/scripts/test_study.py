"""`trpo study`: print and files agree, verdicts follow from their numbers, bad input is told."""

import csv
import importlib
import json
import re
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import HOME
from trpo.scripts import __main__
from trpo.scripts.studies.findings import judge, span
from trpo.scripts.study import STUDIES

QUICK = {
    "euclidean-vs-kl": "C1",
    "parameterisation": "C2",
    "kl-asymmetry": "C3",
    "fisher-three-ways": "C4",
    "score": "C5",
    "definiteness": "C8",
}


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", QUICK)
def test_a_study_prints_its_verdict_and_leaves_its_numbers(name, tmp_path, capsys, monkeypatch):
    module = importlib.import_module(f"trpo.scripts.studies.{name.replace('-', '_')}")
    monkeypatch.setattr(module, "SEEDS", range(2))  # of its five, for time
    assert __main__.main(["study", name, "--out", str(tmp_path)]) == 0
    folder = tmp_path / name
    printed = capsys.readouterr().out
    (verdict,) = table(folder / "verdicts.csv")
    assert verdict["claim"] == QUICK[name]
    # identities of mathematics: were one refuted, the code would be wrong
    assert verdict["holds"] == "holds"
    assert f"verdict: {verdict['holds']}" in printed
    assert verdict["measured"] in printed
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert {"command", "git_commit", "versions", "machine"} <= set(
        json.loads((folder / "provenance.json").read_text(encoding="utf-8"))[-1]
    )
    rows = table(folder / "results.csv")
    assert len(rows) > 5
    board = EventAccumulator(str(folder)).Reload()
    assert board.Tags()["scalars"]


def test_a_verdict_can_be_computed_again_from_the_table(tmp_path):
    assert __main__.main(["study", "kl-asymmetry", "--out", str(tmp_path)]) == 0
    rows = table(tmp_path / "kl-asymmetry" / "results.csv")
    for row in rows:
        assert float(row["ratio"]) == pytest.approx(
            float(row["kl"]) / float(row["reverse_kl"]), rel=1e-4
        )
    nearest = [float(row["ratio"]) for row in rows if float(row["distance"]) == 1e-3]
    assert max(abs(ratio - 1) for ratio in nearest) < 0.01
    assert {row["seed"] for row in rows if row["pair"].startswith("ten-way")} == {
        "0",
        "1",
        "2",
        "3",
        "4",
    }


def test_a_verdict_has_three_values():
    assert judge(True, True) == "holds"
    assert judge(True, False) == "holds in part"
    assert judge(False, False) == "refuted"


def test_seeds_are_told_as_median_and_range():
    assert span([3.0, 1.0, 2.0, 5.0, 4.0], "nats") == "3 (1 to 5) nats"


def test_the_studies_are_listed(capsys):
    assert __main__.main(["study"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in [*STUDIES, "all"])
    assert all(any(f"C{number}" in text for text in STUDIES.values()) for number in range(1, 10))


def test_an_unknown_study_is_told_in_one_line(capsys):
    assert __main__.main(["study", "entropy"]) == 2
    assert capsys.readouterr().err.startswith(
        "trpo: unknown study 'entropy': expected euclidean-vs-kl,"
    )


def test_a_missing_scikit_learn_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert __main__.main(["study", "score", "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert "pip install -e '.[studies]'" in message


@pytest.mark.parametrize("name", STUDIES)
def test_a_reference_result_is_kept_and_shown(name):
    folder = HOME / "runs" / "reference" / "studies" / name
    for file in ("figure.png", "results.csv", "verdicts.csv", "provenance.json"):
        assert 0 < (folder / file).stat().st_size < 300_000, file
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))[-1]
    assert provenance["command"].startswith("trpo study")
    assert provenance["git_commit"]
    assert not provenance["git_commit"].endswith("-dirty")
    page = (HOME / "scripts" / "studies" / "README.md").read_text(encoding="utf-8")
    assert f"(../../runs/reference/studies/{name}/figure.png)" in page
    rows = table(folder / "results.csv")
    n = len({row["seed"] for row in rows})
    if name == "locked":  # whose verdict is over runs, several a seed
        n = sum(row["locked_again"] == "1" for row in rows)
    for row in table(folder / "verdicts.csv"):
        assert row["holds"] in {"holds", "holds in part", "refuted"}
        assert row["test"].startswith(f"n = {n} "), "a verdict says on how many it rests"
        assert re.search(r"range|interval", row["test"])
        assert re.search(r"(sign|exact)( binomial)? test.*p = ", row["test"])


def test_what_the_page_quotes_of_the_newest_studies_is_their_verdicts():
    page = (HOME / "scripts" / "studies" / "README.md").read_text(encoding="utf-8")
    quoted = [
        " ".join(page.partition(f"\n## {title}")[2].partition("\n## ")[0].split())
        for title in ("C9", "KL from samples")
    ]
    quoted.append(page.partition("| | to loss 1 |")[2].partition("![Eight")[0])
    quoted.append(page.partition("**With minibatches and a test set**")[2].partition("**Limits")[0])
    told = " ".join(
        (HOME / "runs" / "reference" / "studies" / name / "verdicts.csv").read_text("utf-8")
        for name in ("optimiser-race", "noise-and-curvature", "kl-estimators", "minibatches")
    )
    numbers = [n for part in quoted for n in re.findall(r"[-\d.]+ \([-\d.e]+ to [-\d.e]+\)", part)]
    assert len(numbers) > 20
    for number in numbers:
        assert number in told, number
