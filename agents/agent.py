"""Everything trained, saved and used together: policy, value function, statistics, actions."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from trpo.agents.actions import ActionAdapter
from trpo.agents.networks.encoders import Features, MakeEncoder, Preprocessor, encoder_for
from trpo.agents.networks.images import ImageConfig
from trpo.agents.networks.masks import mask_in
from trpo.agents.networks.recurrence import (
    FEATURES,
    POLICY_MEMORY,
    VALUE_MEMORY,
    RecurrenceConfig,
    RecurrentFeatures,
    one_step,
)
from trpo.agents.normalization import AdvantageScale, NormalizationConfig, RewardScaler
from trpo.agents.observations import (
    Observation,
    count,
    leaves,
    map_leaves,
    map_pieces,
    named_leaves,
    to_device,
)
from trpo.agents.policies import PolicyConfig, make_policy
from trpo.agents.randomness import Component, Randomness
from trpo.agents.storage.checkpoint import Checkpoint, save_checkpoint
from trpo.agents.storage.checkpoint_folder import read_checkpoint
from trpo.agents.storage.errors import CheckpointError
from trpo.agents.storage.migration import migrate_agent
from trpo.agents.storage.tensor_names import with_prefix, without_prefix
from trpo.agents.storage.typed_json import from_json, to_json
from trpo.agents.value_function import ValueConfig, ValueFunction
from trpo.validation import ConfigError

TENSORS = "agent."  # what the names of its tensors begin with in a checkpoint


@dataclass(frozen=True)
class AgentConfig:
    """Everything that defines an agent except its tensors; stored in every checkpoint.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        policy: its network.
        value: the value function's network and fit.
        normalize: running statistics.
        images: how images are read, unless by a custom encoder.
        gamma: discount of the returns used for reward scaling.
        recurrence: recurrent layers of both networks.
    """

    observation_space: gym.Space
    action_space: gym.Space
    policy: PolicyConfig
    value: ValueConfig
    normalize: NormalizationConfig
    images: ImageConfig
    gamma: float
    recurrence: RecurrenceConfig = field(default_factory=RecurrenceConfig)


class Agent(nn.Module):
    """Policy, value function and statistics for one pair of spaces.

    Args:
        config: spaces, networks and statistics.
        randomness: source of the initial weights.
        make_encoder: from the observation space to an encoder, called for the policy and for the
            value function; by default the one that fits the space.

    Raises:
        ConfigError: if a space is not supported.
    """

    def __init__(
        self,
        config: AgentConfig,
        randomness: Randomness,
        make_encoder: MakeEncoder | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.observation_space = observation_space = config.observation_space
        self.action_space = action_space = config.action_space
        images = config.images
        if make_encoder and images.grid_codes is None:
            # a custom encoder expects the space's channels
            images = replace(images, grid_codes=0)
        self.preprocessor = Preprocessor(observation_space, config.normalize, images)
        make = make_encoder or encoder_for(observation_space, images)
        policy_rng = randomness.generator(Component.POLICY)
        value_rng = randomness.generator(Component.VALUE)

        def features(generator: torch.Generator, memory: str) -> Features:
            encoder = make(observation_space, generator)
            if config.recurrence.recurrent == "none":
                return Features(self.preprocessor, encoder)
            size = config.recurrence.recurrent_size
            recurrent = FEATURES[config.recurrence.recurrent]
            return recurrent(self.preprocessor, encoder, size, memory, generator)

        self.policy = make_policy(
            features(policy_rng, POLICY_MEMORY),
            action_space,
            config.policy,
            policy_rng,
            mask_in(observation_space),
        )
        self.adapt_actions = ActionAdapter(action_space)
        shared = config.value.trunk == "policy"
        policy_features = self.policy.network.features
        if shared and policy_features.is_fixed:
            expected = "own: without images and memory there is nothing to share"
            raise ConfigError(f"value.trunk = 'policy': expected {expected}")
        value_features = policy_features if shared else features(value_rng, VALUE_MEMORY)
        self.value_function = ValueFunction(value_features, config.value, value_rng)
        self.reward_scaler = RewardScaler(config.gamma)
        self.advantage_scale = AdvantageScale()

    @classmethod
    def load(cls, path: str | Path, make_encoder: MakeEncoder | None = None) -> "Agent":
        """Load a trained agent; this needs no environment, and runs no code from the file.

        Args:
            path: a run's folder, for its newest checkpoint, or a file that `save` or a run wrote.
            make_encoder: as the agent was made with.

        Returns:
            The agent, ready to act.

        Raises:
            CheckpointError: if there is no checkpoint, or it cannot be used.
            ConfigError: if it was made with another encoder.
        """
        return cls.of_checkpoint(read_checkpoint(Path(path)), make_encoder)

    @classmethod
    def of_checkpoint(
        cls, checkpoint: Checkpoint, make_encoder: MakeEncoder | None = None
    ) -> "Agent":
        """Make a checkpoint's agent.

        Args:
            checkpoint: as it was read.
            make_encoder: as the agent was made with.

        Returns:
            The agent, ready to act.

        Raises:
            CheckpointError: if the checkpoint describes no agent.
            ConfigError: if it was made with another encoder.
        """
        try:
            config = from_json(AgentConfig, migrate_agent(checkpoint.state.get("agent")))
        except ValueError as error:
            raise CheckpointError(f"a checkpoint's agent cannot be read: {error}") from error
        tensors = without_prefix(TENSORS, checkpoint.tensors)
        try:
            if make_encoder is None:  # a custom encoder need not support meta tensors
                # allocates nothing: an untrusted file may have any sizes
                with torch.device("meta"):
                    cls(config, Randomness(0)).check_tensors(tensors)
            agent = cls(config, Randomness(0), make_encoder)
        except (RuntimeError, MemoryError, OverflowError) as error:  # of sizes that cannot be
            raise CheckpointError(f"a checkpoint's agent cannot be made: {error}") from error
        agent.load_tensors(tensors)
        return agent

    def save(self, path: str | Path) -> None:
        """Save everything needed for acting, atomically.

        Args:
            path: a file, by convention NAME.safetensors, in an existing folder.
        """
        save_checkpoint(Path(path), with_prefix(TENSORS, self.tensors()), self.description())

    def description(self) -> dict[str, object]:
        """Return what a checkpoint stores about the agent besides its tensors, as JSON content."""
        return {"agent": to_json(self.config)}

    @torch.inference_mode()
    def act(
        self,
        observation: Any,
        state: Tensor | None = None,
        deterministic: bool = True,
        generator: torch.Generator | None = None,
    ) -> tuple[Any, Tensor | None]:
        """Choose actions.

        Args:
            observation: one, as an environment gives it, or N of them, as a vector environment
                does.
            state: the recurrent state, (N, M), as the last call returned it; `None` at the start of
                an episode, and for policies that are not recurrent.
            deterministic: whether to return the deterministic action instead of a sample.
            generator: source of the samples' noise; `None` for torch's own.

        Returns:
            An action of the action space, or N of them; and the recurrent state, or `None`.

        Raises:
            ConfigError: if the observation does not have the observation space's shape, or is not
                finite.
        """
        observations, single = self._batch(observation)
        family, noise = self.policy.family, None
        if not deterministic:
            noise = family.draw_noise(1, count(observations), generator)[0].to(self.device)
        observations = to_device(observations, self.device)
        features = self.policy.network.features
        if isinstance(features, RecurrentFeatures):
            if state is None:
                state = torch.zeros(count(observations), features.memory_size)
            observations = one_step(observations, state.to(self.device), POLICY_MEMORY)
            output, state = self.policy.network.step(observations)
        else:
            output = self.policy.network(observations)
        actions = self.adapt_actions(family.act(output, noise).cpu().numpy())
        if single:
            actions = map_leaves(lambda leaf: leaf[0], actions)
        return actions, state

    def values(self, observations: Observation, microbatch_size: int) -> Tensor:
        """Return V of any number of observations.

        Args:
            observations: tensors (B, *shape).
            microbatch_size: observations to look at together, at most.

        Returns:
            (B,), on the CPU.
        """
        return map_pieces(
            lambda piece: self.value_function(to_device(piece, self.device)).cpu(),
            observations,
            microbatch_size,
        )

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.policy.parameters()).device

    def move_networks(self, device: torch.device) -> None:
        """Move policy and value function; reward and advantage scaling stay on the CPU.

        Args:
            device: where to.
        """
        self.policy.to(device)
        self.value_function.to(device)

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that acting and learning need, shared ones once."""
        unique = {name for name, _ in self.named_parameters()}
        unique |= {name for name, _ in self.named_buffers()}
        return {name: tensor for name, tensor in self.state_dict().items() if name in unique}

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned.

        Args:
            tensors: of an agent of the same spaces and configuration.

        Raises:
            ConfigError: if they are of another one.
        """
        self.check_tensors(tensors)
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    def check_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Reject tensors whose names, shapes or types differ from this agent's.

        Args:
            tensors: by name.

        Raises:
            ConfigError: naming the first that differs.
        """
        expected, given = (
            {n: f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for n, t in ts.items()}
            for ts in (self.tensors(), tensors)
        )
        for name in {**expected, **given}:
            has, needs = given.get(name, "absent"), expected.get(name, "no such tensor")
            if has != needs:
                raise ConfigError(
                    "the checkpoint's networks are not those of the configuration: "
                    f"{name} is {has}: expected {needs}"
                )

    def _batch(self, observation: Any) -> tuple[Observation, bool]:
        """Return observations as tensors (N, *shape), and whether there was one, unbatched."""
        # in the order of the space's keys, whatever the environment's
        found = map_leaves(lambda _, leaf: _as_array(leaf), self.observation_space, observation)
        spaces, arrays = leaves(self.observation_space), leaves(found)
        single = arrays[0].shape == spaces[0].shape
        shapes = [array.shape if single else array.shape[1:] for array in arrays]
        if shapes != [space.shape for space in spaces]:
            given = ", ".join(str(array.shape) for array in arrays)
            expected = ", ".join(str(space.shape) for space in spaces)
            raise ConfigError(f"observation of shape {given}: expected {expected}, or N of them")
        finite = [array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays]
        if not all(finite):
            name = list(named_leaves(self.observation_space))[finite.index(False)]
            raise ConfigError(f"{name} is not finite: expected no NaN and no infinity")

        def leaf(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array[None] if single else array))

        return map_leaves(leaf, found), single


def _as_array(leaf: Any) -> np.ndarray:
    """Return an observation's leaf as networks read it: floats in float32."""
    array = np.asarray(leaf)
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
