"""`trpo plot RUN`: one figure: what a run learned, and how far each update moved the policy."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from trpo.agents.runs import Run
from trpo.agents.runs.files import replace_file
from trpo.scripts.cli.command import UsageError, parse
from trpo.scripts.cli.output import printable


@dataclass(frozen=True)
class PlotOptions:
    """Draw a run's learning curve, and its KL at every update against the limit."""

    run: tyro.conf.Positional[Path]
    """Folder of the run, as trpo train leaves it."""
    out: Path | None = None
    """File to write, of any of matplotlib's kinds; by default RUN/figure.png."""


def main(arguments: Sequence[str]) -> int:
    """Draw, as the options say.

    Args:
        arguments: the words after `trpo plot`.

    Returns:
        0.
    """
    options = parse(PlotOptions, arguments, "plot")
    out = options.out or options.run / "figure.png"
    plot(Run.open(options.run), out)
    print(printable(out))
    return 0


def plot(run: Run, out: Path) -> None:
    """Draw a run.

    Args:
        run: any with updates.
        out: the file to write.

    Raises:
        UsageError: if the file cannot be written.
    """
    import matplotlib.pyplot as plt  # heavy, and needed here alone
    from matplotlib.ticker import EngFormatter

    config, columns = run.config, run.metrics()
    steps, max_kl = columns["steps"], columns["trust_region/max_kl"]
    figure, (learning, trust) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")

    learning.plot(steps, columns["episode/return_100"], color="tab:blue")
    learning.set(
        xlabel="environment steps",
        ylabel="return, mean of last 100 episodes",
        title=f"{config.env}, sampled actions",
    )

    trust.semilogy(
        steps,
        columns["update/max_state_kl"],
        ".",
        color="0.8",
        markersize=3,
        label="largest over states",
    )
    trust.semilogy(
        steps,
        columns["update/mean_kl"],
        ".",
        color="tab:blue",
        markersize=4,
        label="mean over states",
    )
    title = f"KL of {len(steps):,} updates, which {config.learner.algorithm} does not limit"
    if config.learner.max_kl is not None:
        trust.semilogy(steps, max_kl, color="tab:red", label=f"limit δ = {config.learner.max_kl:g}")
        within = int((columns["update/mean_kl"] <= max_kl).sum())
        title = f"mean KL ≤ δ in {within:,} of {len(steps):,} updates"
    trust.set(xlabel="environment steps", ylabel="KL(old ‖ new), nats", title=title)
    trust.set_ylim(
        bottom=0.1 * min(columns["update/mean_kl"][columns["update/mean_kl"] > 0], default=1e-6)
    )
    trust.legend(frameon=False, fontsize="small", loc="lower center", ncols=3)
    for axes in (learning, trust):
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.spines[["top", "right"]].set_visible(False)
    image = io.BytesIO()
    try:
        figure.savefig(image, format=out.suffix.removeprefix(".") or "png", dpi=130)
        replace_file(out, image.getvalue())  # where a stranger's run may have put a link
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {out}: {error}") from error
    finally:
        plt.close(figure)
