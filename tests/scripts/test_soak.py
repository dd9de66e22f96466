"""Training holds no more memory and files the longer it lasts; `make soak` watches for 2 hours."""

import csv

import pytest

from tests.soak import main, summarize


def samples(rss, files):
    return [
        {
            "hours": t / 100,
            "rss_kib": 400_000 + rss * t,
            "threads": 3,
            "files": 20 + files * t,
            "table_kib": t,
        }
        for t in range(200)
    ]


@pytest.mark.parametrize(
    ("rss", "files", "exit_code", "verdict"),
    [
        (10, 0, 143, "steady"),
        (100, 0, 143, "NOT STEADY"),
        (0, 0.01, 143, "NOT STEADY"),
        (0, 0, 1, "NOT STEADY"),
    ],
)
def test_growth_is_noticed(rss, files, exit_code, verdict):
    summary = summarize(samples(rss, files), exit_code)
    assert summary["verdict"] == verdict
    assert summary["rss_kib_per_hour"] == pytest.approx(100 * rss)


def test_a_short_soak_leaves_its_samples(tmp_path, capsys):
    main([
        "0.001",
        str(tmp_path),
        "CartPole-v1",
        "--threads",
        "1",
        "--checkpoint-interval",
        "2",
        "--hidden",
        "8",
    ])
    with (tmp_path / "samples.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 5  # 100 on a machine that is not busy
    assert all(int(row["rss_kib"]) > 10_000 and int(row["files"]) > 3 for row in rows)
    assert "exit_code         143" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        "samples.csv",
        "summary.json",
        "options.json",
        "provenance.json",
    }
