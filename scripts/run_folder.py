"""A run's folder, runs/ENV/NAME/: config.json, metrics.csv, TensorBoard events, checkpoints/."""

import json
import platform
import subprocess
from dataclasses import asdict, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from trpo.agents.files import replace_file
from trpo.scripts.command import UsageError

Config = TypeVar("Config")
CONFIG = "config.json"
PACKAGES = ("trpo", "torch", "gymnasium", "envpool", "numpy", "scikit-learn")


def path(runs: Path, env_id: str, name: str) -> Path:
    """Return where a run's folder is, or will be.

    Args:
        runs: the folder of all runs.
        env_id: the environment.
        name: the run's name.

    Returns:
        The path.
    """
    return runs / env_id.replace("/", "-").replace(":", "-") / name


def is_run(folder: Path) -> bool:
    """Return whether a run was begun in a folder; one that was killed before it had a config.json was not.

    Args:
        folder: any path.

    Returns:
        Whether there is something to go on with.
    """
    return (folder / CONFIG).exists()


def create(folder: Path, again: bool = False) -> None:
    """Make a new run's folder, with `checkpoints/` in it.

    Args:
        folder: its path.
        again: whether the folder may be there, if it holds no run.

    Raises:
        UsageError: if there is such a run already, or the folder cannot be made.
    """
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=again)
    except FileExistsError as error:
        raise UsageError(
            f"run {folder} exists: choose another --name, or go on with it by --resume"
        ) from error
    except OSError as error:
        raise UsageError(f"cannot make run folder {folder}: {error.strerror}") from error


def write_config(folder: Path, options: Any) -> dict[str, Any]:
    """Write config.json: the options, and what they ran with.

    Args:
        folder: the run's.
        options: a dataclass of JSON's types and dataclasses.

    Returns:
        What was written, as it will be read.
    """
    return _write_json(
        folder / CONFIG, asdict(options) | {"versions": versions(), "git_commit": git_commit()}
    )


def extend(folder: Path, total_steps: int) -> dict[str, Any]:
    """Let a run go on for longer: write the new `total_steps` into its config.json, and leave the rest as it is.

    Args:
        folder: the run's, with a config.json that `read_config` could read.
        total_steps: environment steps, counted from the run's beginning.

    Returns:
        What was written.
    """
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["learner"]["trainer"]["total_steps"] = total_steps
    return _write_json(path, config)


def _write_json(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(content, indent=2, default=str)
    replace_file(path, (text + "\n").encode("utf-8"))
    return dict(json.loads(text))


def read_config(folder: Path, template: Config) -> Config:
    """Read the options that a run was started with.

    Args:
        folder: the run's.
        template: options of the same kind; their values are replaced.

    Returns:
        The run's options.

    Raises:
        UsageError: if the folder is no run's, or its config.json does not fit.
    """
    path = folder / CONFIG
    try:
        return _restore(template, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder} is not a run: expected a folder with config.json, as trpo train leaves it"
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _restore(template: Any, values: dict[str, Any]) -> Any:
    hints = get_type_hints(type(template))

    def field(name: str) -> Any:
        default, value = getattr(template, name), values[name]
        return (
            _restore(default, value) if is_dataclass(default) else _typed(name, value, hints[name])
        )

    return replace(template, **{name: field(name) for name in template.__dataclass_fields__})


def _typed(name: str, value: Any, hint: Any) -> Any:
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_typed(name, part, get_args(hint)[0]) for part in value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if get_origin(hint) is Literal:
        fits = value in get_args(hint)
    else:
        fits = type(value) is hint or (hint is float and type(value) is int)
    if not fits:
        raise TypeError(f"{name} = {value!r}")
    return value


def first_difference(one: Any, other: Any, prefix: str = "") -> tuple[str, Any, Any] | None:
    """Return the first field in which two configurations differ.

    Args:
        one: a dataclass of values and dataclasses.
        other: one of the same kind.
        prefix: of the fields' names.

    Returns:
        The field's name, as config.json has it, and its two values; `None` if they are equal.
    """
    for name in one.__dataclass_fields__:
        values = getattr(one, name), getattr(other, name)
        if is_dataclass(values[0]):
            if found := first_difference(*values, f"{prefix}{name}."):
                return found
        elif values[0] != values[1]:
            return prefix + name, *values
    return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {
        package: version(package) for package in PACKAGES if _installed(package)
    }


def _installed(package: str) -> bool:
    try:
        version(package)
    except ModuleNotFoundError:
        return False
    return True


def git_commit() -> str | None:
    """Return the commit of this checkout, marked if it has changes; `None` outside git."""
    here = Path(__file__).parent
    described = subprocess.run(
        ["git", "-C", here, "describe", "--always", "--dirty", "--abbrev=40"],
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None
