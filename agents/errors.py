"""What others' code raises, as one line to print."""

import traceback


def one_line(error: BaseException) -> str:
    """Return an exception's kind and the first line of what it says.

    Args:
        error: any, even one that fails to say what it is.

    Returns:
        One line.
    """
    # format_exception_only: an exception may fail to say what it is
    said = "".join(traceback.format_exception_only(error)).strip().partition("\n")[0]
    return said.removeprefix(f"{type(error).__module__}.")
