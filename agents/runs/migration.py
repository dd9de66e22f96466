"""config.json as earlier versions wrote it: one function a format makes the next format of it."""

from collections.abc import Callable

Content = dict[str, object]

# What an option did before there was one, by where it stands: runs of the first format may lack it.
BEFORE_OPTIONS: Content = {}


def _from_1(content: Content) -> Content:
    # Format 1 was unnumbered, held the command line's own options, and knew no spaces.
    options = {"name", "runs", "resume"}  # which say where the folder is, as the folder itself does
    kept = {key: value for key, value in content.items() if key not in options}
    spaces = {"observation_space": None, "action_space": None}
    return kept | spaces


MIGRATIONS: tuple[Callable[[Content], Content], ...] = (_from_1,)
FORMAT = len(MIGRATIONS) + 1


def migrate(content: object) -> Content:
    """Return config.json's content as this version would have written it.

    Args:
        content: JSON, of any format.

    Returns:
        A new object, without its format's number.

    Raises:
        ValueError: if it is no object, or of a format that this version does not know.
    """
    if not isinstance(content, dict):
        raise ValueError("expected an object")  # noqa: TRY004 the caller's word for all that is wrong
    number = content.get("format", 1)
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise ValueError(f"format = {number!r}: this version reads formats 1 to {FORMAT}")
    content = {key: value for key, value in content.items() if key != "format"}
    for migration in MIGRATIONS[number - 1 :]:
        content = migration(content)
    return content
