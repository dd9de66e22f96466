"""Several processes train as one process would, and all come to the same bits."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import tests.environments  # noqa: F401 registers environments
from tests.groups import in_group
from tests.helpers import Convolutional, make_trainer, parameters, run, untimed
from trpo.agents.networks.recurrence import RecurrenceConfig
from trpo.agents.policies import PolicyConfig
from trpo.agents.trainer import TrainingError
from trpo.agents.updates.ppo import PpoConfig
from trpo.agents.updates.trpo import TrpoConfig
from trpo.parameters import checksum
from trpo.validation import ConfigError

LEARNERS: dict[str, dict[str, Any]] = {
    "beta": {"env_id": "Pendulum-v1"},
    "gaussian": {
        "env_id": "Pendulum-v1",
        "policy": PolicyConfig(hidden=(8,), distribution="gaussian"),
    },
    "gaussian by state": {
        "env_id": "Pendulum-v1",
        "policy": PolicyConfig(hidden=(8,), log_std="state"),
    },
    "categorical": {"threads": 2},
    "convolutional": {
        "env_id": "TestCamera-v0",
        "engine": "gymnasium",
        "make_encoder": Convolutional,
        "policy": PolicyConfig(hidden=(8,)),
    },
    "recurrent": {"recurrence": RecurrenceConfig("gru", 5)},
    "by the policy's memory": {
        "recurrence": RecurrenceConfig("lstm", 5),
        "value": {"trunk": "policy"},
    },
    "every third state": {
        "trpo": TrpoConfig(fisher_stride=3),
        "value": {"fisher_stride": 2},
        "trainer": {"microbatch_size": 50},
    },
    "ppo": {
        "algorithm": "ppo",
        "ppo": PpoConfig(epochs=2),
        "value": {"fit": "adam", "epochs": 2},
    },
    # of four processes, at least one has none of a minibatch's samples
    "ppo by small minibatches": {
        "algorithm": "ppo",
        "ppo": PpoConfig(epochs=1, minibatch_size=3),
        "value": {"fit": "adam", "epochs": 1, "minibatch_size": 3},
    },
}
UPDATES = 3  # with fresh environments after two


def train_all() -> dict[str, tuple[torch.Tensor, list, list[int]]]:
    """This process's trainers: the agent's tensors in the end, records and checksums of updates."""
    torch.set_default_dtype(torch.float64)
    results = {}
    for name, changes in LEARNERS.items():
        trainer = make_trainer(**changes)
        records, digests = [], []
        for record in islice(trainer.updates(), UPDATES):
            records.append(untimed(record))
            digests.append(checksum(trainer.agent.tensors().values()))
        results[name] = parameters(trainer), records, digests
        trainer.close()
    return results


def test_four_processes_come_to_what_one_comes_to(tmp_path: Path):
    (alone,) = in_group(tmp_path / "1", 1, train_all)
    first, *others = in_group(tmp_path / "4", 4, train_all)
    for name, (theta, records, _) in alone.items():
        theirs, their_records, digests = first[name]
        assert all(other[name][1:] == (their_records, digests) for other in others), name
        assert torch.allclose(theirs, theta, rtol=1e-10, atol=1e-12), name
        for mine, other in zip(records, their_records, strict=True):
            assert mine[:3] == other[:3], name
            assert other[3] == pytest.approx(mine[3], rel=1e-8, abs=1e-12), name


def refused() -> tuple[str, str]:
    with pytest.raises(ConfigError) as refusal:
        make_trainer(trainer={"max_restarts": 1})
    trainer = make_trainer(threads=2)
    run(trainer, 1)
    with torch.no_grad():
        next(trainer.agent.value_function.parameters())[0, 0] += 1e-4 * dist.get_rank()
    with pytest.raises(TrainingError) as error:
        run(trainer, 1)
    return str(refusal.value), str(error.value)


def test_what_processes_refuse(tmp_path: Path):
    for restarts, apart in in_group(tmp_path / "2", 2, refused):
        assert restarts.startswith("max_restarts = 1 is for one process, not 2")
        who = "those of rank 1 are not those of rank 0"
        assert apart == f"parameters have come apart: {who}, after update 2"
