"""Bad input of every kind is told in one line; `make fuzz` tries 2,000 cases."""

import pytest

from tests.fuzz import Fuzzer


@pytest.mark.parametrize(
    ("kind", "count"),
    [("command", 60), ("config", 40), ("table", 20), ("state", 20), ("tensor", 20)],
)
def test_bad_input_is_told(kind, count, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    fuzzer = Fuzzer(tmp_path / "runs", seed=0)
    attempt = {
        "command": fuzzer.command,
        "config": fuzzer.config,
        "table": fuzzer.table,
        "state": fuzzer.state,
        "tensor": fuzzer.tensor,
    }[kind]
    complaints = [said for _ in range(count) if (said := attempt())]
    assert not complaints, "\n".join(complaints)
    assert not list((tmp_path / "here").iterdir())  # nothing is left behind
