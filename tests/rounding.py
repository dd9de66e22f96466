"""How far two and four processes come from one, beside how far microbatches do: a row an update.

Once on environments of their own, where an action that differs in its last bit may lead elsewhere,
and once on the one process's data, played again. `python -m tests.rounding OUT.csv`, some minutes.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tests.groups import in_group
from tests.helpers import make_trainer, run
from trpo.agents.networks.recurrence import RecurrenceConfig, sequences
from trpo.agents.observations import map_leaves
from trpo.agents.policies import Policy, PolicyConfig
from trpo.agents.rollouts.rollout import Episode, Rollout
from trpo.agents.trainer import Trainer
from trpo.scripts.cli.tables import write_rows

UPDATES = 20
CASES: dict[str, dict[str, Any]] = {
    "Gaussian, Pendulum-v1": {"env_id": "Pendulum-v1"},
    "categorical, CartPole-v1": {"env_id": "CartPole-v1"},
    "convolutional, MiniGrid-Empty-5x5-v0": {
        "env_id": "MiniGrid-Empty-5x5-v0",
        "policy": PolicyConfig(hidden=(8,)),
    },
    "GRU, CartPole-v1": {"env_id": "CartPole-v1", "recurrence": RecurrenceConfig("gru", 5)},
}
CUT = {"trainer": {"microbatch_size": 128}}  # half of a batch
DATA = "observations", "actions", "rewards", "terminated", "truncated", "valid"
MEMORIES = "memories"  # (N, M) each, before the rollout
Tape = list[dict[str, Any]]  # the data of each update, (T, N, …), nested as it is


def outputs(policy: Policy, rollout: Rollout) -> Tensor:
    """Return what a policy's network says of a rollout's observations, (T, N, E)."""
    steps, envs = rollout.rewards.shape
    observations = map_leaves(lambda leaf: leaf[:-1], rollout.observations)
    if not rollout.memories:
        flat = map_leaves(lambda leaf: leaf.flatten(0, 1), observations)
        return policy.network(flat).view(steps, envs, -1)
    begins = torch.cat([torch.ones(1, envs, dtype=torch.bool), ~rollout.valid[:-1]])
    in_a_row = sequences(observations, begins, rollout.memories)
    return policy.network(in_a_row).view(envs, steps, -1).transpose(0, 1)


def play(trainer: Trainer, tape: Tape) -> None:
    """Let a trainer learn from what another's environments gave."""
    rank = dist.get_rank() if dist.is_initialized() else 0

    @torch.no_grad()
    def collect(policy: Policy, rollout: Rollout, update: int) -> list[Episode]:
        envs = rollout.rewards.shape[1]
        for name, memory in tape[update][MEMORIES].items():
            rollout.memories[name].copy_(memory[rank * envs : (rank + 1) * envs])
        for name in DATA:
            recorded = tape[update][name]
            part = map_leaves(lambda leaf: leaf[:, rank * envs : (rank + 1) * envs], recorded)
            map_leaves(Tensor.copy_, getattr(rollout, name), part)
        rollout.outputs.copy_(outputs(policy, rollout))
        return [Episode(0.0, 1)] * int(rollout.done.sum())

    trainer.environments.collect = collect


def train(dtype: torch.dtype, changes: dict[str, Any], tape: Tape) -> tuple[Tensor, Tape]:
    """Return the parameters of policy and value function after each update, and the data."""
    torch.set_default_dtype(dtype)
    trainer = make_trainer(**changes)
    if tape:
        play(trainer, tape)
    after, data = [], []
    for _ in range(UPDATES):
        run(trainer, 1)
        data.append({
            name: map_leaves(Tensor.clone, getattr(trainer.rollout, name))
            for name in (*DATA, MEMORIES)
        })
        networks = trainer.agent.policy, trainer.agent.value_function
        parameters = [p for network in networks for p in network.parameters()]
        after.append(torch.cat([p.detach().double().reshape(-1) for p in parameters]))
    trainer.close()
    return torch.stack(after), data


def compare(policy: str, dtype: torch.dtype, folder: Path) -> list[dict[str, Any]]:
    """Return ‖θ − θ'‖ / ‖θ‖ after each update."""
    changes = CASES[policy]
    ((one, tape),) = in_group(folder / "one", 1, train, dtype, changes, [])
    apart = {}
    for name, size, cut in (
        ("two processes", 2, {}),
        ("four processes", 4, {}),
        ("two microbatches", 1, CUT),
    ):
        for same, data in (("", []), (", same data", tape)):
            folders = folder / f"{name}{same}"
            (other, _), *rest = in_group(folders, size, train, dtype, changes | cut, data)
            assert all(torch.equal(other, theirs) for theirs, _ in rest)
            apart[f"{name}{same}"] = ((other - one).norm(dim=1) / one.norm(dim=1)).tolist()
    return [
        {"policy": policy, "dtype": str(dtype).removeprefix("torch."), "update": update + 1}
        | {name: distances[update] for name, distances in apart.items()}
        for update in range(UPDATES)
    ]


def main(words: Sequence[str]) -> int:
    """Compare, and write the table."""
    rows = []
    for policy in CASES:
        for dtype in (torch.float64, torch.float32):
            with tempfile.TemporaryDirectory() as folder:
                rows += compare(policy, dtype, Path(folder))
            write_rows(Path(words[0]), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
