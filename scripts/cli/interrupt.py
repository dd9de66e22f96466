"""Ctrl-C and SIGTERM: the first asks for an end, when everything is at rest; the second is one."""

import os
import signal
import sys
from types import FrameType, TracebackType
from typing import NoReturn


def exit_at_once(exit_code: int) -> NoReturn:
    """End this process, whatever its threads are at: what a run has written is with the system.

    Args:
        exit_code: the process's.
    """
    sys.stdout.write(
        "\x1b[?25h" if sys.stdout.isatty() else ""
    )  # the cursor, which a live display hides
    sys.stdout.flush()
    os._exit(exit_code)


class Interrupt:
    """While it is entered, remembers the signal that asked this process to end."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._owner = os.getpid()

    def __enter__(self) -> "Interrupt":
        self._before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
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
        """130 after Ctrl-C, 143 after SIGTERM, as shells have it; 0 after none."""
        return 128 + self.signal if self.signal else 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 the interface has it
        if (
            os.getpid() != self._owner
        ):  # a process of the environments': Ctrl-C reaches it too, but its owner decides
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.signal:
            exit_at_once(128 + number)
        self.signal = signal.Signals(number)
