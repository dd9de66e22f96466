"""The learners of `trpo benchmark learning`: this project's, and sb3-contrib's."""

import contextlib
import io
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trpo.agents.runs import Run
from trpo.agents.trainer import TrainingError
from trpo.scripts.cli.command import UsageError
from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.evaluate import EvaluateOptions, evaluate_run
from trpo.scripts.train import train

EPISODES = 100  # episodes averaged for a training return


@dataclass(frozen=True)
class Outcome:
    """One training run, and its final policy's returns.

    Args:
        steps: (U,), environment steps after each update.
        seconds: (U,), wall time since training began.
        returns: (U,), mean raw return of the last 100 episodes; NaN before the first one.
        update_returns: (U,), of the episodes that ended in the update; NaN if none did.
        deterministic: (E,), returns of the final policy's deterministic actions.
        stochastic: (E,), returns of its sampled actions.
        kl: (U,), mean KL(old ‖ new) of each update, nats; empty if not measured.
        max_kl: (U,), δ of each update, nats; NaN, or empty, if there is none.
        put_back: number of rejected updates.
    """

    steps: np.ndarray
    seconds: np.ndarray
    returns: np.ndarray
    update_returns: np.ndarray
    deterministic: np.ndarray
    stochastic: np.ndarray
    kl: np.ndarray
    max_kl: np.ndarray
    put_back: int

    def row(self) -> dict[str, Any]:
        """Return its row of results.csv."""
        known = self.returns[np.isfinite(self.returns)]
        limited = not np.isnan(self.max_kl).all()
        late = self.update_returns[self.steps > self.steps[-1] / 2]
        return {
            "steps": int(self.steps[-1]),
            "deterministic_return": self.deterministic.mean(),
            "deterministic_std": self.deterministic.std(),
            "stochastic_return": self.stochastic.mean(),
            "first_return_100": known[0],
            "best_return_100": known.max(),
            "training_return_100": known[-1],
            "fall": known.max() - known[-1],
            "worst_after_half": np.nanmin(late),
            "updates": len(self.steps),
            "updates_within_limit": int((self.kl <= self.max_kl).sum()) if limited else "",
            "largest_kl": self.kl.max() if self.kl.size else "",
            "max_kl": self.max_kl.max() if limited else "",
            "updates_put_back": self.put_back,
            "seconds": round(float(self.seconds[-1]), 1),
        }


def learn(words: Sequence[str], episodes: int) -> Outcome:
    """Train as `trpo train` does, and evaluate the final policy.

    Args:
        words: after `trpo train`.
        episodes: to evaluate for.

    Returns:
        What came of it.

    Raises:
        TrainingError: if a signal ended it early.
    """
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        folder, exit_code = train(parse_train_options(list(words)))
    if exit_code:
        raise TrainingError(f"run {folder} was ended by signal {exit_code - 128}")
    return outcome_of(folder, episodes, time.perf_counter() - start)


def outcome_of(folder: Path, episodes: int, elapsed: float) -> Outcome:
    """Evaluate a run's last policy, and return the run's outcome.

    Args:
        folder: of the run.
        episodes: to evaluate for.
        elapsed: seconds that it took.

    Returns:
        The same as `learn`.
    """
    metrics = Run.open(folder).metrics()
    seconds = np.cumsum(metrics["time/seconds"])
    deterministic, stochastic = (
        np.array([
            episode.undiscounted_return
            for episode in evaluate_run(
                EvaluateOptions(folder, episodes, stochastic=sampled, trust=True, threads=1)
            )[1]
        ])
        for sampled in (False, True)
    )
    return Outcome(
        steps=metrics["steps"],
        seconds=seconds * elapsed / seconds[-1],  # including what an update's own time excludes
        returns=metrics["episode/return_100"],
        update_returns=metrics["episode/return"],
        deterministic=deterministic,
        stochastic=stochastic,
        kl=metrics["update/mean_kl"],
        max_kl=metrics["trust_region/max_kl"],
        put_back=int((metrics["update/accepted"] == 0).sum()),
    )


MUJOCO: dict[str, Any] = {
    "batch_size": 128,
    "n_steps": 1024,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "sub_sampling_factor": 1,
    "cg_max_steps": 25,
    "cg_damping": 0.1,
    "n_critic_updates": 20,
    "learning_rate": 1e-3,
}
ZOO: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "n_steps": 512,
        "batch_size": 512,
        "cg_damping": 1e-3,
        "gae_lambda": 0.98,
        "learning_rate": 1e-3,
        "n_critic_updates": 20,
        "normalize": False,
    },
    "Pendulum-v1": {
        "n_steps": 1024,
        "gamma": 0.9,
        "n_critic_updates": 15,
        "use_sde": True,
        "sde_sample_freq": 4,
        "normalize": False,
    },
    "LunarLander-v3": {
        "n_steps": 512,
        "cg_damping": 0.01,
        "gae_lambda": 0.98,
        "learning_rate": 1e-3,
        "n_critic_updates": 15,
        "normalize": False,
    },
    "LunarLanderContinuous-v3": {"n_steps": 1024, "n_critic_updates": 20},
    "Acrobot-v1": {"n_steps": 1024},
    "MountainCar-v0": {"n_steps": 1024, "n_critic_updates": 20},
    "MountainCarContinuous-v0": {"use_sde": True, "sde_sample_freq": 4},
    "HalfCheetah-v5": MUJOCO | {"target_kl": 0.04},
    "Swimmer-v5": MUJOCO | {"gamma": 0.9999},
}
"""sb3-contrib's TRPO as RL Baselines3 Zoo tunes it (hyperparams/trpo.yml at 22e3ff2), by task, on
two environments, normalised unless said; every other task has its MuJoCo settings."""


def zoo_settings(env: str) -> dict[str, Any]:
    """Return the Zoo's settings of TRPO for a task, those of its MuJoCo tasks if it has none.

    Args:
        env: the environment.
    """
    return ZOO.get(env, MUJOCO)


def learn_sb3(env: str, seed: int, steps: int, episodes: int) -> Outcome:
    """Train sb3-contrib's TRPO with the Zoo's settings, and evaluate its final policy.

    Args:
        env: the environment.
        seed: of everything.
        steps: environment steps.
        episodes: to evaluate for.

    Returns:
        What came of it; its KL is not measured.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        from sb3_contrib import TRPO
        from stable_baselines3.common.callbacks import BaseCallback
        from stable_baselines3.common.env_util import make_vec_env
        from stable_baselines3.common.evaluation import evaluate_policy
        from stable_baselines3.common.vec_env import VecEnv, VecNormalize
    except ImportError as error:
        raise UsageError("peer = 'sb3' is not installed: run pip install -e '.[peers]'") from error

    class Curve(BaseCallback):
        """Keeps the training return at the end of each rollout."""

        def __init__(self) -> None:
            super().__init__()
            self.points: list[tuple[float, float, float, float]] = []
            self.last: deque[float] = deque(maxlen=EPISODES)
            self.ended: list[float] = []
            self.start = time.perf_counter()

        def _on_step(self) -> bool:
            ended = [i["episode"]["r"] for i in self.locals["infos"] if "episode" in i]
            self.ended += ended
            self.last.extend(ended)
            return True

        def _on_rollout_end(self) -> None:
            seconds = time.perf_counter() - self.start
            last, ended = (float(np.mean(r)) if r else math.nan for r in (self.last, self.ended))
            self.points.append((self.num_timesteps, seconds, last, ended))
            self.ended = []

    settings = dict(zoo_settings(env))
    normalize = settings.pop("normalize", True)
    envs: VecEnv = make_vec_env(env, 2, seed=seed)
    held_out: VecEnv = make_vec_env(env, 2, seed=seed + 1_000_000)
    if normalize:
        envs = VecNormalize(envs, gamma=settings.get("gamma", 0.99))
        held_out = VecNormalize(held_out, training=False, norm_reward=False)
        held_out.obs_rms = envs.obs_rms  # one object: what training sees last is what is judged
    model, curve = TRPO("MlpPolicy", envs, seed=seed, device="cpu", **settings), Curve()
    model.learn(steps, callback=curve)
    deterministic, stochastic = (
        np.array(
            evaluate_policy(
                model, held_out, episodes, deterministic=mode, return_episode_rewards=True
            )[0]
        )
        for mode in (True, False)
    )
    taken, seconds, returns, update_returns = np.array(curve.points).T
    return Outcome(
        taken,
        seconds,
        returns,
        update_returns,
        deterministic,
        stochastic,
        kl=np.array([]),
        max_kl=np.array([]),
        put_back=0,
    )


def train_words(env: str, seed: int, more: Sequence[str], runs: Path) -> list[str]:
    """Return the words after `trpo train` of one run of the benchmark, on one thread.

    Args:
        env: the environment.
        seed: of the run.
        more: options for every run.
        runs: folder of all runs.
    """
    return [env, "--seed", str(seed), "--threads", "1", "--runs", str(runs), *more]
