"""Preloaded by the fork server of the workers: makes it ignore signals sent to all processes.

`timeout`, a terminal that is closed, a batch system: each asks every process to end. The server has
to wait for the workers, which save what they have; without it, they look lost to their parent.
"""

import os
import signal
from types import FrameType

SERVER = os.getpid()


def _on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 the interface has it
    if os.getpid() != SERVER:  # a worker that has not begun
        os._exit(128 + number)


for asked in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(asked) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(asked, _on_signal)
