"""What reaches a terminal: in its encoding, and without anybody's control characters."""

import codecs
import contextlib
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from trpo.scripts.cli.torchrun import rank

# What stands for a character in an encoding that lacks it; a question mark for every other.
PLAIN = {
    "≤": "<=", "≥": ">=", "‖": "||", "−": "-", "–": "-", "—": "-", "…": "...", "×": "x", "·": ".",
    "±": "+/-", "÷": "/", "→": "->", "↦": "->", "’": "'", "“": '"', "”": '"', "√": "sqrt",
    "δ": "delta", "β": "beta", "γ": "gamma", "λ": "lambda", "θ": "theta", "π": "pi", "α": "alpha",
    "σ": "sigma", "²": "2", "³": "3", "½": "1/2", "ᵀ": "'", "Â": "A", "ö": "o", "é": "e", "ⓘ": "i",
    **dict.fromkeys("─━═╌╺╸", "-"), **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+"),
}  # fmt: skip


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end


codecs.register_error("trpo.plain", _plain)


def prepare_streams() -> None:
    """Make standard output and error take any text; where one is closed, let it go nowhere."""
    sys.stdout, sys.stderr = _prepared(sys.stdout), _prepared(sys.stderr)


def _prepared(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed: take its place, or the next file that is opened would have it
        return open(os.devnull, "w", encoding="utf-8")  # as long as the process
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="trpo.plain")
    return stream


def silence_output() -> None:
    """Let standard output go nowhere from now on: it cannot be written to."""
    with contextlib.suppress(OSError, ValueError):  # one that has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def unwritable(error: OSError) -> int:
    """Say that standard output cannot be written to, once.

    Args:
        error: of the write.

    Returns:
        The exit code: 141 where nobody reads any more, as shells have it, else 1.
    """
    silence_output()  # what is left would be tried again as this process ends
    if isinstance(error, BrokenPipeError):  # whoever read has seen enough, as head has
        return 128 + signal.SIGPIPE
    say_error(f"standard output: {error.strerror or error}")
    return 1


def printable(text: object) -> str:
    """Return a text in one line, and with what would move a terminal's cursor spelt out.

    Args:
        text: from anywhere: an environment's name, or what it says, may hold anything.

    Returns:
        The text, of printable characters only.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(text)
    )


def say_error(text: object) -> None:
    """Tell what is wrong, if standard error can be written to.

    Args:
        text: one line.
    """
    with contextlib.suppress(OSError):
        whose = f"rank {rank()}: " if rank() > 0 else ""  # of several processes; the first leads
        print(f"trpo: {whose}{printable(text)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Tell what a library warns of as this program tells things: in one line, and once."""
    owner, told = os.getpid(), set[str]()

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        text = re.sub(r"\x1b\[\d+m|WARN: ", "", str(message)).strip().partition("\n")[0]
        # environments' processes, and other ranks, warn alike
        if text not in told and os.getpid() == owner and not rank():
            told.add(text)
            say_error(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.showwarning = tell
        yield
