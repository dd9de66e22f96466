"""The notebook runs from top to bottom, in a kernel of its own."""

from pathlib import Path

import nbclient
import nbformat
import pytest

FILE = Path(__file__).resolve().parents[2] / "scripts" / "exercises" / "one_update.ipynb"


def printed(notebook):
    return [
        [output.text for output in cell.outputs if output.output_type == "stream"]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_runs_and_prints_what_it_is_kept_with():
    kept = nbformat.read(FILE, 4)
    fresh = nbformat.read(FILE, 4)
    nbclient.NotebookClient(
        fresh, timeout=300, resources={"metadata": {"path": str(FILE.parent)}}
    ).execute()
    before, after = printed(kept), printed(fresh)
    assert [bool(cell) for cell in before] == [bool(cell) for cell in after]
    assert before[-1] == after[-1]  # by hand and by the package, the same θ
    images = [
        output
        for cell in kept.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(images) == 2
