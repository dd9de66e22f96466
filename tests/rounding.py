"""How far two processes come from one, beside how far two microbatches do: a row an update.

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
from trpo.agents.policies import Policy
from trpo.agents.rollout import Episode, Rollout
from trpo.agents.trainer import Trainer
from trpo.scripts.cli.tables import write_rows

UPDATES = 20
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
            getattr(rollout, name).copy_(recorded[:, rank * envs : (rank + 1) * envs])
        rollout.outputs.copy_(policy.network(rollout.observations[:-1]))
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
        data.append({name: getattr(trainer.rollout, name).clone() for name in DATA})
        networks = trainer.agent.policy, trainer.agent.value_function
        parameters = [p for network in networks for p in network.parameters()]
        after.append(torch.cat([p.detach().double().reshape(-1) for p in parameters]))
    trainer.close()
    return torch.stack(after), data


def compare(env_id: str, dtype: torch.dtype, folder: Path) -> list[dict[str, Any]]:
    """Return ‖θ − θ'‖ / ‖θ‖ after each update."""
    changes = {"env_id": env_id}
    ((one, tape),) = in_group(folder / "one", 1, train, dtype, changes, [])
    apart = {}
    for name, size, cut, data in (
        ("two processes", 2, {}, []),
        ("two microbatches", 1, CUT, []),
        ("two processes, same data", 2, {}, tape),
        ("two microbatches, same data", 1, CUT, tape),
    ):
        (other, _), *rest = in_group(folder / name, size, train, dtype, changes | cut, data)
        assert all(torch.equal(other, theirs) for theirs, _ in rest)
        apart[name] = ((other - one).norm(dim=1) / one.norm(dim=1)).tolist()
    return [
        {"env": env_id, "dtype": str(dtype).removeprefix("torch."), "update": update + 1}
        | {name: distances[update] for name, distances in apart.items()}
        for update in range(UPDATES)
    ]


def main(words: Sequence[str]) -> int:
    """Compare, and write the table."""
    rows = []
    for env_id in ("Pendulum-v1", "CartPole-v1"):
        for dtype in (torch.float64, torch.float32):
            with tempfile.TemporaryDirectory() as folder:
                rows += compare(env_id, dtype, Path(folder))
            write_rows(Path(words[0]), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
