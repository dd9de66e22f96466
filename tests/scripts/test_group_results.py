"""The figures of agents/DISTRIBUTED.md are those of runs/reference/group/."""

from statistics import fmean

from tests.helpers import HOME
from trpo.scripts.cli.tables import read_rows

TABLES = HOME / "runs" / "reference" / "group"
PAGE = (HOME / "agents" / "DISTRIBUTED.md").read_text(encoding="utf-8")


def seconds(**where: object) -> list[float]:
    rows = read_rows(TABLES / "times.csv")
    wanted = {name: str(value) for name, value in where.items()}
    return [float(row["seconds"]) for row in rows if wanted.items() <= row.items()]


def listed(numbers: list[float]) -> str:
    return ", ".join(f"{number:.2f}" for number in numbers)


def test_seconds_an_update():
    alone = seconds(processes=1)
    for updates, first in (("in turn", listed(alone)), ("side by side", "")):
        one, two = (seconds(processes=2, hosts=hosts, updates=updates) for hosts in (1, 2))
        assert f"| {first} | {listed(one)} | {listed(two)} |".replace("|  |", "| |") in PAGE
    ratios = [a / b for a, b in zip(seconds(processes=2, hosts=1, updates="side by side"), alone)]  # noqa: B905
    spread = f"{min(ratios):.2f} to {max(ratios):.2f} times"
    assert spread in PAGE.replace("\n", " ")
    assert f"{fmean(ratios):.2f} on average" in PAGE


def test_messages():
    row = read_rows(TABLES / "times.csv")[0]
    assert f"{float(row['rounds']):.0f} messages" in PAGE
    assert f"{float(row['bytes']) / 1000:.0f} kB" in PAGE
    small = [1000 * float(row["one number"]) for row in read_rows(TABLES / "latency.csv")]
    assert "{:.2f}, {:.2f} and {:.2f} ms".format(*small) in PAGE


def test_rounding():
    rows = read_rows(TABLES / "rounding.csv")
    for first in rows[::20]:
        case = {name: first[name] for name in ("policy", "dtype")}
        here = [row for row in rows if case.items() <= row.items()]
        columns = [
            ", ".join(f"{float(here[update - 1][name]):.0e}" for update in (1, 6, 20))
            for name in list(first)[3:]
        ]
        line = f"| {case['policy']}, {case['dtype']} | {' | '.join(columns)} |".replace("e-0", "e-")
        assert line in PAGE, case
        if case["dtype"] == "float64":
            assert max(float(here[-1][name]) for name in list(first)[3:]) < 1e-10
