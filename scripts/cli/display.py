"""The output of `trpo train`: a live panel on a terminal, else lines of a table; and a summary."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from trpo.agents.metrics import UpdateRecord
from trpo.agents.networks.images import image_in
from trpo.agents.observations import named_leaves
from trpo.agents.runs.results import Results
from trpo.agents.trainer import Trainer
from trpo.report import Status
from trpo.scripts.cli.command import warn
from trpo.scripts.cli.numbers import nats, readable
from trpo.scripts.cli.output import printable, silence_output

LEAST_SECONDS, MOST_SECONDS = 5.0, 60.0  # time between lines: a twentieth of the time so far
TITLES = ("steps", "return", "evaluation", "KL", "update", "steps/s", "left")
WIDTH = 10  # of a column: seven fit in a line of 80
PANEL_WIDTH = 76  # of the panel, where the terminal is as wide


class Display:
    """Shows a run's progress.

    Args:
        env_id: the environment.
        trainer: idle, before the first update to be shown.
        quiet: whether to show nothing but the run's folder, at the end.
    """

    def __init__(self, env_id: str, trainer: Trainer, quiet: bool) -> None:
        learner = trainer.config
        self.console = Console()
        self.title = f"{learner.algorithm.upper()} on {printable(env_id)}"
        self.images = {
            name: image
            for name, leaf in named_leaves(trainer.agent.observation_space).items()
            if (image := image_in(leaf, learner.images))
        }
        self.total_steps = learner.trainer.total_steps
        self.limit = f", {learner.limit}" if learner.limit else ""
        self.started = time.perf_counter()
        self.steps_before = trainer.steps
        self.quiet = quiet
        self._evaluated = learner.trainer.eval_every > 0
        self._evaluation = ""  # the last one's return
        self._last_line = 0.0
        self._last_episodes = trainer.update  # the last update in which episodes ended
        self._length = "no episode has ended yet"  # of those episodes, mean
        self._progress = Progress(
            TextColumn("{task.completed:,.0f} / {task.total:,.0f} steps"),
            BarColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._progress.add_task("", total=self.total_steps)
        # no refresh thread, in which a closed terminal would raise
        live = Live(console=self.console, auto_refresh=False)
        # interactive: not a dumb terminal; isatty: not a log file, whatever FORCE_COLOR says
        panel = self.console.is_interactive and self.console.file.isatty() and not quiet
        self._live = live if panel else None

    def __enter__(self) -> "Display":
        with self._never_fatal():
            for name, image in self.images.items():
                print(printable(f"{name}: {image}"))
            if self._live:
                self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._never_fatal():
            if self._live:
                self._live.stop()

    @contextmanager
    def _never_fatal(self) -> Iterator[None]:
        """Training continues even if standard output can no longer be written to."""
        try:
            yield
            sys.stdout.flush()
        except OSError as error:
            silence_output()
            warn(f"standard output: {error.strerror}; training continues without it")

    def tell(self, tracked: Mapping[str, str]) -> None:
        """Print where the run can be followed.

        Args:
            tracked: trackers' names, mapped to their pages of the run; "" if they failed.
        """
        with self._never_fatal():
            for name, where in tracked.items():
                if where and not self.quiet:
                    print(printable(f"{name}: {where}"))

    def show(self, record: UpdateRecord) -> None:
        """Show an update.

        Args:
            record: the update.
        """
        with self._never_fatal():
            self._show(record)

    def remember(self, record: UpdateRecord) -> None:
        """Remember an update's evaluation and episodes, until a later update has some.

        Args:
            record: an update, possibly from before the display started.
        """
        if "evaluation/return" in record.metrics:
            self._evaluation = readable(record.metrics["evaluation/return"])[0]
        if "episode/length" in record.metrics:
            self._last_episodes = record.update
            self._length = readable(record.metrics["episode/length"])[0]

    def _show(self, record: UpdateRecord) -> None:
        self.remember(record)
        if self._live:
            self._progress.update(self._task, completed=min(record.steps, self.total_steps))
            self._live.update(self._panel(record), refresh=True)
        elif not self.quiet:
            self._show_line(record)

    def _show_line(self, record: UpdateRecord) -> None:
        """Print a line of the table, if one is due."""
        now = time.perf_counter()
        if not self._last_line:
            print(f"{self.title}: {self.total_steps:,} steps{self.limit}\n{self._row(TITLES)}")
        elif now - self._last_line < min(
            max((now - self.started) / 20, LEAST_SECONDS), MOST_SECONDS
        ):
            return
        self._last_line = now
        metrics = record.metrics
        value = metrics.get("episode/return_100")
        left = (self.total_steps - record.steps) * self._seconds_a_step(record)
        print(
            self._row((
                f"{record.steps:,}",
                "-" if value is None else readable(value)[0],
                self._evaluation or "-",
                nats(metrics["update/mean_kl"]),
                "accepted" if record.status is Status.ACCEPTED else "rejected",
                f"{metrics['time/steps_per_second']:,.0f}",
                str(timedelta(seconds=max(round(left), 0))),
            ))
        )

    def _row(self, cells: Sequence[str]) -> str:
        shown = zip(cells, TITLES, strict=True)
        return " ".join(
            f"{cell:>{WIDTH}}" for cell, title in shown if title != "evaluation" or self._evaluated
        )

    def _seconds_a_step(self, record: UpdateRecord) -> float:
        """Return wall time per step since this process began, everything included."""
        return (time.perf_counter() - self.started) / (record.steps - self.steps_before)

    def _panel(self, record: UpdateRecord) -> Panel:
        return Panel(
            Group(self._progress, self._figures(record)),
            title=Text(self.title),
            title_align="left",
            # the terminal prints ^C after the frame, and a wrapped line would duplicate the frame
            width=min(PANEL_WIDTH, self.console.width - len("^C^C")),
        )

    def _return(self, record: UpdateRecord) -> str:
        value = record.metrics.get("episode/return_100")
        if value is None:
            return "no episode has ended yet"
        age = record.update - self._last_episodes
        return readable(value)[0] + (f", {age} updates ago" if age > 1 else "")

    def _kl(self, record: UpdateRecord) -> str:
        max_kl = record.metrics.get("trust_region/max_kl")
        limit = "" if max_kl is None else f" ≤ {max_kl:.4g}"
        return nats(record.metrics["update/mean_kl"]) + limit

    def _figures(self, record: UpdateRecord) -> Table:
        metrics = record.metrics
        backtracks = metrics.get("trust_region/backtracks")
        figures = {
            "return, last 100 episodes": self._return(record),
            "return, last evaluation": (self._evaluation or "none yet") if self._evaluated else "",
            "episode length": self._length,
            "KL(old ‖ new)": f"{self._kl(record)} nats",
            "update": record.status.value
            + ("" if backtracks is None else f", {backtracks:.0f} backtracks"),
            "updates": f"{record.update:,}",
            "entropy": f"{metrics['policy/entropy']:.3g} nats",
            "elapsed": str(timedelta(seconds=round(time.perf_counter() - self.started))),
            "steps/s": f"{metrics['time/steps_per_second']:,.0f}",
        }
        table = Table.grid(padding=(0, 2))
        for name, figure in figures.items():
            if figure:
                table.add_row(name, figure)
        return table

    def summarize(self, folder: Path, results: Results, resume_point: int | None) -> None:
        """Print the run's results, and how to resume it.

        Args:
            folder: the run's.
            results: of all its updates.
            resume_point: the update after which it would go on; `None` if it is finished.
        """
        with self._never_fatal():
            if self.quiet:
                print(printable(folder))
                return
            self._summarize(folder, results)
            if resume_point is not None:
                resume = f"trpo resume {printable(folder)}"
                last = f"update {resume_point:,}, its last resume point"
                print(f"interrupted, and saved; {resume} resumes after {last}")

    def _summarize(self, folder: Path, results: Results) -> None:
        last = results.last
        if last is None:
            return
        within = (
            f"{results.within_limit:,} of {results.updates:,}{self.limit}"
            if self.limit
            else "no limit for this algorithm; check one with trpo audit"
        )
        put_back = [
            f"{count:,} × {status.value}"
            for status, count in results.outcomes.items()
            if status is not Status.ACCEPTED
        ]
        facts = {"return, last evaluation": self._evaluation} if self._evaluation else {}
        facts |= {
            "return, last 100 episodes": self._return(last),
            "updates within the limit": within,
            "largest KL": nats(results.largest_kl),
            "updates rejected": "; ".join(put_back) or "none",
        }
        if restarts := last.metrics["environment/restarts"]:
            facts["environments restarted"] = f"{restarts:.0f} times: a process of theirs was lost"
        print_facts(
            facts
            | {
                "steps/s": f"{1 / self._seconds_a_step(last):,.0f}, everything included",
                "run": str(folder),
                "see it": f"tensorboard --logdir {folder}",
                "evaluate it": f"trpo evaluate {folder}",
            }
        )


def print_facts(facts: dict[str, str]) -> None:
    """Print names and values in two columns, one fact per line.

    Args:
        facts: names to values.
    """
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {printable(value)}")
