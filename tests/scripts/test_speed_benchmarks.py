"""`trpo benchmark speed` and `fisher` measure what they say that they do."""

import pytest
import torch

from trpo.reducer import SERIAL
from trpo.scripts.benchmarks import fisher, speed
from trpo.scripts.cli.tables import read_rows


def test_training_is_timed_beside_its_environment(tmp_path):
    """Each contender once a round; shares of training's time add up to all of it."""
    words = ["CartPole-v1", "--rounds", "2", "--updates", "1", "--threads", "1"]
    assert speed.main([*words, "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "results.csv")
    rates = {
        (row["contender"], row["round"]): float(row["steps_per_second"])
        for row in rows
        if row["round"] != "all"
    }
    assert set(rates) == {(name, r) for name in ("environment alone", "training") for r in "01"}
    assert all(0 < rates["training", r] < rates["environment alone", r] for r in "01")
    shares = [float(row["steps_per_second"]) for row in rows if row["round"] == "all"]
    assert min(shares) >= 0
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "speed.png").exists()


def test_fishers_products_are_of_one_gaussian_policy(tmp_path):
    """Both ways to F·v agree, and P is the number of the policy's parameters."""
    assert fisher.main(["64x4", "--threads", "1", "--repeats", "1", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path / "results.csv")
    products = fisher.make_products(64, 4, SERIAL)
    assert [row["product"] for row in rows] == list(products)
    torch.testing.assert_close(
        products["F·v"](), products["F·v by double backward"](), atol=1e-5, rtol=1e-4
    )
    count = len(products["surrogate gradient"]())
    assert {row["parameters"] for row in rows} == {str(count)}
    assert products["F in full"]().shape == (count, count)
    assert (tmp_path / "fisher.png").exists()
