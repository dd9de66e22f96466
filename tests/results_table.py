"""The README's table of results, made from the committed trials of the recipe."""

from collections.abc import Sequence

SHIPPED = "as shipped"  # by the code of this version
RECIPE = "η 6, memory 16 half as many, log-std -1"  # by the trials' code, for what was not run anew
FIRST_SEED = 100  # those below were tuned on


def table(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return the lines of the table, one an environment and its options.

    Args:
        rows: of holding.csv.

    Returns:
        Lines of Markdown.
    """
    unseen = [row for row in rows if int(row["seed"]) >= FIRST_SEED]
    shipped = [row for row in unseen if row["recipe"] == SHIPPED]
    anew = {row["environment"] for row in shipped}
    trials = [row for row in unseen if row["recipe"] == RECIPE and row["environment"] not in anew]
    final = shipped + trials
    lines = []
    for env, steps, options in dict.fromkeys(map(_kind, final)):
        mine = [row for row in final if _kind(row) == (env, steps, options)]
        returns = [float(row["det"]) for row in mine]
        fall = max(float(row["fall"]) for row in mine)
        mean = sum(returns) / len(returns)
        lines.append(
            f"| {env}{options} | {steps} | {len(mine)} "
            f"| {mean:,.0f} ({min(returns):,.0f} to {max(returns):,.0f}) "
            f"| {fall:,.0f} |"
        )
    return lines


def _kind(row: dict[str, str]) -> tuple[str, str, str]:
    steps = f"{round(int(row['steps']), -5):,}"
    options = (
        f", {row['options'].strip()}"
        if "--num-envs" in row["options"] or "--step-size" in row["options"]
        else ""
    )
    return row["environment"], steps, options
