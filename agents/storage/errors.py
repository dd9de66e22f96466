"""Errors about a run's folder, with one-line messages."""


class RunError(ValueError):
    """A run that cannot be created or used; the message is one line, for the user."""


class BusyRunError(RunError):
    """A run that is currently being trained; it can be used later."""


class CheckpointError(RunError):
    """A checkpoint that cannot be used."""
