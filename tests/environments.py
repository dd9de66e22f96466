"""Environments of the tests' own, each with one property that the registered ones lack."""

import copy
import ctypes
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np


class RandomEnvironment(gym.Env):
    """Random observations, a fixed reward; ends by termination and truncation in turn."""

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        length: int = 7,
        reward: float = 1.0,
    ) -> None:
        self.observation_space = copy.deepcopy(observation_space)  # it is drawn from
        self.action_space = action_space
        self.length = length
        self.reward = reward
        self.actions: list[Any] = []
        self.episode = 0

    def _observation(self) -> Any:
        return self.observation_space.sample()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        self.episode += 1
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.actions.append(action)
        self.t += 1
        ended = self.t >= self.length
        return (
            self._observation(),
            self.reward,
            ended and self.episode % 2 == 0,
            ended and self.episode % 2 == 1,
            {},
        )


class Controls(RandomEnvironment):
    """Shows a gear, a thrust and two lamps; rewards the action that has them: 1 a step at best."""

    def __init__(self) -> None:
        wanted = gym.spaces.Dict({
            "gear": gym.spaces.Discrete(3),
            "lamps": gym.spaces.MultiBinary(2),
            "thrust": gym.spaces.Box(-1.0, 1.0, (1,)),
        })
        action = gym.spaces.Dict({
            "gear": gym.spaces.Discrete(3, start=1),
            "hands": gym.spaces.Tuple((
                gym.spaces.Box(0.0, 10.0, (1,)),
                gym.spaces.MultiBinary(2),
            )),
        })
        super().__init__(wanted, action, length=10)

    def _observation(self) -> Any:
        self.wanted = super()._observation()
        return self.wanted

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        wanted, (thrust, lamps) = self.wanted, action["hands"]
        miss = abs(thrust[0] / 5 - 1 - wanted["thrust"][0])
        right = float(action["gear"] - 1 == wanted["gear"]) + np.mean(lamps == wanted["lamps"])
        observation, _, *rest = super().step(action)
        return observation, float(right + 1 - miss) / 3, *rest


class Gates(RandomEnvironment):
    """Two gates of 20 are open, others end the episode; a point for the upper, or the lower one.

    Shows which of the two, and not which are open: `said` says where that is to be read.
    """

    def __init__(self, said: str = "info", shut_after: int = 10**9) -> None:
        super().__init__(gym.spaces.Discrete(2), gym.spaces.Discrete(20), length=20)
        self.shut_after = shut_after
        self.said = said
        if said == "method":
            self.action_masks = lambda: self.mask
        if said == "observation":
            parts = {"bit": self.observation_space, "action_mask": gym.spaces.MultiBinary(20)}
            self.observation_space = gym.spaces.Dict(parts)

    def _observation(self) -> Any:
        self.bit = int(self.np_random.integers(2))
        self.open = np.sort(self.np_random.choice(20, 2, replace=False))
        self.mask = np.zeros(20, np.int8)
        self.mask[self.open if self.t < self.shut_after else []] = 1
        nested = {"bit": self.bit, "action_mask": self.mask}
        return nested if self.said == "observation" else self.bit

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(**options)
        return observation, info | ({"action_mask": self.mask} if self.said == "info" else {})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward, is_open = float(action == self.open[self.bit]), bool(action in self.open)
        observation, _, terminated, truncated, info = super().step(action)
        info |= {"action_mask": self.mask} if self.said == "info" else {}
        return observation, reward, terminated or not is_open, truncated, info


class Cue(RandomEnvironment):
    """Shows a sign at first, and rewards its recall three steps later: by chance, half the time."""

    def __init__(self) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (1,)), gym.spaces.Discrete(2), length=4)

    def _observation(self) -> Any:
        if self.t == 0:
            self.cue = int(self.np_random.integers(2))
        return np.array([2 * self.cue - 1 if self.t == 0 else 0], np.float32)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, *rest = super().step(action)
        return observation, float(self.t == self.length and action == self.cue), *rest


class NotFinite(RandomEnvironment):
    """Turns to NaN, or to infinity, in its third episode."""

    def __init__(self, what: str = "observation", value: float = np.nan) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))
        self.what, self.value = what, value

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, *rest = super().step(action)
        if self.episode >= 3:
            bad = self.value
            observation, reward = (
                (observation * bad, reward) if self.what == "observation" else (observation, bad)
            )
        return observation, reward, *rest


class Failing(RandomEnvironment):
    """Raises, exits, hangs, or changes its observation's shape, in its third episode."""

    def __init__(self, what: str) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))
        self.what = what

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, *rest = super().step(action)
        if self.episode >= 3 and self.what == "die":
            os._exit(1)
        if self.episode >= 3 and self.what == "hang":
            time.sleep(1000)
        if self.episode >= 3 and self.what == "stick":
            deadlock()
        if self.episode >= 3 and self.what == "raise":
            raise RuntimeError("the simulator is\nunstable")
        return np.zeros(3, np.float32) if self.episode >= 3 else observation, *rest


def deadlock() -> None:
    """Wait for ever in C, where no signal gets through; other threads run on, as in EnvPool."""
    mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


class Mortal(RandomEnvironment):
    """Ends its process, or hangs, at one step in `lifetime`, chosen by its seed."""

    def __init__(self, what: str, lifetime: int) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))
        self.what, self.lifetime = what, lifetime

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.np_random.integers(self.lifetime) == 0:
            os._exit(1) if self.what == "die" else time.sleep(1000)
        return super().step(action)


class Unmakeable(gym.Env):
    """Cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no display\nDISPLAY is not set")


class HangingReset(RandomEnvironment):
    """Hangs when it is reset."""

    def __init__(self) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        time.sleep(1000)
        return super().reset(seed=seed)


class BrokenReset(RandomEnvironment):
    """Raises when it is reset."""

    def __init__(self) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        raise RuntimeError("no licence")


class Growing(RandomEnvironment):
    """Has one more number in its observation with every 8 environments that are made."""

    made = 0

    def __init__(self) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2 + Growing.made // 8,)), gym.spaces.Discrete(2))
        Growing.made += 1


class Exits(RandomEnvironment):
    """Ends as a script does, in its third episode, or when it is made."""

    def __init__(self, when: str = "step") -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))
        if when == "made":
            sys.exit(0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.episode >= 3:
            sys.exit(0)
        return super().step(action)


class Unspeakable(RandomEnvironment):
    """Raises an exception that cannot say what it is."""

    def __init__(self) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        class MuteError(Exception):
            def __str__(self) -> str:
                raise ValueError("no words")

        raise MuteError


class NeverCloses(RandomEnvironment):
    """Raises when it is closed."""

    def __init__(self) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))

    def close(self) -> None:
        raise RuntimeError("the window is gone")


class DiesYoung(gym.Env):
    """Ends its process when it is made in one of its own."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (2,))
        self.action_space = gym.spaces.Discrete(2)
        if multiprocessing.parent_process() is not None:
            os._exit(1)


class SharedGenerators(RandomEnvironment):
    """Draws from what its process shares, and from its action space."""

    def __init__(self) -> None:
        super().__init__(gym.spaces.Box(-10, 10, (3,)), gym.spaces.Discrete(20))

    def _observation(self) -> Any:
        legacy = np.random.random()  # noqa: NPY002 which is the point
        drawn = random.random(), legacy, self.action_space.sample() / 20
        return np.array(drawn, np.float32)


class Spiking(RandomEnvironment):
    """Rewards one step with a number that is finite, and whose square, or sum, is not."""

    def __init__(self, spike: float) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))
        self.spike = spike

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, *rest = super().step(action)
        return observation, self.spike if self.episode == 4 else reward, *rest


class Constant(RandomEnvironment):
    """Always shows the same observation."""

    def _observation(self) -> Any:
        return np.ones(self.observation_space.shape, np.float32)


BOX = gym.spaces.Box(-1.0, 1.0, (3,))
SPACES = {
    "dict": (
        gym.spaces.Dict({"a": BOX, "b": gym.spaces.Discrete(4)}),
        gym.spaces.Discrete(3, start=5),
    ),
    "tuple": (gym.spaces.Tuple((BOX, gym.spaces.MultiBinary(2))), gym.spaces.MultiDiscrete([2, 5])),
    "discrete": (gym.spaces.Discrete(6), gym.spaces.MultiBinary(4)),
    "multidiscrete": (gym.spaces.MultiDiscrete([3, 2]), gym.spaces.Box(-0.1, 0.1, (2, 2))),
    "matrix": (
        gym.spaces.Box(-1.0, 1.0, (2, 3)),
        gym.spaces.Box(np.float32(-0.5), np.float32(2.0), (1,)),
    ),
}


class OldGym(gym.Env):
    """Has the interface that Gym had before Gymnasium, in part or in whole.

    Args:
        part: "seed", "reset" or "step".
    """

    observation_space = BOX
    action_space = gym.spaces.Discrete(2)

    def __init__(self, part: str) -> None:
        self.part = part
        if part == "seed":
            self.reset = lambda: np.zeros(BOX.shape, np.float32)  # type: ignore[method-assign]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation = np.zeros(BOX.shape, np.float32)
        return observation if self.part == "reset" else (observation, {})

    def step(self, action: Any) -> Any:
        return np.zeros(BOX.shape, np.float32), 1.0, False, {}


class OtherShape(RandomEnvironment):
    """Its observations have five numbers, its space three."""

    def __init__(self) -> None:
        super().__init__(BOX, gym.spaces.Discrete(2))

    def _observation(self) -> Any:
        return np.zeros(5, np.float32)


class Undrawn(RandomEnvironment):
    """Takes a render_mode, and keeps none.

    Args:
        render_mode: not used.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(BOX, gym.spaces.Discrete(2))


class KilledOnce(RandomEnvironment):
    """Its process is killed once a run in the working directory has a checkpoint."""

    def __init__(self) -> None:
        super().__init__(BOX, gym.spaces.Discrete(2))

    def step(self, action: Any) -> Any:
        killed = Path("killed")
        if not killed.exists() and list(Path().glob("*/*/checkpoints/update-*")):
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class NeedsArguments(RandomEnvironment):
    """Cannot be made without its size and its path."""

    def __init__(self, size: int, path: str) -> None:
        super().__init__(gym.spaces.Box(-1, 1, (size,)), gym.spaces.Discrete(2))


def register() -> None:
    """Make the environments known to Gymnasium; called when the module is imported."""
    camera = gym.spaces.Dict({
        "camera": gym.spaces.Box(0, 255, (8, 8, 3), np.uint8),
        "speed": gym.spaces.Box(-1, 1, (2,)),
    })
    gym.register("TestCamera-v0", lambda: RandomEnvironment(camera, gym.spaces.Discrete(3)))
    for name, (observations, actions) in SPACES.items():
        gym.register(
            f"Test{name.capitalize()}-v0", lambda o=observations, a=actions: RandomEnvironment(o, a)
        )
    gym.register(
        "TestImage-v0",
        lambda: RandomEnvironment(
            gym.spaces.Box(0, 255, (8, 8, 3), np.uint8), gym.spaces.Discrete(2)
        ),
    )
    gym.register(
        "TestText-v0", lambda: RandomEnvironment(gym.spaces.Text(3), gym.spaces.Discrete(2))
    )
    gym.register("TestTextAction-v0", lambda: RandomEnvironment(BOX, gym.spaces.Text(3)))
    graph = gym.spaces.Graph(BOX, None)
    gym.register("TestGraph-v0", lambda: RandomEnvironment(graph, gym.spaces.Discrete(2)))
    nothing = gym.spaces.Dict()
    gym.register("TestBlind-v0", lambda: RandomEnvironment(nothing, gym.spaces.Discrete(2)))
    no_number = gym.spaces.Box(-1, 1, (0,))
    gym.register("TestIdle-v0", lambda: RandomEnvironment(BOX, no_number))
    gym.register(
        "TestEndless-v0", lambda: RandomEnvironment(BOX, gym.spaces.Discrete(2), length=10**9)
    )
    gym.register(
        "TestWorthless-v0", lambda: RandomEnvironment(BOX, gym.spaces.Discrete(2), reward=0.0)
    )
    gym.register("TestOneStep-v0", lambda: RandomEnvironment(BOX, gym.spaces.Discrete(2), length=1))
    gym.register(
        "TestRowReward-v0",
        lambda: RandomEnvironment(BOX, gym.spaces.Discrete(2), reward=np.array([1.0])),
    )
    gym.register("TestRich-v0", lambda: RandomEnvironment(BOX, gym.spaces.Discrete(2), reward=1e8))
    gym.register(
        "TestRicher-v0", lambda: RandomEnvironment(BOX, gym.spaces.Discrete(2), reward=1e300)
    )
    gym.register("TestControls-v0", Controls)
    gym.register("TestCue-v0", Cue)
    for said in ("info", "method", "observation"):
        gym.register(f"TestGates{said.capitalize()}-v0", lambda said=said: Gates(said))
    gym.register("TestShut-v0", lambda: Gates("method", shut_after=5))
    gym.register("TestConstant-v0", lambda: Constant(BOX, gym.spaces.Box(-1.0, 1.0, (2,))))
    gym.register("TestRaises-v0", lambda: Failing("raise"))
    gym.register("TestDies-v0", lambda: Failing("die"))
    gym.register("TestHangs-v0", lambda: Failing("hang"))
    gym.register("TestSticks-v0", lambda: Failing("stick"))
    gym.register("TestHangingReset-v0", HangingReset)
    gym.register("TestMortal-v0", lambda: Mortal("die", 600))
    gym.register("TestFalters-v0", lambda: Mortal("hang", 3000))
    gym.register("TestUnmakeable-v0", Unmakeable)
    gym.register("TestShape-v0", lambda: Failing("shape"))
    gym.register("TestGrowing-v0", Growing)
    gym.register("TestBrokenReset-v0", BrokenReset)
    gym.register("TestNan-v0", NotFinite)
    for part in ("seed", "reset", "step"):
        gym.register(f"TestOldGym{part}-v0", lambda part=part: OldGym(part))
    gym.register("TestOtherShape-v0", OtherShape)
    gym.register("TestUndrawn-v0", Undrawn)
    gym.register("TestKilledOnce-v0", KilledOnce)
    gym.register("TestNeedsArguments-v0", NeedsArguments)
    gym.register("TestExits-v0", Exits)
    gym.register("TestExitsMade-v0", lambda: Exits("made"))
    gym.register("TestUnspeakable-v0", Unspeakable)
    gym.register("TestNeverCloses-v0", NeverCloses)
    gym.register("TestDiesYoung-v0", DiesYoung)
    gym.register("TestSharedGenerators-v0", SharedGenerators)
    gym.register("TestSpike-v0", lambda: Spiking(3e38))
    gym.register("TestLowerSpike-v0", lambda: Spiking(1e30))
    gym.register("TestNanReward-v0", lambda: NotFinite("reward"))
    gym.register("TestInfinite-v0", lambda: NotFinite("observation", np.inf))
    gym.register("TestInfiniteReward-v0", lambda: NotFinite("reward", -np.inf))


register()
