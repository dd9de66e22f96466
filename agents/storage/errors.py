"""What can be wrong with a run's folder, in one line that says what."""


class RunError(ValueError):
    """A run that cannot be made or used; the message is one line, fit to print to a user."""


class BusyRunError(RunError):
    """A run that is being trained: it can be used later."""


class CheckpointError(RunError):
    """A checkpoint that cannot be used."""
