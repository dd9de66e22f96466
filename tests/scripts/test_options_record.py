"""Every committed result of training has all of its options, and what they mean is still known."""

import json
import re

import pytest

from tests.helpers import HOME
from tests.results_table import SHIPPED
from trpo.scripts.cli.command import UsageError
from trpo.scripts.cli.options_record import FILE, add_options, differences, read_options
from trpo.scripts.cli.tables import read_rows

REFERENCE = HOME / "runs" / "reference"
FOLDERS = sorted(path.parent for path in REFERENCE.rglob(FILE))
NAMES = [str(folder.relative_to(REFERENCE)) for folder in FOLDERS]
TRAINED = {
    "checkpoint",
    "collapse",
    "group",
    "learning",
    "memory",
    "panel",
    "peers",
    "images",
    "ppo",
    "soak",
    "speed",
    "trials",
    "tune",
}


def test_every_result_of_training_has_a_record():
    assert {name.partition("/")[0] for name in NAMES} - {"studies"} == TRAINED
    assert "studies/one-update" in NAMES


@pytest.mark.parametrize(
    "name",
    ["learning", "memory", "panel", "peers", "images", "trials", "ppo", "checkpoint", "tune"],
)
def test_every_row_has_its_options(name):
    names = set(read_options(REFERENCE / name))
    for path in (REFERENCE / name).glob("*.csv"):
        rows = read_rows(path)
        if path.name == "holding.csv":
            rows = [row for row in rows if row["recipe"] == SHIPPED]
        if "environment" in rows[0] and "options" in rows[0]:
            for row in rows:
                run = f"{row['environment']} {row['options'].strip()}".strip()
                of_file = f"{path.name.replace('-curves', '')} {run}"
                assert {run, of_file} & names, (path, run)


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_command_resolves_to_what_is_recorded_or_the_commit_where_it_does_is_told(folder):
    page = (REFERENCE / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"\| \[`{folder.relative_to(REFERENCE)}`\].*", page)
    record = read_options(folder)
    assert record
    assert "Infinity" not in (folder / FILE).read_text(encoding="utf-8"), "JSON has no such number"
    for name, run in record.items():
        assert len(run["resolved"]) >= 30, name  # all there were, at the first of these commits
        assert re.fullmatch("[0-9a-f]{40}(-dirty)?", run["git_commit"]), name
        if differences(run):
            assert run["git_commit"][:7] in line, name


def test_an_option_that_changed_is_noticed():
    run = read_options(REFERENCE / "ppo")["HalfCheetah-v5 --algorithm ppo"]
    assert run["resolved"]["environment.num_envs"] == 16
    assert differences(run)["environment.num_envs"] == (16, 32)


def test_results_are_not_added_to_those_by_other_options(tmp_path):
    words = ["CartPole-v1", "--threads", "1"]
    add_options(tmp_path, {"a": words})
    add_options(tmp_path, {"b": [*words, "--num-envs", "8", "--step-size", "inf"]})
    path = tmp_path / FILE
    assert "Infinity" not in path.read_text(encoding="utf-8")
    assert set(read_options(tmp_path)) == {"a", "b"}
    earlier = json.loads(path.read_text(encoding="utf-8"))
    earlier["a"]["resolved"]["learner.trpo.max_kl"] = 0.01
    path.write_text(json.dumps(earlier), encoding="utf-8")
    with pytest.raises(UsageError, match=r"holds results of a with learner\.trpo\.max_kl = 0\.01"):
        add_options(tmp_path, {"a": words})
    assert json.loads(path.read_text(encoding="utf-8")) == earlier
