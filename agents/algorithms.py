"""The update rules there are, by the name that `--algorithm` takes."""

from trpo.agents.config import LearnerConfig
from trpo.agents.policies import Policy
from trpo.agents.updates.npg import Npg
from trpo.agents.updates.ppo import Ppo
from trpo.agents.updates.trpo import Trpo
from trpo.agents.updates.update_rule import UpdateRule
from trpo.agents.updates.vpg import Vpg
from trpo.reducer import SERIAL, Reducer


def make_update_rule(
    policy: Policy, config: LearnerConfig, reducer: Reducer = SERIAL
) -> UpdateRule:
    """Make the update rule that the configuration names.

    Args:
        policy: to be updated in place.
        config: the learner's.
        reducer: sums the results over threads and processes.

    Returns:
        The rule.
    """
    size = config.trainer.microbatch_size
    match config.algorithm:
        case "trpo":
            return Trpo(policy, config.trpo, size, reducer)
        case "npg":
            return Npg(policy, config.npg, size, reducer)
        case "vpg":
            return Vpg(policy, config.vpg, size, reducer)
        case "ppo":
            return Ppo(policy, config.ppo, size, reducer)
