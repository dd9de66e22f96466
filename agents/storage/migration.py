"""config.json as earlier versions wrote it, made into what this version writes."""

import math
from collections.abc import Callable

Content = dict[str, object]

# Number of a format → the options that it lacks, and what was done before they were there.
LACKED: dict[int, Content] = {
    1: {
        "learner": {
            "algorithm": "trpo",
            "trainer": {
                "keep_checkpoints": 5,
                "max_non_finite": 10,
                "max_restarts": 0,
                "device": "cpu",
            },
            "npg": {
                "scaling": "kl",
                "target_kl": 0.02,
                "step_size": 0.1,
                "damping": 0.1,
                "cg_iterations": 10,
            },
            "vpg": {"optimizer": "adam", "learning_rate": 0.01},
            "ppo": {
                "learning_rate": 3e-4,
                "clip_ratio": 0.2,
                "epochs": 10,
                "minibatch_size": 64,
                "max_gradient_norm": 0.5,
            },
            "trpo": {"step_size": math.inf, "memory": 0},
            "value": {"fisher_stride": 1, "max_change": math.inf},
        },
        "environment": {"step_timeout": 0.0},
        "observation_space": None,
        "action_space": None,
    },
    2: {"learner": {"pictures": {"encoder": "auto", "channels": "auto"}}},
    3: {"learner": {"trainer": {"eval_every": 0, "stop_return": math.inf}}},
    4: {"started_from": None},
    5: {
        "environment": {
            "env_kwargs": {},
            "wrapper": [],
            "frame_skip": None,
            "frame_stack": None,
            "time_limit": None,
        }
    },
    6: {"environment": {"action_mask": "auto"}},
    7: {"learner": {"recurrence": {"recurrent": "none", "recurrent_size": 64}}},
    8: {"learner": {"policy": {"log_std": "shared"}}},
    9: {"video_every": 0},
    10: {"learner": {"value": {"trunk": "own"}, "normalize": {"pictures": False}}},
    12: {"learner": {"policy": {"distribution": "gaussian"}}},
    13: {"learner": {"trpo": {"entropy_bonus": 0.0}}},
    14: {"learner": {"trpo": {"anneal_to": 1.0}}},
    15: {"learner": {"policy": {"initial_concentration": 1 + math.log(2)}}},
}
FORMAT = 18
LACKED_BY_AGENTS = (2, 7, 8, 10, 12, 15)  # of these, what is of an agent: its checkpoints say it


def _filled(content: Content, lacked: Content) -> Content:
    """Return `content` with missing entries added."""
    filled = {**lacked, **content}
    for name, within in lacked.items():
        part = filled[name]
        if isinstance(within, dict) and isinstance(part, dict):
            filled[name] = _filled(part, within)
    return filled


def _renamed(content: Content, old: str, new: str) -> Content:
    return {new if key == old else key: value for key, value in content.items()}


# Command-line options that format 1 stored, but which the folder's place determines.
COMMAND_LINE = {"name", "runs", "resume"}


def _from_1(content: Content) -> Content:
    kept = {key: value for key, value in content.items() if key not in COMMAND_LINE}
    learner = kept.get("learner")
    if isinstance(learner, dict):
        learner = _renamed(learner, "trust_region", "trpo")
        trainer = learner.get("trainer")
        if isinstance(trainer, dict):
            learner["trainer"] = _renamed(trainer, "chunk_size", "microbatch_size")
        kept["learner"] = learner
    return kept


# Since format 11, 0, None and auto say what was meant by these, but where pictures are large.
SAID_BY_10: dict[tuple[str, str], tuple[object, object]] = {
    ("trpo", "fisher_stride"): (1, 0),
    ("policy", "hidden"): ([64, 64], None),
    ("value", "hidden"): ([64, 64], None),
    ("value", "fit"): ("gauss-newton", "auto"),
}


def _from_10(content: Content) -> Content:
    learner = content.get("learner")
    if not isinstance(learner, dict) or _may_have_pictures(content.get("observation_space")):
        return content
    for (part, name), (before, now) in SAID_BY_10.items():
        settings = learner.get(part)
        if isinstance(settings, dict) and settings.get(name) == before:
            learner = learner | {part: settings | {name: now}}
    return content | {"learner": learner}


def _may_have_pictures(space: object) -> bool:
    if not isinstance(space, dict):
        return True
    parts, shape = space.get("spaces", []), space.get("shape", [])
    nested = list(parts.values()) if isinstance(parts, dict) else parts
    if not isinstance(nested, list) or not isinstance(shape, list):
        return True
    return len(shape) > 1 or any(map(_may_have_pictures, nested))


def _lacked_by_11(content: Content) -> Content:
    # before format 12, grids were used as numbers
    codes = 0 if _may_have_pictures(content.get("observation_space")) else None
    return {"pictures": {"grid_codes": codes}}


def _from_11(content: Content) -> Content:
    return _filled(content, {"learner": _lacked_by_11(content)})


def _from_16(content: Content) -> Content:
    # before format 17, F of recurrent policies ignored this option and used the batch only
    learner = content.get("learner")
    if isinstance(learner, dict):
        recurrence, trpo = learner.get("recurrence"), learner.get("trpo")
        remembers = isinstance(recurrence, dict) and recurrence.get("recurrent") != "none"
        if remembers and isinstance(trpo, dict) and trpo.get("memory") != 16:
            return content | {"learner": learner | {"trpo": trpo | {"memory": 0}}}
    return content


def _from_17(content: Content) -> Content:
    learner = content.get("learner")
    if not isinstance(learner, dict):
        return content
    learner = _renamed(learner, "pictures", "images")
    if isinstance(normalize := learner.get("normalize"), dict):
        learner["normalize"] = _renamed(normalize, "pictures", "images")
    return content | {"learner": learner}


CHANGED: dict[int, Callable[[Content], Content]] = {
    1: _from_1,
    10: _from_10,
    11: _from_11,
    16: _from_16,
    17: _from_17,
}


def _next_format(content: Content, number: int) -> Content:
    """Return the content of format `number` as the next format has it."""
    lacked = LACKED.get(number, {})
    environment = content.get("environment")
    if number in {5, 6} and not (isinstance(environment, dict) and "engine" in environment):
        lacked = {}  # not made by the command line
    content = CHANGED.get(number, dict)(content)
    return _filled(content, lacked)


def migrate(content: object) -> Content:
    """Return config.json's content as this version would have written it.

    Args:
        content: JSON, of any format.

    Returns:
        A new object, without its format's number.

    Raises:
        ValueError: if it is not an object, or its format is unknown to this version.
    """
    if not isinstance(content, dict):
        raise ValueError("expected an object")  # noqa: TRY004 the caller's word for all that is wrong
    number = content.get("format", 1)
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise ValueError(f"format = {number!r}: this version reads formats 1 to {FORMAT}")
    content = {key: value for key, value in content.items() if key != "format"}
    for earlier in range(number, FORMAT):
        content = _next_format(content, earlier)
    return content


def migrate_agent(content: object) -> object:
    """Return a checkpoint's description of its agent, as this version would have written it.

    Args:
        content: JSON, of any version since checkpoints describe their agent.

    Returns:
        JSON.
    """
    if not isinstance(content, dict) or "images" in content:
        return content
    learner: Content = {"learner": content}
    for number in LACKED_BY_AGENTS:
        learner = _filled(learner, LACKED[number])
    return _from_17(_filled(learner, {"learner": _lacked_by_11(content)}))["learner"]
