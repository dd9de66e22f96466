"""config.json as earlier versions wrote it: one function a format makes the next format of it."""

import math
from collections.abc import Callable

Content = dict[str, object]

# What format 1 lacks where it was written before an option was there, and what was done then.
LACKED_BY_1: Content = {
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
}
# Options of the command line that format 1 held: where the folder is, the folder itself says.
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
    return _filled(kept, LACKED_BY_1)


def _renamed(content: Content, old: str, new: str) -> Content:
    return {new if key == old else key: value for key, value in content.items()}


def _filled(content: Content, lacked: Content) -> Content:
    """Return `content` with what it lacks."""
    filled = {**lacked, **content}
    for name, within in lacked.items():
        part = filled[name]
        if isinstance(within, dict) and isinstance(part, dict):
            filled[name] = _filled(part, within)
    return filled


# Before format 3 there were pictures for encoders of one's own only, which take no options.
LACKED_BY_2: Content = {"pictures": {"encoder": "auto", "channels": "auto"}}


def _from_2(content: Content) -> Content:
    return _filled(content, {"learner": LACKED_BY_2})


# Before format 4, runs were not evaluated as they trained.
LACKED_BY_3: Content = {"learner": {"trainer": {"eval_every": 0, "stop_return": math.inf}}}


def _from_3(content: Content) -> Content:
    return _filled(content, LACKED_BY_3)


def _from_4(content: Content) -> Content:
    return {"started_from": None} | content  # before format 5, all began from their seed


# Before format 6, environments were as they are registered.
LACKED_BY_5: Content = {
    "env_kwargs": {},
    "wrapper": [],
    "frame_skip": None,
    "frame_stack": None,
    "time_limit": None,
}


def _from_5(content: Content) -> Content:
    environment = content.get("environment")
    if not isinstance(environment, dict) or "engine" not in environment:  # not the command line's
        return content
    return {**content, "environment": _filled(environment, LACKED_BY_5)}


# Before format 7, there were no masks.
LACKED_BY_6: Content = {"action_mask": "auto"}


def _from_6(content: Content) -> Content:
    environment = content.get("environment")
    if not isinstance(environment, dict) or "engine" not in environment:
        return content
    return {**content, "environment": _filled(environment, LACKED_BY_6)}


# Before format 8, nothing had a memory.
LACKED_BY_7: Content = {"recurrence": {"recurrent": "none", "recurrent_size": 64}}


def _from_7(content: Content) -> Content:
    return _filled(content, {"learner": LACKED_BY_7})


# Before format 9, a Gaussian's deviation was the same in every state.
LACKED_BY_8: Content = {"policy": {"log_std": "shared"}}


def _from_8(content: Content) -> Content:
    return _filled(content, {"learner": LACKED_BY_8})


def _from_9(content: Content) -> Content:
    return {"video_every": 0} | content  # before format 10, nothing was filmed in training


# Before format 11, V read pictures, and remembered, for itself; large ones were not normalised.
LACKED_BY_10: Content = {"value": {"trunk": "own"}, "normalize": {"pictures": False}}


# Since, 0, None and auto say what was meant by these, but where pictures are large.
SAID_BY_10: dict[tuple[str, str], tuple[object, object]] = {
    ("trpo", "fisher_stride"): (1, 0),
    ("policy", "hidden"): ([64, 64], None),
    ("value", "hidden"): ([64, 64], None),
    ("value", "fit"): ("gauss-newton", "auto"),
}


def _from_10(content: Content) -> Content:
    filled = _filled(content, {"learner": LACKED_BY_10})
    learner = filled.get("learner")
    if not isinstance(learner, dict) or _may_have_pictures(filled.get("observation_space")):
        return filled
    for (part, name), (before, now) in SAID_BY_10.items():
        settings = learner.get(part)
        if isinstance(settings, dict) and settings.get(name) == before:
            learner = learner | {part: settings | {name: now}}
    return filled | {"learner": learner}


def _may_have_pictures(space: object) -> bool:
    if not isinstance(space, dict):
        return True
    parts, shape = space.get("spaces", []), space.get("shape", [])
    nested = list(parts.values()) if isinstance(parts, dict) else parts
    if not isinstance(nested, list) or not isinstance(shape, list):
        return True
    return len(shape) > 1 or any(map(_may_have_pictures, nested))


def _lacked_by_11(content: Content) -> Content:
    # before format 12, all grids held numbers
    codes = 0 if _may_have_pictures(content.get("observation_space")) else None
    return {"pictures": {"grid_codes": codes}}


def _from_11(content: Content) -> Content:
    return _filled(content, {"learner": _lacked_by_11(content)})


# Before format 13, a Box's actions were Gaussian.
LACKED_BY_12: Content = {"policy": {"distribution": "gaussian"}}


def _from_12(content: Content) -> Content:
    return _filled(content, {"learner": LACKED_BY_12})


# Before format 14, the surrogate was of advantages alone.
LACKED_BY_13: Content = {"trpo": {"entropy_bonus": 0.0}}


def _from_13(content: Content) -> Content:
    return _filled(content, {"learner": LACKED_BY_13})


# Before format 15, δ stayed as it was.
LACKED_BY_14: Content = {"trpo": {"anneal_to": 1.0}}


def _from_14(content: Content) -> Content:
    return _filled(content, {"learner": LACKED_BY_14})


# Before format 16, a Beta policy began at 1 + softplus(0).
LACKED_BY_15: Content = {"policy": {"initial_concentration": 1 + math.log(2)}}


def _from_15(content: Content) -> Content:
    return _filled(content, {"learner": LACKED_BY_15})


def _from_16(content: Content) -> Content:
    # before format 17, F was the batch's alone with a memory of the policy's, whatever was asked
    learner = content.get("learner")
    if isinstance(learner, dict):
        recurrence, trpo = learner.get("recurrence"), learner.get("trpo")
        remembers = isinstance(recurrence, dict) and recurrence.get("recurrent") != "none"
        if remembers and isinstance(trpo, dict) and trpo.get("memory") != 16:
            return content | {"learner": learner | {"trpo": trpo | {"memory": 0}}}
    return content


MIGRATIONS: tuple[Callable[[Content], Content], ...] = (
    _from_1,
    _from_2,
    _from_3,
    _from_4,
    _from_5,
    _from_6,
    _from_7,
    _from_8,
    _from_9,
    _from_10,
    _from_11,
    _from_12,
    _from_13,
    _from_14,
    _from_15,
    _from_16,
)
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


def migrate_agent(content: object) -> object:
    """Return what a checkpoint says of its agent, as this version would have written it.

    Args:
        content: JSON, of any version since checkpoints say it.

    Returns:
        JSON.
    """
    if not isinstance(content, dict):
        return content
    lacking = (LACKED_BY_2, LACKED_BY_7, LACKED_BY_8, LACKED_BY_10, LACKED_BY_12, LACKED_BY_15)
    for lacked in lacking:
        content = _filled(content, lacked)
    return _filled(content, _lacked_by_11(content))
