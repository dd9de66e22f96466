"""Vector environments that are stepped group by group."""

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from trpo.envs.envpool_engine import EnvPoolVectorEnv, Step, step_all


class GroupedVectorEnv(VectorWrapper):
    """Any vector environment, in `groups`: slices of its N that can be stepped by themselves.

    So one group steps while the policy acts for another (Stooke & Abbeel 2019, alternating
    sampling). Only EnvPool's environments come in more than one group.

    Args:
        env: any vector environment, autoreset NEXT_STEP.
    """

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        self._pools = env if isinstance(env, EnvPoolVectorEnv) else None
        self.groups = self._pools.groups if self._pools else [slice(0, env.num_envs)]

    def step(self, actions: np.ndarray) -> Step:
        """Step every environment.

        Args:
            actions: (N, *shape), in the action space.

        Returns:
            Observations, rewards, terminated, truncated, each (N, …), and information.
        """
        return step_all(self, actions)

    def send(self, number: int, actions: np.ndarray) -> None:
        """Let a group step: at once if there are several; a single one steps when waited for.

        Args:
            number: of the group.
            actions: (n, *shape), in the action space.
        """
        if self._pools:
            self._pools.send(number, actions)
        else:
            self._sent = actions

    def receive(self, number: int) -> Step:
        """Wait for a group's step.

        Args:
            number: of the group.

        Returns:
            As `step`, of its n environments.
        """
        return self._pools.receive(number) if self._pools else self.env.step(self._sent)
