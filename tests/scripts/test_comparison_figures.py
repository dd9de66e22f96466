"""What is written on a comparison's figures fits on them, of few methods, too."""

from itertools import combinations

import matplotlib.pyplot as plt
import pytest

from tests.helpers import HOME
from trpo.scripts.comparison.figures import draw_curves, draw_kl, draw_robustness
from trpo.scripts.comparison.table import UNTRAINED, Results, read_table, write_table


@pytest.fixture(scope="module")
def two_methods(tmp_path_factory):
    rows = read_table(HOME / "runs" / "reference" / "collapse" / "CartPole-v1" / "updates.csv.gz")
    path = tmp_path_factory.mktemp("two") / "updates.csv.gz"
    few = [row for row in rows if row["method"] in {"trpo", "ppo"} and row["seed"] in {"0", "1"}]
    write_table(path, [row for row in rows if row["method"] == UNTRAINED] + few)
    return Results(path)


@pytest.mark.parametrize("draw", [draw_curves, draw_kl, draw_robustness])
def test_titles_of_two_methods_are_whole_and_apart(draw, two_methods):
    figure = draw(two_methods, "HalfCheetahBackwards-v5")
    figure.canvas.draw()
    words = [figure._suptitle, figure._supxlabel, figure._supylabel]
    words += [axes.title for axes in figure.axes]
    boxes = [text.get_window_extent() for text in words if text and text.get_text()]
    assert len(boxes) >= 5
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    plt.close(figure)
