"""Signals that request termination: the first ends the command cleanly, the second at once."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import NoReturn

from trpo.reducer import Reducer, Totals
from trpo.scripts.cli.output import say_error


def exit_at_once(exit_code: int) -> NoReturn:
    """End this process, whatever its threads are doing: a run's writes are never buffered here.

    Args:
        exit_code: the process's.
    """
    with contextlib.suppress(OSError, ValueError):
        # show the cursor, which a panel hides
        sys.stdout.write("\x1b[?25h" if sys.stdout.isatty() else "")
        sys.stdout.flush()
    os._exit(exit_code)


def end_with_parent() -> None:
    """End this process at once when its parent has ended for any reason."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        exit_at_once(1)

    threading.Thread(target=watch, daemon=True).start()


class Interrupted(KeyboardInterrupt):
    """Raised once a command that was asked to end has finished cleanly.

    Args:
        exit_code: 128 + the signal.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


class Interrupt:
    """A context manager that remembers the signal that asked this process to end."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._owner = os.getpid()

    def __enter__(self) -> "Interrupt":
        self._before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN  # as nohup has it
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """128 + the signal, as in shells, such as 130 after Ctrl-C; 0 without a signal."""
        return 128 + self.signal if self.signal else 0

    def asked(self, reducer: Reducer) -> bool:
        """Return whether this process, or another of its group, was asked to end.

        Args:
            reducer: of the group, so that all end after the same update.
        """
        return reducer.combine(Totals(int(self.signal is not None))).count > 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 the interface has it
        # an environment's process, which Ctrl-C reaches, too: the owner decides
        if os.getpid() != self._owner:
            if number != signal.SIGINT:
                os._exit(128 + number)
            return
        if self.signal is None:
            self.signal = signal.Signals(number)
        elif multiprocessing.parent_process() is None:
            with contextlib.suppress(RuntimeError):  # if it arrived in the middle of a print
                say_error("interrupted again: ended at once, without saving")
            exit_at_once(128 + number)
        # else it was sent to all processes, and once more by the parent, which decides
