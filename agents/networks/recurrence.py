"""Recurrent networks: features with a state, unrolled over whole episodes.

A recurrent policy's batch is a concatenation of sequences: each environment's steps in turn, as
laid out by `sequences`. A sequence begins where an episode does, from a state of zeros, or where
the rollout does, from the state that the environment had then.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from trpo.agents.networks.encoders import Encoder, Features, Preprocessor
from trpo.agents.observations import BEGINS, OBSERVATION, Observation, map_leaves
from trpo.validation import require, require_numbers

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # as torch names and orders them
POLICY_MEMORY, VALUE_MEMORY = "policy_memory", "value_memory"


@dataclass(frozen=True)
class RecurrenceConfig:
    """The recurrent layer of policy and value function."""

    recurrent: Literal["none", "gru", "lstm"] = "none"
    """Recurrent layer of the policy and of the value function: none, GRU (Cho et al. 2014) or LSTM
    (Hochreiter & Schmidhuber 1997). With one, F is averaged over the current batch only."""
    recurrent_size: int = 64
    """Size of the hidden state; of an LSTM's cell state, too."""

    def __post_init__(self) -> None:
        require_numbers(self)
        require(self, "recurrent_size", self.recurrent_size >= 1, "an integer ≥ 1")


class RecurrentFeatures(Features, ABC):
    """Features of an episode's observations so far: h_t of (encoded observation_t, memory_{t−1}).

    Args:
        preprocessor: may be shared with other networks of the agent.
        encoder: this network's own.
        size: H, of h.
        memory_size: M, of the recurrent state: h, and whatever else the unit carries.
        name: of its memory, in `sequences`.
    """

    def __init__(
        self, preprocessor: Preprocessor, encoder: Encoder, size: int, memory_size: int, name: str
    ) -> None:
        super().__init__(preprocessor, encoder)
        self.size = size
        self.memory_size = memory_size
        self.name = name

    @property
    def suits_dual_numbers(self) -> bool:  # noqa: D102
        return False  # torch lacks forward-mode derivatives of some recurrent units

    @abstractmethod
    def unroll(self, inputs: Any, memory: Tensor) -> tuple[Any, Tensor]:
        """Run the unit along sequences.

        Args:
            inputs: (1, S, F), one step of each of S sequences; or all of their steps, packed.
            memory: (S, M), before them.

        Returns:
            h after each step, laid out as the inputs are; and (S, M), the memory after the last.
        """

    @abstractmethod
    def cell(self, inputs: Tensor, memory: Tensor) -> Tensor:
        """Return the memory after one step, using operations that can be traced.

        Args:
            inputs: (N, F).
            memory: (N, M), before it.

        Returns:
            (N, M), h first.
        """

    def forward(self, observation: Observation) -> Tensor:
        """Return h after each observation.

        Args:
            observation: as returned by `sequences`, B observations; the first begins a sequence.

        Returns:
            (B, H) float.
        """
        return self.step(observation)[0]

    def step(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Return h after each observation, and the memory after each sequence.

        Args:
            observation: as `forward` takes it.

        Returns:
            (B, H) and (S, M) float.
        """
        assert isinstance(observation, dict)
        features = super().forward(observation[OBSERVATION])  # (B, F)
        begins, memory = observation[BEGINS], observation[self.name]
        assert isinstance(begins, Tensor)
        assert isinstance(memory, Tensor)
        first = begins.nonzero().flatten()  # (S,), where sequences begin
        if len(first) == len(features) and not torch.is_grad_enabled():  # one step each: a rollout
            after, last = self.unroll(features[None], memory)
            return after[0], last
        rows, sizes, by_length = _packed(first, len(features))
        packed = PackedSequence(features[rows], sizes.cpu())
        with torch.backends.cudnn.flags(enabled=False):  # cuDNN cannot differentiate twice
            after, last = self.unroll(packed, memory[first[by_length]])
        return after.data[rows.argsort()], last[by_length.argsort()]

    def after(self, observation: Observation, memory: Tensor) -> Tensor:
        """Return the memory after one observation; `step` for sequences of one, to be exported.

        Args:
            observation: tensors (N, *shape).
            memory: (N, M), before it.

        Returns:
            (N, M) float, h first.
        """
        return self.cell(super().forward(observation), memory)


def _packed(first: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the order in which torch unrolls sequences: all first steps, all second steps, ….

    One gather by it replaces `pack_sequence`, whose slices each get a gradient as large as all
    sequences together.

    Args:
        first: (S,), rows where sequences begin.
        count: B, of rows.

    Returns:
        Rows in that order, (B,); how many sequences have a first, a second, … step; and the
        sequences from the longest on, (S,).
    """
    lengths = torch.diff(first, append=first.new_tensor([count]))
    by_length = lengths.argsort(descending=True, stable=True)
    rank = by_length.argsort().repeat_interleave(lengths)  # (B,), of each row's sequence
    step = torch.arange(count, device=first.device) - first.repeat_interleave(lengths)  # (B,)
    return (step * len(first) + rank).argsort(), step.bincount(), by_length


def _weights(unit: nn.RNNBase) -> list[Tensor]:
    return [getattr(unit, f"{name}_l0") for name in WEIGHTS]


def _initialise(unit: nn.RNNBase, generator: torch.Generator) -> None:
    for parameter in unit.parameters():  # as torch does, from this generator
        bound = unit.hidden_size**-0.5
        nn.init.uniform_(parameter, -bound, bound, generator=generator)


class GruFeatures(RecurrentFeatures):
    """Gated recurrent unit (Cho et al. 2014): its memory is h.

    Args:
        preprocessor: may be shared with other networks of the agent.
        encoder: this network's own.
        size: H.
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
        super().__init__(preprocessor, encoder, size, size, name)
        self.gru = nn.GRU(encoder.size, size)
        _initialise(self.gru, generator)

    def unroll(self, inputs: Any, memory: Tensor) -> tuple[Any, Tensor]:  # noqa: D102
        after, last = self.gru(inputs, memory[None])
        return after, last[0]

    def cell(self, inputs: Tensor, memory: Tensor) -> Tensor:  # noqa: D102
        return torch.gru_cell(inputs, memory, *_weights(self.gru))


class LstmFeatures(RecurrentFeatures):
    """Long short-term memory (Hochreiter & Schmidhuber 1997): its memory is h and the cell c.

    Args:
        preprocessor: may be shared with other networks of the agent.
        encoder: this network's own.
        size: H.
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
        super().__init__(preprocessor, encoder, size, 2 * size, name)
        self.lstm = nn.LSTM(encoder.size, size)
        _initialise(self.lstm, generator)

    def unroll(self, inputs: Any, memory: Tensor) -> tuple[Any, Tensor]:  # noqa: D102
        h, c = (part[None].contiguous() for part in memory.chunk(2, dim=1))
        after, (h, c) = self.lstm(inputs, (h, c))
        return after, torch.cat([h[0], c[0]], dim=1)

    def cell(self, inputs: Tensor, memory: Tensor) -> Tensor:  # noqa: D102
        return torch.cat(torch.lstm_cell(inputs, memory.chunk(2, dim=1), *_weights(self.lstm)), 1)


FEATURES: dict[str, type[GruFeatures] | type[LstmFeatures]] = {
    "gru": GruFeatures,
    "lstm": LstmFeatures,
}


def sequences(
    observations: Observation, begins: Tensor, memories: dict[str, Tensor]
) -> Observation:
    """Lay out a rollout's observations as concatenated sequences, environment by environment.

    Args:
        observations: tensors (T, N, *shape).
        begins: (T, N) bool, where an episode begins; a sequence begins at t = 0, too.
        memories: (N, M) each, by the networks' names, before the rollout.

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
        memory: (N, M), before it.
        name: of the network whose memory it is.

    Returns:
        What `RecurrentFeatures` take.
    """
    begins = torch.ones(len(memory), dtype=torch.bool, device=memory.device)
    return {OBSERVATION: observation, BEGINS: begins, name: memory}
