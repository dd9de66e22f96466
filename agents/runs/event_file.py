"""A TensorBoard event file without thread or queue, so that a killed process loses no point."""

import os
import secrets
import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from trpo.agents.storage.files import AppendedFile


class EventFile:
    """TensorBoard's event file of one run.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        made_by = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        # not one of an existing file
        name = f"events.out.tfevents.{made_by}.{secrets.token_hex(8)}"
        self._records = RecordWriter(AppendedFile(folder / name))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # tells a running TensorBoard to discard points of an earlier file
        self._write(
            Event(wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START))
        )

    def add(self, summary: Summary, step: int = 0) -> None:
        """Write a summary.

        Args:
            summary: one or more values.
            step: environment steps.
        """
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
