"""The census: two updates in processes of their own, whatever becomes of them; taken up again."""

import re
from multiprocessing import active_children

import pytest

from trpo.agents.metrics import UpdateRecord
from trpo.envs.catalogue import Entry
from trpo.report import Status
from trpo.scripts.__main__ import main
from trpo.scripts.benchmarks.census import TRAINED, examine, in_turns, outcome_of, summarize
from trpo.scripts.cli.tables import read_rows

BAD = {
    "TestText-v0": "observation space Text.* is not supported",
    "TestRaises-v0": "raised RuntimeError: the simulator is, in update 2",
    "TestDies-v0": "its process ended with code 1",
}


def test_a_census_is_taken_up_where_it_was_stopped(tmp_path, capsys):
    words = ["benchmark", "census", "toy_text", "--out", str(tmp_path), "--most"]
    assert main([*words, "1"]) == 0
    (first,) = read_rows(tmp_path / "results.csv")
    assert first["outcome"] == TRAINED
    assert 0 <= float(first["largest_kl"]) <= 0.02
    assert main([*words, "2"]) == 0
    rows = read_rows(tmp_path / "results.csv")
    assert rows[0] == first
    assert len({(row["engine"], row["environment"]) for row in rows}) == 3
    assert "envpool" in capsys.readouterr().out


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_train_has_a_reason(name):
    row = examine(Entry(f"tests.environments:{name}", "gymnasium", "tests"), timeout=100)
    assert not row["largest_kl"]
    assert re.search(BAD[name], row["outcome"])


def test_what_gives_no_answer_is_ended():
    before = active_children()
    row = examine(Entry("CartPole-v1", "gymnasium", "classic_control"), timeout=0.01)
    assert row["outcome"] == "no answer in 0.01 s"
    assert active_children() == before


@pytest.mark.parametrize(("kl", "outcome"), [(0.015, TRAINED), (0.021, "KL above its limit")])
def test_updates_are_told_by_their_largest_kl_and_whether_they_were_accepted(kl, outcome):
    records = [
        UpdateRecord(
            number,
            64,
            status,
            {
                "update/mean_kl": value,
                "trust_region/max_kl": 0.02,
                "update/accepted": float(status is Status.ACCEPTED),
            },
        )
        for number, status, value in (
            (1, Status.ACCEPTED, kl),
            (2, Status.ACCEPTED, 0.01),
            (3, Status.ZERO_GRADIENT, 0.0),
        )
    ]
    assert outcome_of(records) == {"outcome": outcome, "largest_kl": kl, "accepted": 2}


def test_a_family_is_summed_up_with_its_first_reason():
    rows = [
        {"engine": engine, "family": family, "outcome": outcome}
        for engine, family, outcome in (
            ("envpool", "b", TRAINED),
            ("envpool", "a", "no answer in 1 s"),
            ("gymnasium", "a", TRAINED),
            ("envpool", "a", TRAINED),
            ("envpool", "a", "raised"),
        )
    ]
    assert [list(row.values()) for row in summarize(rows)] == [
        ["envpool", "a", "1 of 3", "no answer in 1 s"],
        ["envpool", "b", "1 of 1", ""],
        ["gymnasium", "a", "1 of 1", ""],
    ]


def test_families_take_turns():
    entries = [Entry(f"{family}{number}", "envpool", family) for family in "ab" for number in "12"]
    assert [entry.env_id for entry in in_turns([*entries, Entry("c1", "envpool", "c")])] == [
        "a1",
        "b1",
        "c1",
        "a2",
        "b2",
    ]


def test_families_that_are_not_there_are_refused(tmp_path, capsys):
    words = ["benchmark", "census", "toy_text", "dragons", "--out", str(tmp_path / "census")]
    assert main(words) == 2
    said = "families: unknown family 'dragons': expected some of trpo envs"
    assert capsys.readouterr().err == f"trpo: {said}\n"
    assert not list(tmp_path.iterdir())
