"""All that defines learning, apart from the environment: the components' configurations."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import gymnasium as gym
import torch

from trpo.agents.networks.pictures import PictureConfig, picture_of
from trpo.agents.networks.recurrence import RecurrenceConfig
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.observations import leaves
from trpo.agents.policies import PolicyConfig
from trpo.agents.updates.npg import NpgConfig
from trpo.agents.updates.ppo import PpoConfig
from trpo.agents.updates.trpo import TrpoConfig
from trpo.agents.updates.vpg import VpgConfig
from trpo.agents.value_function import ValueConfig
from trpo.validation import ConfigError, require

PICTURE_STRIDE = 8  # Schulman et al. 2015 took a tenth of the states for F
PIXELS = 2**21  # in memory at a time, as floats, and some 20 to 50 times that in convolutions

Device = Literal["cpu", "cuda", "auto"]
Algorithm = Literal["trpo", "npg", "vpg", "ppo"]


@dataclass(frozen=True)
class TrainerConfig:
    """The training loop."""

    total_steps: int = 1_000_000
    """Environment steps to train for; the last update may overshoot."""
    batch_size: int = 2048
    """Steps an update, over all environments; the reset steps between episodes are among them and
    left out of the batch."""
    gamma: float = 0.99
    """Discount γ per step (Schulman et al. 2016)."""
    gae_lambda: float = 0.95
    """λ of generalized advantage estimation (Schulman et al. 2016)."""
    seed: int = 0
    """Every random number of the run follows from it."""
    checkpoint_interval: int = 50
    """Updates from one checkpoint to the next; there, environments start afresh, so that a run can
    be continued exactly."""
    keep_checkpoints: int = 5
    """Checkpoints to keep: this many of the newest, beside the best."""
    max_non_finite: int = 10
    """Updates in a row whose surrogate or gradient is not finite, after which the run stops."""
    max_restarts: int = 0
    """Times that environments may be started afresh when a process of theirs dies or hangs (engine
    gymnasium-async)."""
    device: Device = "cpu"
    """Where networks, batches and updates are: cpu, cuda, or auto for cuda where there is one. In
    rollouts, policies of every kind act on the CPU all the same."""
    microbatch_size: int = 65_536
    """Samples whose graphs are in memory at a time, of pictures fewer, so that together they have
    2²¹ pixels at most; it changes results only by rounding."""
    eval_every: int = 0
    """Environment steps from one evaluation to the next, 0 for none: the deterministic policy plays
    an episode in each of num_envs environments of its own. The best checkpoint is then the best
    by evaluation. Training is the same with it as without."""
    stop_return: float = math.inf
    """Mean return of an evaluation at which training ends; inf for never."""

    def __post_init__(self) -> None:
        require(self, "total_steps", self.total_steps >= 1, "an integer ≥ 1")
        require(self, "batch_size", self.batch_size >= 2, "an integer ≥ 2")
        require(self, "gamma", 0 <= self.gamma <= 1, "a number in [0, 1]")
        require(self, "gae_lambda", 0 <= self.gae_lambda <= 1, "a number in [0, 1]")
        require(self, "seed", self.seed >= 0, "an integer ≥ 0")
        require(self, "checkpoint_interval", self.checkpoint_interval >= 1, "an integer ≥ 1")
        require(self, "keep_checkpoints", self.keep_checkpoints >= 1, "an integer ≥ 1")
        require(self, "max_non_finite", self.max_non_finite >= 1, "an integer ≥ 1")
        require(self, "max_restarts", self.max_restarts >= 0, "an integer ≥ 0")
        require(self, "microbatch_size", self.microbatch_size >= 1, "an integer ≥ 1")
        require(self, "eval_every", self.eval_every >= 0, "an integer ≥ 0")
        judged = self.eval_every > 0 and not math.isnan(self.stop_return)
        require(
            self,
            "stop_return",
            judged or self.stop_return == math.inf,
            "a return, with eval_every ≥ 1: an evaluation's",
        )

    def finished(self, steps: int, evaluation_return: float | None) -> bool:
        """Return whether a run ends here.

        Args:
            steps: environment steps that it has taken.
            evaluation_return: mean return of its last evaluation; `None` before the first.

        Returns:
            Whether it took its `total_steps`, or reached its `stop_return`.
        """
        reached = evaluation_return is not None and evaluation_return >= self.stop_return
        return reached or steps >= self.total_steps

    @property
    def torch_device(self) -> torch.device:
        """The device itself, asked for as training begins: a run's other uses need none.

        Raises:
            ConfigError: if this machine has none such.
        """
        there = torch.cuda.is_available()
        needed = "cpu or auto, as this torch sees no CUDA device"
        require(self, "device", there or self.device != "cuda", needed)
        auto = "cuda" if there else "cpu"
        return torch.device(auto if self.device == "auto" else self.device)


@dataclass(frozen=True)
class LearnerConfig:
    """The learner, component by component."""

    algorithm: Algorithm = "trpo"
    """Update rule: TRPO; the natural gradient without its checks; the plain policy gradient; or
    PPO's clipped surrogate."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    trpo: TrpoConfig = field(default_factory=TrpoConfig)
    npg: NpgConfig = field(default_factory=NpgConfig)
    vpg: VpgConfig = field(default_factory=VpgConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    normalize: NormalizationConfig = field(default_factory=NormalizationConfig)
    pictures: PictureConfig = field(default_factory=PictureConfig)
    recurrence: RecurrenceConfig = field(default_factory=RecurrenceConfig)

    @property
    def max_kl(self) -> float | None:
        """δ in nats as a run begins, if the update rule holds KL under one."""
        return self.trpo.max_kl if self.algorithm == "trpo" else None

    @property
    def limit(self) -> str:
        """The limit on KL in words; "" if there is none."""
        if self.max_kl is None:
            return ""
        last = self.trpo.annealed(1.0).max_kl
        annealed = "" if last == self.max_kl else f" to {last:g}"
        return f"KL(old ‖ new) ≤ {self.max_kl:g}{annealed} nats"


def check_batch_size(batch_size: int, num_envs: int) -> None:
    """Refuse a batch that environments cannot fill with as many steps each.

    Args:
        batch_size: steps an update.
        num_envs: N.

    Raises:
        ConfigError: with the batch sizes nearest to it that would do.
    """
    if batch_size % num_envs:
        below = batch_size // num_envs * num_envs
        near = " and ".join(str(size) for size in (below, below + num_envs) if size)
        multiple = f"a multiple of num_envs = {num_envs}: the nearest are {near}"
        raise ConfigError(f"batch_size = {batch_size} is not {multiple}")


def with_bounded_memory(config: LearnerConfig, space: gym.Space) -> LearnerConfig:
    """Return a configuration whose microbatches of pictures fit into memory.

    Args:
        config: the learner's.
        space: of one observation.

    Returns:
        The same, with microbatches as they were or smaller.
    """
    found = [picture_of(leaf, config.pictures) for leaf in leaves(space)]
    pixels = sum(math.prod(picture.shape) for picture in found if picture)
    if not pixels:
        return config
    most = max(1, PIXELS // pixels)
    trainer = config.trainer
    smaller = replace(trainer, microbatch_size=min(most, trainer.microbatch_size))
    return replace(config, trainer=smaller)


def with_picture_defaults(config: LearnerConfig, space: gym.Space) -> LearnerConfig:
    """Return a configuration with the defaults of what nature or impala reads.

    Args:
        config: the learner's.
        space: of one observation.

    Returns:
        The same but for what nothing else was asked of, if there are such pictures and no memory: F
        over fewer states, V's fit by Adam, and outputs linear in the features.
    """
    pictures = [picture_of(leaf, config.pictures) for leaf in leaves(space)]
    deep = any(picture.has_deep_encoder for picture in pictures if picture)
    if not deep or config.recurrence.recurrent != "none":
        return config
    trpo, policy, value = config.trpo, config.policy, config.value
    if trpo.fisher_stride == 0:
        trpo = replace(trpo, fisher_stride=PICTURE_STRIDE)
    if policy.hidden is None:
        policy = replace(policy, hidden=())
    if value.hidden is None:
        value = replace(value, hidden=())
    if value.fit == "auto":
        value = replace(value, fit="adam")
    return replace(config, trpo=trpo, policy=policy, value=value)


def with_recurrence(config: LearnerConfig) -> LearnerConfig:
    """Return a configuration in which what learns can unroll episodes, if there is a memory.

    Args:
        config: the learner's.

    Returns:
        The same; with a memory, F is the batch's alone.

    Raises:
        ConfigError: with what does not go together with a memory.
    """
    recurrent = config.recurrence.recurrent
    if recurrent == "none":
        return config
    # the policy's memory, read by V, comes to its fit as rows of features
    fits_rows = config.value.trunk == "policy"
    stride = max(config.trpo.fisher_stride, 1 if fits_rows else config.value.fisher_stride)
    for fits, name, expected in (
        (config.algorithm != "ppo", "algorithm ppo", "trpo, npg or vpg"),
        (fits_rows or config.value.fit != "adam", "value.fit adam", "gauss-newton"),
        (stride == 1, f"fisher_stride {stride}", "1"),
    ):
        if not fits:
            raise ConfigError(f"recurrent = {recurrent!r} with {name}: expected {expected}")
    return replace(config, trpo=replace(config.trpo, memory=0))
