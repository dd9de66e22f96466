"""Everything that defines learning, apart from the environment: the components' configurations."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import gymnasium as gym
import torch

from trpo.agents.networks.images import ImageConfig, image_in
from trpo.agents.networks.recurrence import RecurrenceConfig
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.observations import leaves
from trpo.agents.policies import PolicyConfig
from trpo.agents.updates.npg import NpgConfig
from trpo.agents.updates.ppo import PpoConfig
from trpo.agents.updates.trpo import TrpoConfig
from trpo.agents.updates.vpg import VpgConfig
from trpo.agents.value_function import ValueConfig
from trpo.validation import ConfigError, require, require_numbers

IMAGE_STRIDE = 8  # Schulman et al. 2015 took a tenth of the states for F
PIXELS = 2**21  # per microbatch, as floats; convolutions hold some 20 to 50 times as many

Device = Literal["cpu", "cuda", "auto"]
Algorithm = Literal["trpo", "npg", "vpg", "ppo"]


@dataclass(frozen=True)
class TrainerConfig:
    """The training loop."""

    total_steps: int = 1_000_000
    """Environment steps to train for; the last update may overshoot."""
    batch_size: int = 2048
    """Environment steps per update, summed over environments. Autoreset's reset steps count towards
    it but are left out of the batch."""
    gamma: float = 0.99
    """Discount γ per step (Schulman et al. 2016)."""
    gae_lambda: float = 0.95
    """λ of generalized advantage estimation (Schulman et al. 2016)."""
    seed: int = 0
    """Seed from which all of the run's randomness is derived."""
    checkpoint_interval: int = 50
    """Updates between checkpoints. All environments are re-created at each one, so that a resumed
    run equals an uninterrupted one."""
    keep_checkpoints: int = 5
    """Number of newest checkpoints to keep, besides the best."""
    max_non_finite: int = 10
    """Consecutive updates with a non-finite surrogate or gradient after which the run stops."""
    max_restarts: int = 0
    """Number of times that all environments may be re-created because one of their processes died
    or hung (engine gymnasium-async)."""
    device: Device = "cpu"
    """Device of networks, batches and updates; auto: cuda if available. Rollouts always run the
    policy on the CPU."""
    microbatch_size: int = 65_536
    """Maximum samples per forward/backward pass; reduced for images so that a microbatch has at
    most 2²¹ pixels. Affects results only through rounding."""
    eval_every: int = 0
    """Environment steps between evaluations; 0: none. The deterministic policy plays one episode in
    each of num_envs separate environments. The best checkpoint is then chosen by evaluation.
    Training itself is unaffected."""
    stop_return: float = math.inf
    """Mean evaluation return at which training ends; inf: never."""

    def __post_init__(self) -> None:
        require_numbers(self)
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
        require(self, "stop_return", not math.isnan(self.stop_return), "a number, or inf")
        if self.stop_return < math.inf and not self.eval_every:
            needs = f"stop_return = {self.stop_return} needs evaluations: eval_every ≥ 1"
            raise ConfigError(needs, type(self), "eval_every")

    def finished(self, steps: int, evaluation_return: float | None) -> bool:
        """Return whether a run ends here.

        Args:
            steps: environment steps taken so far.
            evaluation_return: mean return of the last evaluation; `None` before the first.

        Returns:
            Whether it took its `total_steps`, or reached its `stop_return`.
        """
        reached = evaluation_return is not None and evaluation_return >= self.stop_return
        return reached or steps >= self.total_steps

    @property
    def torch_device(self) -> torch.device:
        """The device itself, resolved only when training begins: nothing else needs it.

        Raises:
            ConfigError: if this machine has no such device.
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
    """Update rule: TRPO; the natural policy gradient (no line search); the vanilla policy gradient;
    or PPO's clipped surrogate."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    trpo: TrpoConfig = field(default_factory=TrpoConfig)
    npg: NpgConfig = field(default_factory=NpgConfig)
    vpg: VpgConfig = field(default_factory=VpgConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    normalize: NormalizationConfig = field(default_factory=NormalizationConfig)
    images: ImageConfig = field(default_factory=ImageConfig)
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
    """Refuse a batch size that is not a multiple of the number of environments.

    Args:
        batch_size: steps per update.
        num_envs: N.

    Raises:
        ConfigError: with the nearest valid batch sizes.
    """
    if batch_size % num_envs:
        below = batch_size // num_envs * num_envs
        near = f"are {below} and {below + num_envs}" if below else f"is {num_envs}"
        multiple = f"a multiple of num_envs = {num_envs}: the nearest {near}"
        raise ConfigError(f"batch_size = {batch_size} is not {multiple}")


def with_bounded_memory(config: LearnerConfig, space: gym.Space) -> LearnerConfig:
    """Return a configuration whose microbatches of images fit into memory.

    Args:
        config: the learner's.
        space: of one observation.

    Returns:
        The same, with microbatches as they were or smaller.
    """
    found = [image_in(leaf, config.images) for leaf in leaves(space)]
    pixels = sum(math.prod(image.shape) for image in found if image)
    if not pixels:
        return config
    most = max(1, PIXELS // pixels)
    trainer = config.trainer
    smaller = replace(trainer, microbatch_size=min(most, trainer.microbatch_size))
    return replace(config, trainer=smaller)


def with_image_defaults(config: LearnerConfig, space: gym.Space) -> LearnerConfig:
    """Return a configuration with the defaults for images read by nature or impala.

    Args:
        config: the learner's.
        space: of one observation.

    Returns:
        The same; where there are such images and no memory, options left at their defaults become:
        F over fewer states, V fitted by Adam, and outputs linear in the features.
    """
    images = [image_in(leaf, config.images) for leaf in leaves(space)]
    deep = any(image.has_deep_encoder for image in images if image)
    if not deep or config.recurrence.recurrent != "none":
        return config
    trpo, policy, value = config.trpo, config.policy, config.value
    if trpo.fisher_stride == 0:
        trpo = replace(trpo, fisher_stride=IMAGE_STRIDE)
    if policy.hidden is None:
        policy = replace(policy, hidden=())
    if value.hidden is None:
        value = replace(value, hidden=())
    if value.fit == "auto":
        value = replace(value, fit="adam")
    return replace(config, trpo=trpo, policy=policy, value=value)


def with_recurrence(config: LearnerConfig) -> LearnerConfig:
    """Return a configuration that is valid for recurrent networks, if they are recurrent.

    Args:
        config: the learner's.

    Returns:
        The same; if recurrent, F is averaged over the current batch only.

    Raises:
        ConfigError: naming the option that does not work with recurrent networks.
    """
    recurrent = config.recurrence.recurrent
    if recurrent == "none":
        return config
    # V's fit receives the policy's recurrent features as precomputed rows
    fits_rows = config.value.trunk == "policy"
    trpo = config.trpo if config.algorithm == "trpo" else TrpoConfig()
    stride = max(trpo.fisher_stride, 1 if fits_rows else config.value.fisher_stride)
    for fits, name, expected in (
        (config.algorithm != "ppo", "algorithm ppo", "trpo, npg or vpg"),
        (fits_rows or config.value.fit != "adam", "value.fit adam", "gauss-newton"),
        (stride == 1, f"fisher_stride {stride}", "1"),
        # the default gives way; another number was asked for
        (trpo.memory in {0, TrpoConfig.memory}, f"memory {trpo.memory}", "0"),
    ):
        if not fits:
            raise ConfigError(f"recurrent = {recurrent!r} with {name}: expected {expected}")
    return replace(config, trpo=replace(config.trpo, memory=0))
