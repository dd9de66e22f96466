"""Experiment trackers, for real: W&B offline, MLflow in SQLite; what they have is the table's."""

import json
import sqlite3
import struct
import time
from collections import defaultdict

import pytest

from trpo.agents.runs import Run
from trpo.agents.runs.trackers import FailsafeTracker, tracked
from trpo.scripts import __main__

pytest.importorskip("wandb")
mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SMALL = ["--batch-size=256", "--num-envs=8", "--hidden=8", "--threads=1"]


def wandb_records(folder):
    """What W&B keeps of a run until it is uploaded: records in blocks, in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        content, at, whole = path.read_bytes(), 7, b""
        while at + 7 <= len(content):
            if (left := 2**15 - at % 2**15) < 7:  # no header fits into the block
                at += left
                continue
            _, length, kind = struct.unpack_from("<IHB", content, at)
            whole += content[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in {1, 4}:  # whole, or the last part
                record = Record()
                record.ParseFromString(whole)
                yield record
                whole = b""


def of_wandb(folder):
    """Points by metric, options, results, tags and ids."""
    points, config, summary, runs = defaultdict(list), {}, {}, []
    for record in wandb_records(folder):
        for item in record.history.item:
            points[item.nested_key[0]].append((
                record.history.step.num,
                json.loads(item.value_json),
            ))
        config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        summary |= {item.key: json.loads(item.value_json) for item in record.summary.update}
        runs += [record.run] if record.run.run_id else []
    return points, config, summary, runs


def of_table(run):
    """Points by metric; an update that is made again takes another time."""
    points = defaultdict(list)
    for record in run.records():
        for name, value in record.metrics.items():
            if not name.startswith("time/"):
                points[name].append((record.steps, value))
    return points


def test_trackers_have_the_table_and_go_on_in_the_same_run(tmp_path, monkeypatch, capsys):
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    begin = ["--name", "x", "--runs", str(tmp_path), "--total-steps", "1024"]
    begin += ["--checkpoint-interval", "3", "--track", "wandb", "mlflow"]
    assert __main__.main(["train", "CartPole-v1", *SMALL, *begin]) == 0
    run = Run.open(tmp_path / "CartPole-v1" / "x")
    said = capsys.readouterr().out
    assert f"wandb: to upload it: wandb sync {run.folder}/wandb/offline-run-" in said
    assert f"mlflow: {store}, experiment 1, run " in said
    # from update 3: the last is made again
    assert __main__.main(["resume", str(run.folder), "--total-steps", "2048"]) == 0

    table, ids = of_table(run), tracked(run.folder)
    steps = {record.steps for record in run.records()}
    ends = time.monotonic() + 20  # W&B may write its last records after the command has ended
    while len((found := of_wandb(run.folder))[0]["_step"]) < len(steps):
        assert time.monotonic() < ends
        time.sleep(0.1)
    points, config, summary, runs = found
    assert {name: of for name, of in points.items() if name in table} == table
    assert {step for step, _ in points["_step"]} == steps
    assert [each.run_id for each in runs] == [ids["wandb"]] * 2
    assert [list(each.tags) for each in runs] == [["trpo", "CartPole-v1"]] * 2
    assert config["trpo.max_kl"] == run.config.learner.max_kl
    assert config["environment.num_envs"] == 8
    assert not any(name.startswith("ppo.") for name in config)
    largest = max(value for _, value in table["update/mean_kl"])
    assert summary["result/largest_kl"] == largest

    client = mlflow.MlflowClient()
    kept = client.get_run(ids["mlflow"])
    history = {
        name: [
            (point.step, point.value) for point in client.get_metric_history(ids["mlflow"], name)
        ]
        for name in table
    }
    assert history == table
    assert len(client.search_runs(["1"])) == 1
    assert kept.info.status == "FINISHED"
    assert kept.data.params["trpo.max_kl"] == str(run.config.learner.max_kl)
    assert kept.data.tags["algorithm"] == "trpo"
    assert kept.data.metrics["result/largest_kl"] == largest


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_tracker_that_fails_ends_no_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_PROJECT", "no/project")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    words = ["--name", "x", "--runs", str(tmp_path), "--total-steps", "1024"]

    def losing(path):  # as where another program removes the tables
        with sqlite3.connect(path) as store:
            store.execute("DROP TABLE metrics")

    from trpo.agents.runs.mlflow_run import MlflowRun

    write = MlflowRun.write

    def write_and_lose(self, record):
        write(self, record)
        losing(tmp_path / "mlflow.db")

    monkeypatch.setattr(MlflowRun, "write", write_and_lose)
    words += ["--track", "wandb", "mlflow"]
    assert __main__.main(["train", "CartPole-v1", *SMALL, *words]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("Error")[0].partition("Exception")[0] for line in told] == [
        "trpo: warning: wandb: Usage",
        "trpo: warning: mlflow: Mlflow",
    ]
    assert all(line.endswith("; training continues without it") for line in told)
    run = Run.open(tmp_path / "CartPole-v1" / "x")
    assert run.records()[-1].steps >= 1024
    assert list(tracked(run.folder)) == ["mlflow"]


def test_a_tracker_may_fail_without_words():
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    def begin():
        raise MuteError

    with pytest.warns(UserWarning, match="wandb: .*MuteError: .*; training continues without it"):
        FailsafeTracker("wandb", begin, 0)


@pytest.mark.parametrize("content", ['{"wandb": "../../x"}', "[]", "{", '{"mlflow": 3}'])
def test_ids_of_a_stranger_are_not_used(content, tmp_path):
    (tmp_path / "tracking.json").write_text(content, "utf-8")
    if content == "[]":
        assert tracked(tmp_path) == {}
        return
    with pytest.warns(UserWarning, match=r"tracking\.json cannot be read"):
        assert tracked(tmp_path) == {}


def test_a_missing_tracker_is_told_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    words = ["train", "CartPole-v1", "--runs", str(tmp_path), "--track", "wandb"]
    assert __main__.main(words) == 2
    install = "tracker wandb is not installed: run pip install -e '.[wandb]'"
    assert capsys.readouterr().err == f"trpo: {install}\n"
    assert not list(tmp_path.iterdir())
