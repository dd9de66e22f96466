"""A watchdog thread that ends the process when a reset or step takes longer than allowed."""

import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

from gymnasium.vector import VectorEnv

from trpo.envs.envpool_engine import Step
from trpo.envs.grouped import GroupedVectorEnv

# polls per timeout; a stopped process or a suspended computer misses them, so does not time out
TICKS = 20


def end_process(said: str) -> NoReturn:
    """Print why, and exit with 1 at once: nothing else ends a thread that hangs.

    Args:
        said: a sentence.
    """
    sys.stderr.write(f"{said}\n")
    os._exit(1)


class CallTimeout:
    """Watches calls from a separate thread; a call is the body of a `with` block.

    Args:
        seconds: limit for one call, > 0; its code must let other threads run, as all Python code
            does.
        on_hang: called from that thread when a call takes longer; has to end the process.
    """

    def __init__(self, seconds: float, on_hang: Callable[[], None]) -> None:
        self._calls = 0  # odd within a call
        self._closed = threading.Event()
        threading.Thread(target=self._watch, args=(seconds / TICKS, on_hang), daemon=True).start()

    def __enter__(self) -> None:
        self._calls += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._calls += 1

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def _watch(self, tick: float, on_hang: Callable[[], None]) -> None:
        seen = ticks = 0
        while ticks <= TICKS and not self._closed.wait(tick):
            ticks = ticks + 1 if self._calls == seen and seen % 2 else 0
            seen = self._calls
        if ticks > TICKS:
            on_hang()


class StepTimeoutVectorEnv(GroupedVectorEnv):
    """Vector environments of which every reset and step is watched from a separate thread.

    Args:
        env: its code must let other threads run, as all Python code does, and EnvPool's.
        seconds: for one reset or step, > 0.
        on_hang: called from that thread with what happened, as a sentence; has to end the process.
        first: number of its first environment, if it is part of a larger set.
    """

    def __init__(
        self, env: VectorEnv, seconds: float, on_hang: Callable[[str], None], first: int = 0
    ) -> None:
        super().__init__(env, first)
        name = env.spec.id if env.spec else "the environment"
        said = f"{name} gave no answer within {seconds:g} s"
        self._timeout = CallTimeout(seconds, lambda: on_hang(said))

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: of environment 0; the others' follow.
            options: for the environment.

        Returns:
            Observations and information.
        """
        with self._timeout:
            return super().reset(seed=seed, options=options)

    def receive(self, number: int) -> Step:
        """Wait for a group's step; every step goes through here.

        Args:
            number: of the group.

        Returns:
            As `step`, of its environments.
        """
        with self._timeout:
            return super().receive(number)

    def close(self, **kwargs: Any) -> None:  # noqa: D102
        self._timeout.close()
        super().close(**kwargs)
