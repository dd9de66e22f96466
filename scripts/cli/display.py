"""What `trpo train` shows: a live panel on a terminal, lines elsewhere, a summary at the end."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from trpo.agents.metrics import UpdateRecord
from trpo.agents.observations import named_leaves
from trpo.agents.pictures import picture_of
from trpo.agents.runs.results import Results
from trpo.agents.trainer import Trainer
from trpo.report import Status
from trpo.scripts.cli.command import warn
from trpo.scripts.cli.numbers import readable
from trpo.scripts.cli.output import printable, silence_output

SECONDS_BETWEEN_LINES = 5.0


class Display:
    """Follows a run.

    Args:
        env_id: what is trained on.
        trainer: at rest, before the first update that is to be shown.
    """

    def __init__(self, env_id: str, trainer: Trainer) -> None:
        learner = trainer.config
        self.console = Console()
        self.title = f"{learner.algorithm.upper()} on {printable(env_id)}"
        self.pictures = {
            name: picture
            for name, leaf in named_leaves(trainer.agent.observation_space).items()
            if (picture := picture_of(leaf, learner.pictures))
        }
        self.total_steps = learner.trainer.total_steps
        self.max_kl = learner.max_kl
        self.started = time.perf_counter()
        self.steps_before = trainer.steps
        self._last_line = 0.0
        self._progress = Progress(
            TextColumn("{task.completed:,.0f} / {task.total:,.0f} steps"),
            BarColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._progress.add_task("", total=self.total_steps)
        # no thread of its own, in which a terminal that is gone would raise
        live = Live(console=self.console, auto_refresh=False)
        self._live = live if self.console.is_terminal else None

    def __enter__(self) -> "Display":
        with self._never_fatal():
            for name, picture in self.pictures.items():
                print(printable(f"{name}: {picture}"))
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
        """Training goes on where standard output cannot be written to any more."""
        try:
            yield
            sys.stdout.flush()
        except OSError as error:
            silence_output()
            warn(f"standard output: {error.strerror}; training goes on without it")

    def show(self, record: UpdateRecord) -> None:
        """Show an update.

        Args:
            record: the update.
        """
        with self._never_fatal():
            self._show(record)

    def _show(self, record: UpdateRecord) -> None:
        now = time.perf_counter()
        if self._live:
            self._progress.update(self._task, completed=min(record.steps, self.total_steps))
            self._live.update(
                Panel(
                    Group(self._progress, self._figures(record)),
                    title=Text(self.title),
                    title_align="left",
                ),
                refresh=True,
            )
        elif not self._last_line or now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            self.console.print(self._line(record), highlight=False, soft_wrap=True)

    def _return(self, record: UpdateRecord) -> str:
        value = record.metrics.get("episode/return_100")
        return "no episode has ended yet" if value is None else readable(value)[0]

    def _kl(self, record: UpdateRecord) -> str:
        limit = "" if self.max_kl is None else f" ≤ {self.max_kl:g}"
        return f"{record.metrics['update/mean_kl']:.5f}{limit}"

    def _figures(self, record: UpdateRecord) -> Table:
        metrics = record.metrics
        table = Table.grid(padding=(0, 2))
        table.add_row("return, last 100 episodes", self._return(record))
        table.add_row("KL(old ‖ new)", f"{self._kl(record)} nats")
        backtracks = metrics.get("trust_region/backtracks")
        table.add_row(
            "update",
            record.status.value + ("" if backtracks is None else f", {backtracks:.0f} backtracks"),
        )
        table.add_row("updates", f"{record.update:,}")
        table.add_row("steps/s", f"{metrics['time/steps_per_second']:,.0f}")
        return table

    def _line(self, record: UpdateRecord) -> str:
        metrics = record.metrics
        return (
            f"step {record.steps:>10,}  return {self._return(record)}"
            f"  KL {self._kl(record)}  {record.status.value}"
            f"  {metrics['time/steps_per_second']:,.0f} steps/s"
        )

    def summarize(self, folder: Path, results: Results, finished: bool) -> None:
        """Print what the run came to, and how to go on with it.

        Args:
            folder: the run's.
            results: of all its updates.
            finished: whether it took all of its steps.
        """
        with self._never_fatal():
            self._summarize(folder, results)
            if not finished:
                print(f"interrupted, and saved; to go on: trpo resume {printable(folder)}")

    def _summarize(self, folder: Path, results: Results) -> None:
        last = results.last
        if last is None:
            return
        steps_per_second = (last.steps - self.steps_before) / (time.perf_counter() - self.started)
        within = (
            f"{results.within_limit:,} of {results.updates:,}, KL(old ‖ new) ≤ {self.max_kl:g} nats"
            if self.max_kl
            else "this algorithm has none: trpo audit holds it against one"
        )
        put_back = [
            f"{count:,} × {status.value}"
            for status, count in results.outcomes.items()
            if status is not Status.ACCEPTED
        ]
        facts = {
            "return, last 100 episodes": self._return(last),
            "updates within the limit": within,
            "largest KL": f"{results.largest_kl:.5f}",
            "updates put back": "; ".join(put_back) or "none",
        }
        if restarts := last.metrics["environment/restarts"]:
            facts["environments restarted"] = f"{restarts:.0f} times: a process of theirs was lost"
        print_facts(
            facts
            | {
                "steps/s": f"{steps_per_second:,.0f}, everything included",
                "run": str(folder),
                "see it": f"tensorboard --logdir {folder}",
                "evaluate it": f"trpo evaluate {folder}",
            }
        )


def print_facts(facts: dict[str, str]) -> None:
    """Print names and values, one fact a line, in two columns.

    Args:
        facts: names to values.
    """
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {printable(value)}")
