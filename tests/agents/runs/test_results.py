"""What a run comes to, update by update."""

from trpo.agents.metrics import UpdateRecord
from trpo.agents.runs.results import Results
from trpo.report import Status


def test_each_update_is_counted_against_its_own_limit():
    results = Results(max_kl=0.02)
    for number, (kl, max_kl) in enumerate([(0.015, 0.02), (0.015, 0.01), (float("nan"), 0.01)], 1):
        metrics = {"update/mean_kl": kl, "trust_region/max_kl": max_kl}
        results.count(UpdateRecord(number, 100 * number, Status.ACCEPTED, metrics))
    assert (results.within_limit, results.updates) == (1, 3)


def test_what_has_no_limit_is_within_none():
    results = Results(max_kl=None)
    results.count(UpdateRecord(1, 100, Status.ACCEPTED, {"update/mean_kl": 0.0}))
    assert results.within_limit == 0
    assert "updates_within_limit" not in results.numbers()
