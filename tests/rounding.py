"""How far two processes come from one, beside how far two microbatches do: a row an update.

`python -m tests.rounding OUT.csv`, some minutes.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.groups import in_group
from tests.helpers import make_trainer, run
from trpo.agents.trpo import TrpoConfig
from trpo.scripts.cli.tables import write_rows

UPDATES = 20
ITERATIONS = (4, 3), (10, 6)  # of conjugate gradient: the policy's, the value function's
CUT = {"trainer": {"microbatch_size": 128}}  # half of a batch


def train(dtype: torch.dtype, changes: dict[str, Any]) -> Tensor:
    """Return the parameters of policy and value function after each update, (updates, P)."""
    torch.set_default_dtype(dtype)
    trainer = make_trainer(**changes)
    after = []
    for _ in range(UPDATES):
        run(trainer, 1)
        networks = trainer.agent.policy, trainer.agent.value_function
        parameters = [p for network in networks for p in network.parameters()]
        after.append(torch.cat([p.detach().double().reshape(-1) for p in parameters]))
    trainer.close()
    return torch.stack(after)


def compare(env_id: str, dtype: torch.dtype, cg: tuple[int, int], folder: Path) -> list[dict]:
    """Return ‖θ − θ'‖ / ‖θ‖ after each update."""
    changes = {
        "env_id": env_id,
        "trpo": TrpoConfig(cg_iterations=cg[0]),
        "value": {"cg_iterations": cg[1]},
    }
    (one,) = in_group(folder / "one", 1, train, dtype, changes)
    (cut,) = in_group(folder / "cut", 1, train, dtype, changes | CUT)
    first, second = in_group(folder / "two", 2, train, dtype, changes)
    assert torch.equal(first, second)
    return [
        {
            "env": env_id,
            "dtype": str(dtype).removeprefix("torch."),
            "cg_iterations": cg[0],
            "value.cg_iterations": cg[1],
            "update": update + 1,
            "two processes": ((first - one)[update].norm() / one[update].norm()).item(),
            "two microbatches": ((cut - one)[update].norm() / one[update].norm()).item(),
        }
        for update in range(UPDATES)
    ]


def main(words: Sequence[str]) -> int:
    """Compare, and write the table."""
    rows = []
    for env_id in ("Pendulum-v1", "CartPole-v1"):
        for dtype in (torch.float64, torch.float32):
            for cg in ITERATIONS:
                with tempfile.TemporaryDirectory() as folder:
                    rows += compare(env_id, dtype, cg, Path(folder))
    write_rows(Path(words[0]), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
