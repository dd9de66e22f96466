"""Tuning for real, on small trials: resumable, and nothing lost when a worker is killed."""

import getpass
import math
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path

import pytest

from trpo.agents.runs import Run
from trpo.scripts import __main__
from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.cli.presets import PRESETS
from trpo.scripts.cli.processes import start_process

optuna = pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution  # noqa: E402
from optuna.study import StudyDirection  # noqa: E402
from optuna.trial import TrialState, create_trial  # noqa: E402

from trpo.scripts.tuning.findings import preset_of, ranked, rows_of  # noqa: E402
from trpo.scripts.tuning.space import OWN, Range, search_space  # noqa: E402
from trpo.scripts.tuning.trials import ENDED, Job, work  # noqa: E402

RUNNING = TrialState.RUNNING
SMALL = ("--total-steps=3000", "--checkpoint-interval=1", "--value.hidden", "8")


@pytest.mark.parametrize("algorithm", OWN)
def test_every_value_searched_is_one_that_training_takes(algorithm):
    base = parse_train_options(["Hopper-v5", "--algorithm", algorithm])
    space, start = search_space(base)
    # the search can begin where training does
    assert all(values.holding(start[option]) == values for option, values in space.items())
    ends = [(v.low, v.high) if isinstance(v, Range) else v.values for v in space.values()]
    for values in zip_longest(*ends):  # each of them once, beside the others
        given = [
            [option, *str(value).split()]
            for option, value in zip(space, values, strict=True)
            if value is not None
        ]
        parse_train_options(["Hopper-v5", "--algorithm", algorithm, *chain(*given)])


@pytest.mark.parametrize(
    "words", [*([env] for env in PRESETS), ["CartPole-v1", "--damping", "0"]], ids=" ".join
)
def test_the_search_starts_within_its_ranges(words):
    space, start = search_space(parse_train_options(words))
    for name, values in space.items():
        if isinstance(values, Range):
            value = values.parameter(start[name])
            assert values.low <= value <= values.high
            assert value == float(start[name]) or float(start[name]) in (0, math.inf)


def test_what_training_refuses_is_told_before_anything_is_written(tmp_path, capsys):
    out = tmp_path / "tune"
    assert __main__.main(["tune", "CartPole-v1", "--options=--encoder nature", f"--out={out}"]) == 2
    assert "encoder = 'nature': expected auto or flat" in capsys.readouterr().err
    assert not out.exists()


def test_tuning_ends_with_a_preset_and_goes_on_for_more(tmp_path, capsys):
    words = ["tune", "CartPole-v1", "--workers=2", f"--out={tmp_path}"]
    words += [f"--options={' '.join(SMALL)}"]
    assert __main__.main([*words, "--trials=2"]) == 0
    assert __main__.main([*words, "--trials=5"]) == 0
    out = capsys.readouterr().out
    assert "[2/2]" in out
    assert re.search(r"[23] of 5 trials ended", out)  # two workers may end one too many
    (preset,) = re.findall(r'^preset +"CartPole-v1": "(.*)",$', out.rpartition("[5/5]")[2], re.M)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert study.direction is StudyDirection.MAXIMIZE
    trials = study.get_trials()
    space, start = search_space(parse_train_options(["CartPole-v1", *SMALL]))
    first = {name.removeprefix("--"): space[name].parameter(start[name]) for name in space}
    assert trials[0].params == first
    assert len({str(trial.params) for trial in trials}) == len(trials)  # no worker tries another's
    options = parse_train_options(["CartPole-v1", *preset.split()])
    assert options.learner.trainer.total_steps == 3000
    table = (tmp_path / "trials.csv").read_text().splitlines()
    best = dict(zip(table[0].split(","), table[1].split(","), strict=True))
    assert f"{float(best['max-kl']):.4g}" == f"{options.learner.max_kl:.4g}"
    run = Run.open(tmp_path / "runs" / "CartPole-v1" / f"trial-{int(best['trial']):04d}")
    metrics = [record.metrics for record in run.records()]
    curve = [each["evaluation/return"] for each in metrics if "evaluation/return" in each]
    half = curve[len(curve) // 2 :]
    assert float(best["score"]) == pytest.approx(sum(half) / len(half), rel=1e-5)


def test_a_trial_whose_curve_lies_below_most_others_is_stopped(tmp_path):
    words = ("CartPole-v1", *SMALL, "--total-steps=6000")
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    job = Job(words, storage, "test", trials=6, deadline=math.inf, grace=60, out=tmp_path)
    study = job.open()
    curve = dict.fromkeys(range(1, 11), 501.0)  # a return that CartPole does not have
    for _ in range(5):
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, value=501.0, intermediate_values=curve)
        )
    study.enqueue_trial({"batch-size": "512"})  # updates enough for ten evaluations
    worker = start_process(work, job, 0)
    worker.join()
    *_, last = study.get_trials()
    assert (worker.exitcode, last.state) == (0, TrialState.PRUNED)
    assert len(last.intermediate_values) < 10


def test_no_trial_is_begun_when_the_time_is_over(tmp_path, capsys):
    words = ["tune", "CartPole-v1", "--workers=1", "--minutes=1e-9", f"--out={tmp_path}"]
    assert __main__.main(words) == 1
    assert "no trial has completed; repeat the command to resume" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_environment_that_fails_in_every_trial_ends_the_search(tmp_path, capsys):
    words = ["tune", "tests.environments:TestRaises-v0", "--workers=1", f"--out={tmp_path}"]
    assert __main__.main([*words, "--options=--total-steps=50000 --value.hidden 8"]) == 1
    *failed, last = capsys.readouterr().err.splitlines()
    assert len(failed) == 5
    for number, line in enumerate(failed):
        assert line.startswith(f"trpo: warning: trial {number} failed: ")
    assert last == "trpo: the first trials have all failed; repeat the command to resume"


def job(storage: str, out: Path) -> Job:
    words = ("CartPole-v1", "--total-steps=12000", "--checkpoint-interval=1")
    return Job(words, storage, "test", trials=3, deadline=math.inf, grace=6, out=out)


def check_that_nothing_is_lost(job: Job) -> None:
    """Kill one of two workers in the middle of its trial; the other takes it over."""
    study = job.open()
    workers = [start_process(work, job, number) for number in (0, 1)]
    while sum(len(t.intermediate_values) > 0 for t in study.get_trials(states=[RUNNING])) < 2:
        assert all(worker.is_alive() for worker in workers)
        time.sleep(0.02)
    workers[0].kill()
    workers[1].join()
    assert workers[1].exitcode == 0
    time.sleep(job.grace + 1)  # had the other one ended before the killed one counted as lost
    workers[0].join()
    last = start_process(work, Job(**vars(job) | {"trials": 4}), 2)
    last.join()
    trials = study.get_trials()
    (lost,) = [trial for trial in trials if trial.state is TrialState.FAIL]
    (again,) = [t for t in trials if t.system_attrs.get("failed_trial") == lost.number]
    assert again.params == lost.params
    assert again.state in ENDED
    assert all(again.intermediate_values[n] == v for n, v in lost.intermediate_values.items())
    assert sum(trial.state in ENDED for trial in trials) >= 4


def test_a_killed_workers_trial_is_taken_over(tmp_path):
    check_that_nothing_is_lost(job(f"sqlite:///{tmp_path / 'study.db'}", tmp_path))


@pytest.fixture
def postgres(tmp_path) -> Iterator[str]:
    """The URL of a PostgreSQL server of this test's own."""
    pytest.importorskip("psycopg2")
    folder = Path("/usr/lib/postgresql")
    found = shutil.which("postgres") or next(map(str, folder.glob("*/bin/postgres")), None)
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    if found is None:
        pytest.skip("there is no PostgreSQL")
    tools = Path(found).resolve().parent
    data = Path(tempfile.mkdtemp(prefix="postgres"))  # short: sockets' paths have a limit
    shutil.chown(data, user)
    options = {"user": user} if os.geteuid() == 0 else {}

    def run(*words: object) -> None:
        subprocess.run(
            list(map(str, words)), check=True, cwd="/", stdout=subprocess.DEVNULL, **options
        )

    run(tools / "initdb", "-D", data / "db", "--auth=trust", "-U", "trpo")
    sockets = f"-c listen_addresses='' -k {data}"
    run(tools / "pg_ctl", "-D", data / "db", "-w", "-l", data / "log", "-o", sockets, "start")
    try:
        yield f"postgresql+psycopg2://trpo@/postgres?host={data}"
    finally:
        run(tools / "pg_ctl", "-D", data / "db", "-m", "immediate", "stop")
        shutil.rmtree(data)


def test_workers_share_a_postgresql_database(postgres, tmp_path):
    check_that_nothing_is_lost(job(postgres, tmp_path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["CartPole-v9"], "unknown environment 'CartPole-v9'"),
        (["CartPole-v1", "--trials", "0"], "trials = 0 is out of range: expected an integer ≥ 1"),
        (["CartPole-v1", "--storage", "nonsense://x"], "storage nonsense://x: "),
        (["CartPole-v1", "--options", "--max-kll 1"], "Unrecognized options.*--max-kll"),
        (["CartPole-v1", "--options", "'"], "options = .* cannot be read: No closing quotation"),
    ],
)
def test_bad_input_is_told(words, said, tmp_path, capsys):
    assert __main__.main(["tune", *words, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert re.search(said, err)
    assert len(err.splitlines()) == 1


def test_of_the_same_score_the_one_that_learned_sooner_is_best():
    study = optuna.create_study(direction="maximize")
    for score, curve in ((500, (20, 500)), (500, (400, 500)), (490, (490, 490)), (None, (600,))):
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if score is None else TrialState.COMPLETE,
                value=score,
                intermediate_values=dict(enumerate(curve)),
            )
        )
    assert [trial.number for trial in ranked(study)] == [1, 0, 2, 3]
    rows = rows_of(ranked(study))
    assert [row["mean"] for row in rows] == [450, 260, 490, 600]


def test_an_option_said_twice_counts_as_it_was_said_last():
    trial = create_trial(state=TrialState.COMPLETE, value=1.0)
    words = ["--total-steps", "9000", "--anneal-to", "0.1", "--seed", "7", "--total-steps", "3000"]
    assert preset_of(trial, words) == "--anneal-to 0.1 --seed 7 --total-steps 3000"


def test_a_preset_is_words_of_a_shell():
    hidden = CategoricalDistribution(("64 64", "256 256"))
    trial = create_trial(value=1.0, params={"hidden": "64 64"}, distributions={"hidden": hidden})
    words = ["--env-kwargs", 'map_name="8x8"', "--runs=my runs"]
    preset = preset_of(trial, words)
    assert preset == """--env-kwargs 'map_name="8x8"' --runs 'my runs' --hidden 64 64"""
