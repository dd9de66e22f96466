"""A trained policy as one file for other programs: ONNX, or TorchScript.

Exports the whole deterministic policy of `Agent.act`, from the environment's observations through
normalisation, clipping and networks to the environment's actions.
"""

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from trpo.agents.actions import LeafAdapter
from trpo.agents.agent import Agent
from trpo.agents.networks.network import MLP, Tanh
from trpo.agents.networks.recurrence import RecurrentFeatures
from trpo.agents.observations import allocate, leaves, map_leaves, named_leaves, nested_as

EXAMPLES = 2  # batch size for tracing; 1 would be specialised to a constant
ACTION = "action"
STATE, NEXT_STATE = "state", "next_state"


class DeterministicPolicy(nn.Module):
    """An agent's deterministic policy: from one tensor per leaf of the observation to actions.

    Args:
        agent: copied to the CPU.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.policy = copy.deepcopy(agent.policy).cpu().eval()
        for network in self.policy.modules():
            if isinstance(network, MLP):
                _by_torch_alone(network)
        self.adapters = nn.ModuleList(map(TensorLeafAdapter, leaves(agent.action_space)))
        self.sizes = [adapter.size for adapter in map(LeafAdapter, leaves(agent.action_space))]
        self.observation_space = agent.observation_space
        self.requires_grad_(False)

    @property
    def memory_size(self) -> int:
        """Size M of the recurrent state; 0 if the policy is not recurrent."""
        features = self.policy.network.features
        return features.memory_size if isinstance(features, RecurrentFeatures) else 0

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return actions, and the next recurrent state.

        Args:
            inputs: (N, *shape) for each leaf of the observation, in the order of `named_leaves`;
                then the recurrent state, (N, M), if there is one: zeros at the start of an episode.

        Returns:
            (N, *shape) for each leaf of the action space, in its dtype; then the recurrent state.
        """
        network = self.policy.network
        if isinstance(network.features, RecurrentFeatures):
            *parts, memory = inputs
            observation = nested_as(self.observation_space, parts)
            memories = [network.features.after(observation, memory)]
            output = network.output(memories[0][:, : network.features.size], observation)
        else:
            memories = []
            output = network.forward(nested_as(self.observation_space, inputs))
        actions = self.policy.family.act(output, None).split(self.sizes, dim=1)
        adapted = [adapt(leaf) for adapt, leaf in zip(self.adapters, actions, strict=True)]
        return (*adapted, *memories)

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs of the shapes and dtypes that `forward` takes, from the space."""
        storage = allocate(self.observation_space, EXAMPLES)  # zeros, which not every space has
        sample = copy.deepcopy(self.observation_space).sample()
        map_leaves(lambda row, leaf: row.copy_(torch.as_tensor(leaf)), storage, sample)
        memory = [torch.zeros(EXAMPLES, self.memory_size)] if self.memory_size else []
        return (*leaves(storage), *memory)


def _by_torch_alone(network: MLP) -> None:
    """Replace NumPy's tanh with torch's, which can be traced."""
    for number, layer in enumerate(network):
        if isinstance(layer, Tanh):
            network[number] = nn.Tanh()


class TensorLeafAdapter(nn.Module):
    """`LeafAdapter` in torch: scale, bounds, offsets and shape.

    Args:
        space: Box, Discrete, MultiDiscrete or MultiBinary.
    """

    low: Tensor
    high: Tensor
    half_range: Tensor
    middle: Tensor
    start: Tensor

    def __init__(self, space: gym.Space) -> None:
        super().__init__()
        adapter = LeafAdapter(space)
        self.shape = adapter.shape
        self.dtype = torch.from_numpy(np.zeros(0, adapter.dtype)).dtype
        self.bounded, self.scaled = adapter.bounds is not None, adapter.scaled
        self.whole = adapter.dtype.kind in "biu"
        if adapter.bounds is not None:
            low, high = adapter.bounds
            self.register_buffer("low", torch.as_tensor(low))
            self.register_buffer("high", torch.as_tensor(high))
        if adapter.scaled:
            self.register_buffer("half_range", torch.as_tensor(adapter.half))
            self.register_buffer("middle", torch.as_tensor(adapter.middle))
        self.register_buffer("start", torch.as_tensor(adapter.start))

    def forward(self, actions: Tensor) -> Tensor:
        """Return actions as the environment takes them.

        Args:
            actions: (N, A), as the policy chose them.

        Returns:
            (N, *shape), in the action space and of its dtype.
        """
        actions = actions.reshape(-1, *self.shape)
        if not self.bounded:
            return (actions + self.start).to(self.dtype)
        if self.scaled:
            actions = actions * self.half_range + self.middle
        if self.whole:
            actions = actions.round()
        return actions.clamp(self.low, self.high).to(self.dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the deprecation warnings of torch's exporters."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def input_names(space: gym.Space) -> list[str]:
    """Return what an exported policy's inputs are called.

    Args:
        space: of one observation.

    Returns:
        `observation`, or one name per leaf, such as observation.image.
    """
    return list(named_leaves(space))


def output_names(space: gym.Space) -> list[str]:
    """Return what an exported policy's outputs are called.

    Args:
        space: of one action.

    Returns:
        `action`, or one name per leaf, such as action.gripper.
    """
    return list(named_leaves(space, ACTION))


@torch.no_grad()
def to_onnx(agent: Agent) -> bytes:
    """Return a deterministic policy as an ONNX model, for any number of observations at once.

    Args:
        agent: trained.

    Returns:
        The content of an .onnx file; inputs and outputs are named by `input_names` and
        `output_names`, the recurrent state `state` and `next_state`.

    Raises:
        ModuleNotFoundError: if onnx or onnxscript is not installed.
    """
    policy = DeterministicPolicy(agent)
    example = policy.example()
    has_memory = policy.memory_size > 0
    with _quiet():
        program = torch.onnx.export(
            policy,
            example,
            input_names=input_names(agent.observation_space) + [STATE] * has_memory,
            output_names=output_names(agent.action_space) + [NEXT_STATE] * has_memory,
            dynamic_shapes=(tuple({0: torch.export.Dim("N")} for _ in example),),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch exported nothing")
    content: bytes = program.model_proto.SerializeToString()
    return content


@torch.no_grad()
def to_torchscript(agent: Agent) -> bytes:
    """Return a deterministic policy as TorchScript, for any number of observations at once.

    Args:
        agent: trained.

    Returns:
        The content of a file for `torch.jit.load`, in Python or C++; it takes and returns what
        `DeterministicPolicy.forward` does.
    """
    policy = DeterministicPolicy(agent)
    content = io.BytesIO()
    with _quiet():
        torch.jit.save(torch.jit.trace(policy, policy.example(), check_trace=False), content)
    return content.getvalue()
