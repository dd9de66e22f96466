"""`trpo benchmark speed`: training, the bare environment and a peer, interleaved against drift."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from trpo.agents.runs.telemetry import Telemetry
from trpo.agents.storage.files import replace_file
from trpo.agents.trainer import Trainer
from trpo.envs.envpool_engine import EnvPoolVectorEnv
from trpo.envs.grouped import GroupedVectorEnv
from trpo.scripts.cli.command import EnvIds, UsageError, parse
from trpo.scripts.cli.figures import image_of
from trpo.scripts.cli.options import TrainOptions, parse_train_options
from trpo.scripts.cli.options_record import write_options
from trpo.scripts.cli.tables import print_rows, write_provenance, write_rows
from trpo.validation import require

Contender = Callable[[], float]
SHARES = ("environment", "inference", "advantages", "policy", "value", "statistics", "logging")


@dataclass(frozen=True)
class SpeedOptions:
    """Measure steps per second of training, of the bare environment, and of a peer (medians)."""

    envs: EnvIds = ("CartPole-v1", "HalfCheetah-v5", "Hopper-v5")
    """Environments."""
    rounds: int = 5
    """Number of rounds; each contender runs once per round."""
    updates: int = 8
    """Training updates per round (a quarter as many for the slower peer)."""
    peer: Literal["none", "sb3"] = "none"
    """sb3: sb3-contrib's TRPO with its defaults, and with our batch size, CG iterations and
    networks on 1, 8 and as many environments as ours."""
    threads: int = 0
    """CPU threads of each contender; 0: one per core."""
    out: Path = Path("runs/speed")
    """Folder for results.csv and speed.png."""

    def __post_init__(self) -> None:
        require(self, "rounds", self.rounds >= 1, "an integer ≥ 1")
        require(self, "updates", self.updates >= 1, "an integer ≥ 1")
        require(self, "threads", self.threads >= 0, "an integer ≥ 0")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write results.csv and speed.png.

    Args:
        arguments: the words after `trpo benchmark speed`.

    Returns:
        0.
    """
    options = parse(SpeedOptions, arguments, "benchmark speed")
    options.out.mkdir(parents=True, exist_ok=True)
    runs = {env: [env, "--threads", str(options.threads)] for env in options.envs}
    rows = [row for words in runs.values() for row in measure(parse_train_options(words), options)]
    write_rows(options.out / "results.csv", rows)
    write_options(options.out, runs)
    write_provenance(options.out / "provenance.json")
    print_rows(summarize(rows))
    draw(rows, options.out / "speed.png")
    return 0


def measure(run: TrainOptions, options: SpeedOptions) -> list[dict[str, Any]]:
    """Time training on an environment and its contenders, in turn.

    Args:
        run: training.
        options: of the command.

    Returns:
        Rows of results.csv.
    """
    rows: list[dict[str, Any]] = []
    with contextlib.closing(Training(run, options.updates)) as training:
        contenders: dict[str, Contender] = {
            "environment alone": environment_alone(run.make_env(seed=0)),
            "training": training,
            **_rivals(run, training, options),
        }
        for contender in contenders.values():
            contender()  # a warm-up round
        training.shares.clear()
        for number in range(options.rounds):
            for name, contender in contenders.items():
                rate = contender()
                rows.append({
                    "environment": run.env,
                    "contender": name,
                    "round": number,
                    "steps_per_second": rate,
                })
                print(
                    f"{run.env}  round {number + 1}/{options.rounds}  {name}: {rate:,.0f} steps/s",
                    flush=True,
                )
    shares = dict(zip(SHARES, np.mean(training.shares, axis=0).tolist(), strict=True))
    print("  ".join(f"{name} {share:.1%}" for name, share in shares.items()) + "\n")
    return rows + [
        {
            "environment": run.env,
            "contender": f"share of training: {name}",
            "round": "all",
            "steps_per_second": share,
        }
        for name, share in shares.items()
    ]


def _rivals(run: TrainOptions, training: "Training", options: SpeedOptions) -> dict[str, Contender]:
    rivals: dict[str, Contender] = {}
    if len(training.trainer.environments.collector.env.groups) > 1:
        whole = GroupedVectorEnv(
            EnvPoolVectorEnv(run.env, run.environment.num_envs, seed=0, threads=run.cpu_threads)
        )
        rivals["environment alone, undivided"] = environment_alone(whole)
    if options.peer == "sb3":
        rivals |= sb3(run, max(1, options.updates // 4))
    return rivals


def environment_alone(env: GroupedVectorEnv, steps: int = 1000) -> Contender:
    """Return the lower bound: the same environments, stepped with actions drawn beforehand.

    Args:
        env: as training makes it.
        steps: vector steps per round.

    Returns:
        A contender.
    """
    env.reset(seed=0)
    size = env.num_envs
    actions = [np.stack([env.single_action_space.sample() for _ in range(size)]) for _ in range(64)]

    def contender() -> float:
        start = time.perf_counter()
        for t in range(steps + 1):
            for number, group in enumerate(env.groups):
                if t > 0:
                    env.receive(number)
                if t < steps:
                    env.send(number, actions[t % len(actions)][group])
        return steps * size / (time.perf_counter() - start)

    return contender


class Training:
    """The whole loop, logging included, in rounds.

    Args:
        run: everything that defines the run.
        updates: length of a round.
    """

    def __init__(self, run: TrainOptions, updates: int) -> None:
        self.updates = updates
        endless = replace(run.learner, trainer=replace(run.learner.trainer, total_steps=10**15))
        self.trainer = Trainer(run.make_env, endless, run.cpu_threads)
        self.records = self.trainer.updates()
        self.folder = tempfile.TemporaryDirectory()
        self.telemetry = Telemetry(Path(self.folder.name), run.config(None, None))
        self.shares: list[list[float]] = []

    def __call__(self) -> float:
        """Return the environment steps per second of one round."""
        start, steps_before = time.perf_counter(), self.trainer.steps
        for _ in range(self.updates):
            record = next(self.records)
            before = time.perf_counter()
            self.telemetry.write(record)
            logging = time.perf_counter() - before
            seconds = [
                record.metrics[f"time/{name}"] * record.metrics["time/seconds"]
                for name in SHARES[:-1]
            ] + [logging]
            self.shares.append([part / sum(seconds) for part in seconds])
        return (self.trainer.steps - steps_before) / (time.perf_counter() - start)

    def close(self) -> None:
        """Close everything, and delete temporary files."""
        self.telemetry.close()
        self.trainer.close()
        self.folder.cleanup()


def sb3(run: TrainOptions, updates: int) -> dict[str, Contender]:
    """Return sb3-contrib's TRPO as contenders, each with torch's own threads.

    Args:
        run: defines environment, threads, and number of environments.
        updates: updates per round.

    Returns:
        Contenders by name.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        from sb3_contrib import TRPO
        from stable_baselines3.common.env_util import make_vec_env
    except ImportError as error:
        raise UsageError("peer = 'sb3' is not installed: run pip install -e '.[peers]'") from error

    def contender(envs: int, **settings: Any) -> Contender:
        model = TRPO(
            "MlpPolicy", make_vec_env(run.env, envs), n_steps=2048 // envs, device="cpu", **settings
        )

        def round_() -> float:
            torch.set_num_threads(run.cpu_threads)
            start, before = time.perf_counter(), model.num_timesteps
            with contextlib.redirect_stdout(io.StringIO()):
                model.learn(updates * 2048, reset_num_timesteps=False)
            rate = (model.num_timesteps - before) / (time.perf_counter() - start)
            torch.set_num_threads(1)  # as training has it
            return rate

        return round_

    same: dict[str, Any] = {
        "cg_max_steps": 10,
        "cg_damping": 0.1,
        "target_kl": 0.02,
        "n_critic_updates": 10,
        "batch_size": 256,
    }
    return {
        "sb3-contrib, defaults": contender(1),
        "sb3-contrib, 1 environment": contender(1, **same),
        "sb3-contrib, 8 environments": contender(8, **same),
        f"sb3-contrib, {run.environment.num_envs} environments": contender(
            run.environment.num_envs, **same
        ),
    }


def summarize(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return a row for each environment and contender: its median rate, and training's ratio to it.

    Args:
        rows: of results.csv.

    Returns:
        Rows to print.
    """
    summary = []
    for env, contender in dict.fromkeys((row["environment"], row["contender"]) for row in rows):
        rates = _rates(rows, env, contender)
        if contender.startswith("share"):
            continue
        ratios = _rates(rows, env, "training") / rates
        low, high = ratios.min(), ratios.max()
        summary.append({
            "environment": env,
            "contender": contender,
            "steps/s": f"{np.median(rates):,.0f}",
            "training ÷ this": f"{np.median(ratios):.2f} ({low:.2f} to {high:.2f})",
        })
    return summary


def _rates(rows: Sequence[dict[str, Any]], env: str, contender: str) -> np.ndarray:
    return np.array([
        float(r["steps_per_second"])
        for r in rows
        if (r["environment"], r["contender"]) == (env, contender)
    ])


def draw(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Draw each environment's rates as bars.

    Args:
        rows: of results.csv.
        out: the file to write.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    envs = list(dict.fromkeys(row["environment"] for row in rows))
    figure, panels = plt.subplots(
        len(envs), 1, figsize=(7.5, 2.3 * len(envs)), layout="constrained", squeeze=False
    )
    for axes, env in zip(panels[:, 0], envs, strict=True):
        names = [
            c
            for c in dict.fromkeys(r["contender"] for r in rows if r["environment"] == env)
            if not c.startswith("share")
        ]
        rates = [np.median(_rates(rows, env, name)) for name in names]
        colors = [
            "0.75" if "alone" in name else "tab:blue" if name == "training" else "tab:orange"
            for name in names
        ]
        bars = axes.barh(names, rates, color=colors)
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize="small")
        axes.set(title=env, xlim=(0, 1.15 * max(rates)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("environment steps per second")
    replace_file(out, image_of(figure, "png"))
