"""The update rules there are, by the name that `--algorithm` takes; each finds its settings in the field of its name."""

from collections.abc import Callable
from typing import Any

from trpo.agents.config import Algorithm, LearnerConfig
from trpo.agents.npg import Npg
from trpo.agents.policies import Policy
from trpo.agents.ppo import Ppo
from trpo.agents.trpo import Trpo
from trpo.agents.update_rule import UpdateRule
from trpo.agents.vpg import Vpg
from trpo.reducer import SERIAL, Reducer

UPDATE_RULES: dict[Algorithm, Callable[[Policy, Any, int, Reducer], UpdateRule]] = {
    "trpo": Trpo,
    "npg": Npg,
    "vpg": Vpg,
    "ppo": Ppo,
}


def make_update_rule(
    policy: Policy, config: LearnerConfig, reducer: Reducer = SERIAL
) -> UpdateRule:
    """Make the update rule that the configuration names.

    Args:
        policy: to be updated in place.
        config: the learner's.
        reducer: brings together what a batch is cut into.

    Returns:
        The rule.
    """
    settings = getattr(config, config.algorithm)
    return UPDATE_RULES[config.algorithm](policy, settings, config.trainer.microbatch_size, reducer)
