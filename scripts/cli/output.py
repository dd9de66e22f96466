"""Output to a terminal: in its encoding, and without foreign control characters."""

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

# Replacements of characters that an encoding lacks; all others become a question mark.
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
    """Make standard output and error accept any text; if one is closed, discard its output."""
    sys.stdout, sys.stderr = _prepared(sys.stdout), _prepared(sys.stderr)


def _prepared(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed: take its descriptor, or the next opened file would get it
        return open(os.devnull, "w", encoding="utf-8")  # kept open as long as the process lives
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="trpo.plain")
    return stream


def silence_output() -> None:
    """Discard standard output from now on: it cannot be written to."""
    with contextlib.suppress(OSError, ValueError):  # one without a descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def unwritable(error: OSError) -> int:
    """Report once that standard output cannot be written to.

    Args:
        error: of the write.

    Returns:
        The exit code: 141 if the reader has gone, as in shells, else 1.
    """
    silence_output()  # buffered output would be written again as this process exits
    if isinstance(error, BrokenPipeError):  # the reader has seen enough, such as head
        return 128 + signal.SIGPIPE
    say_error(f"standard output: {error.strerror or error}")
    return 1


def printable(text: object) -> str:
    """Return a text in one line, with control characters escaped.

    Args:
        text: from anywhere: an environment's name or messages may contain anything.

    Returns:
        The text, of printable characters only.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(text)
    )


def say_error(text: object) -> None:
    """Print an error, if standard error can be written to.

    Args:
        text: one line.
    """
    with contextlib.suppress(OSError):
        # only the first of several processes prints
        whose = f"rank {rank()}: " if rank() > 0 else ""
        print(f"trpo: {whose}{printable(text)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def one_line_warnings() -> Iterator[None]:
    """Print a library's warnings in this program's format: in one line, and once."""
    owner, told = os.getpid(), set[str]()

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        text = re.sub(r"\x1b\[\d+m|WARN: ", "", str(message)).strip().partition("\n")[0]
        # environments' processes and other ranks give the same warnings
        if text not in told and os.getpid() == owner and not rank():
            told.add(text)
            say_error(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.showwarning = tell
        yield
