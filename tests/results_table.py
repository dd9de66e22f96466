"""The README's table of results, made from the committed runs of the panel."""

from collections.abc import Sequence

from trpo.scripts.benchmarks.learning_report import summarize

SHIPPED = "as shipped"  # the recipe of those rows of holding.csv that were not made by trial code
COLUMNS = ("environment", "seeds", "mean", "range", "largest fall", "fell")


def table(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return the lines of the table, one an environment: all rows are of one learner.

    Args:
        rows: of results.csv.

    Returns:
        Lines of Markdown.
    """
    return [f"| {' | '.join(row[column] for column in COLUMNS)} |" for row in summarize(rows)]
