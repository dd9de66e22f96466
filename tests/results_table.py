"""The README's table of results, made from the committed runs of the panel."""

from collections.abc import Sequence

from trpo.scripts.benchmarks.learning_report import summarize

SHIPPED = "as shipped"  # the recipe of those rows of holding.csv that were not made by trial code
COLUMNS = ("environment", "seeds", "mean", "range", "largest fall", "fell")


def table(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return the lines of the table: one an environment, and its options, if any.

    Args:
        rows: of results.csv, all TRPO's.

    Returns:
        Lines of Markdown.
    """
    lines = []
    for row in summarize(rows):
        options = row["learner"].removeprefix("trpo").strip()
        row["environment"] += f", `{options}`" if options else ""
        row["fell"] = row["fell"].replace(" of ", "/")
        lines.append(f"| {' | '.join(row[column] for column in COLUMNS)} |")
    return lines
