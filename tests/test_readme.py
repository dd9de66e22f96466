"""What the documentation shows runs, and what it names exists."""

import contextlib
import io
import re

import pytest

from tests import results_table
from tests.helpers import HOME
from trpo.scripts.cli.tables import read_rows

PAGES = [
    path
    for path in (*HOME.rglob("README.md"), HOME / "CONTRIBUTING.md", HOME / "CHANGELOG.md")
    if not {".venv", "node_modules"} & set(path.parts)
]


def test_the_mathematics_used_alone_fits_a_classifier():
    (code,) = re.findall(
        r"```python\n(.*?)```", (HOME / "trpo" / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    assert out.getvalue().count("accepted") == 20
    assert float(out.getvalue().split()[-1]) > 0.95


def test_the_results_are_the_committed_runs():
    panel, peers = (
        read_rows(HOME / "runs" / "reference" / name / "results.csv") for name in ("panel", "peers")
    )
    text = (HOME / "README.md").read_text(encoding="utf-8")
    lines = results_table.table(panel)
    assert lines
    assert "\n".join(lines) in text
    assert results_table.falls_beside_peers(panel, peers) in text


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(HOME)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(HOME)))
def test_functions_of_the_derivation_exist(page):
    for name, file in re.findall(r"\[`(\w+)`\]\((\w+\.py)\)", page.read_text(encoding="utf-8")):
        source = (page.parent / file).read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(HOME)))
def test_files_named_in_a_page_exist(page):
    for name in re.findall(r"`([\w/]+\.py)`(?!\])", page.read_text(encoding="utf-8")):
        assert (page.parent / name).exists() or (HOME / name).exists(), name
