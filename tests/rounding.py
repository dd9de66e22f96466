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

from tests.agents.test_ranks import LEARNERS
from tests.groups import in_group
from tests.helpers import make_trainer, run
from trpo.agents.observations import map_leaves
from trpo.agents.policies import Policy
from trpo.agents.rollout import Episode, Rollout
from trpo.agents.trainer import Trainer
from trpo.scripts.cli.tables import write_rows

UPDATES = 20
POLICIES = "gaussian", "categorical", "convolutional", "recurrent"
CUT = {"trainer": {"microbatch_size": 128}}  # half of a batch
DATA = "observations", "actions", "rewards", "terminated", "truncated", "valid"
Tape = list[dict[str, Tensor]]  # the data of each update, (T, N, …)


def play(trainer: Trainer, tape: Tape) -> None:
    """Let a trainer learn from what another's environments gave."""
    rank = dist.get_rank() if dist.is_initialized() else 0

    @torch.no_grad()
    def collect(policy: Policy, rollout: Rollout, update: int) -> list[Episode]:
        envs = rollout.rewards.shape[1]
        for name, recorded in tape[update].items():
            part = map_leaves(lambda leaf: leaf[:, rank * envs : (rank + 1) * envs], recorded)
            map_leaves(Tensor.copy_, getattr(rollout, name), part)
        before = map_leaves(lambda leaf: leaf[:-1].flatten(0, 1), rollout.observations)
        rollout.outputs.copy_(policy.network(before).view_as(rollout.outputs))
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
            name: map_leaves(Tensor.clone, getattr(trainer.rollout, name)) for name in DATA
        })
        networks = trainer.agent.policy, trainer.agent.value_function
        parameters = [p for network in networks for p in network.parameters()]
        after.append(torch.cat([p.detach().double().reshape(-1) for p in parameters]))
    trainer.close()
    return torch.stack(after), data


def compare(policy: str, dtype: torch.dtype, folder: Path) -> list[dict[str, Any]]:
    """Return ‖θ − θ'‖ / ‖θ‖ after each update."""
    changes = LEARNERS[policy]
    ((one, tape),) = in_group(folder / "one", 1, train, dtype, changes, [])
    apart = {}
    for name, size, cut in (
        ("two processes", 2, {}),
        ("four processes", 4, {}),
        ("two microbatches", 1, CUT),
    ):
        # a memory is not played again: what it was, earlier steps decide
        again = [] if "recurrence" in changes else [(", same data", tape)]
        for same, data in (("", []), *again):
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
    for policy in POLICIES:
        for dtype in (torch.float64, torch.float32):
            with tempfile.TemporaryDirectory() as folder:
                rows += compare(policy, dtype, Path(folder))
            write_rows(Path(words[0]), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
