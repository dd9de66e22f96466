"""Recurrent networks: features with a memory, unrolled over whole episodes.

A batch of a policy with memory is sequences in a row: each environment's steps one after another,
as `sequences` lays them out. A sequence begins where an episode does, from a memory of zeros, or
where the rollout does, from the memory that its environment had then.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from trpo.agents.encoders import Encoder, Features, Preprocessor
from trpo.agents.observations import BEGINS, OBSERVATION, Observation, map_leaves
from trpo.validation import require

GRU_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # as torch names and orders them
POLICY_MEMORY, VALUE_MEMORY = "policy_memory", "value_memory"


@dataclass(frozen=True)
class RecurrenceConfig:
    """The memory of policy and value function."""

    recurrent: Literal["none", "gru"] = "none"
    """Memory of what was seen in the episode so far: none, or a gated recurrent unit (Cho et al.
    2014), one for the policy, one for the value function. F is then the batch's alone."""
    recurrent_size: int = 64
    """Numbers in the memory."""

    def __post_init__(self) -> None:
        require(self, "recurrent_size", self.recurrent_size >= 1, "an integer ≥ 1")


class RecurrentFeatures(Features):
    """Features of all that an episode showed: h_t = GRU(encoded observation_t, h_{t−1}).

    Args:
        preprocessor: may be shared with other networks of the agent.
        encoder: this network's own.
        size: H, of the memory h.
        name: of its memory, in `sequences`.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        encoder: Encoder,
        size: int,
        name: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__(preprocessor, encoder)
        self.gru = nn.GRU(encoder.size, size)
        for parameter in self.gru.parameters():  # as nn.GRU does, from this generator
            nn.init.uniform_(parameter, -(size**-0.5), size**-0.5, generator=generator)
        self.size = size
        self.name = name

    def forward(self, observation: Observation) -> Tensor:
        """Return the memory after each observation.

        Args:
            observation: `sequences`, B observations in a row; the first begins one.

        Returns:
            (B, H) float.
        """
        assert isinstance(observation, dict)
        features = super().forward(observation[OBSERVATION])  # (B, F)
        begins, memory = observation[BEGINS], observation[self.name]
        assert isinstance(begins, Tensor)
        assert isinstance(memory, Tensor)
        first = begins.nonzero().flatten()  # (S,), where sequences begin
        lengths = torch.diff(first, append=first.new_tensor([len(features)]))
        if len(first) == len(features):  # one step each, as in a rollout
            return self.gru(features[None], memory[None])[0][0]
        packed = pack_sequence(features.split(lengths.tolist()), enforce_sorted=False)
        with torch.backends.cudnn.flags(enabled=False):  # which cannot differentiate twice
            after, _ = self.gru(packed, memory[first][None])
        return torch.cat(unpack_sequence(after))

    def after(self, observation: Observation, memory: Tensor) -> Tensor:
        """Return the memory after one observation; `forward` for sequences of one, to be exported.

        Args:
            observation: tensors (N, *shape).
            memory: (N, H), before it.

        Returns:
            (N, H) float.
        """
        weights = (getattr(self.gru, f"{name}_l0") for name in GRU_WEIGHTS)
        return torch.gru_cell(super().forward(observation), memory, *weights)


def sequences(
    observations: Observation, begins: Tensor, memories: dict[str, Tensor]
) -> Observation:
    """Lay a rollout's observations out as sequences in a row, environment after environment.

    Args:
        observations: tensors (T, N, *shape).
        begins: (T, N) bool, where an episode begins; a sequence begins at t = 0, too.
        memories: (N, H) each, by the networks' names, before the rollout.

    Returns:
        Tensors (N·T, …): the observations, where sequences begin, and the memories there.
    """
    steps, envs = begins.shape
    begins = begins.clone()
    begins[0] = True

    def at_first(memory: Tensor) -> Tensor:
        initial = memory.new_zeros(envs, steps, memory.shape[1])
        initial[:, 0] = memory
        return initial.flatten(0, 1)

    by_environment: Any = map_leaves(
        lambda leaf: leaf.transpose(0, 1).flatten(0, 1), {OBSERVATION: observations, BEGINS: begins}
    )
    return by_environment | {name: at_first(memory) for name, memory in memories.items()}


def one_step(observation: Observation, memory: Tensor, name: str) -> Observation:
    """Return N observations as sequences of one.

    Args:
        observation: tensors (N, *shape).
        memory: (N, H), before it.
        name: of the network whose memory it is.

    Returns:
        What `RecurrentFeatures` take.
    """
    begins = torch.ones(len(memory), dtype=torch.bool, device=memory.device)
    return {OBSERVATION: observation, BEGINS: begins, name: memory}
