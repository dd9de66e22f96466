"""Nothing good is lost at any call that changes a file; `make kill-calls` tries 75."""

from random import Random

from tests.kill_calls import Harness


def test_a_process_that_dies_at_a_call_loses_nothing(tmp_path, capsys):
    harness = Harness(tmp_path)
    for seed, kind in enumerate((harness.train, harness.resume, harness.compare)):
        assert kind(Random(seed)) == []
    assert harness.kills >= 2
