"""The learning benchmark: each return is what its name says, and finished cells are kept."""

from trpo.scripts import __main__
from trpo.scripts.cli.tables import read_rows
from trpo.scripts.evaluate import EvaluateOptions, evaluate_run


def test_a_row_is_what_training_and_evaluation_say(tmp_path, capsys):
    small = "--total-steps 1500 --batch-size 256 --num-envs 8 --hidden 8"
    words = [
        "benchmark",
        "learning",
        "CartPole-v1",
        "--seeds",
        "3",
        "--episodes",
        "5",
        "--out",
        str(tmp_path),
        f"--options={small}",
    ]
    assert __main__.main(words) == 0
    (row,) = read_rows(tmp_path / "results.csv")
    (run,) = (tmp_path / "runs" / "CartPole-v1").iterdir()
    for name, sampled in (("deterministic_return", False), ("stochastic_return", True)):
        episodes = evaluate_run(EvaluateOptions(run=run, episodes=5, stochastic=sampled))
        assert float(row[name]) == sum(episode.undiscounted_return for episode in episodes) / 5
    assert int(row["updates_within_limit"]) == int(row["updates"]) > 0
    assert __main__.main(words) == 0  # the cell is done: nothing runs again
    assert len(list((tmp_path / "runs" / "CartPole-v1").iterdir())) == 1
    assert "CartPole-v1" in capsys.readouterr().out
