"""Vector environments that are stepped in groups."""

from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper

from trpo.envs.envpool_engine import EnvPoolVectorEnv, Step, step_all


class GroupedVectorEnv(VectorWrapper):
    """Any vector environment, in `groups`: slices of its N that can be stepped separately.

    So one group steps while the policy acts for another (Stooke & Abbeel 2019, alternating
    sampling). Only EnvPool's environments come in more than one group.

    Args:
        env: any vector environment, autoreset NEXT_STEP.
        first: number of its first environment, if it is part of a larger set, for seeding.
    """

    def __init__(self, env: VectorEnv, first: int = 0) -> None:
        super().__init__(env)
        self._first = first
        # whether the caller constructed it, so that no further ones can be made
        self.handed_over = False
        self._pools = env if isinstance(env, EnvPoolVectorEnv) else None
        self.groups = self._pools.groups if self._pools else [slice(0, env.num_envs)]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: of environment 0, which may be in another part; the others' are consecutive.
            options: for the environment.

        Returns:
            Observations and information.
        """
        return super().reset(seed=None if seed is None else seed + self._first, options=options)

    def step(self, actions: Any) -> Step:
        """Step every environment.

        Args:
            actions: (N, *shape), in the action space.

        Returns:
            Observations, rewards, terminated, truncated, each (N, …), and information.
        """
        return step_all(self, actions)

    def send(self, number: int, actions: Any) -> None:
        """Start a group's step: at once if there are several; a single one steps in `wait`.

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
