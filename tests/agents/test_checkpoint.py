"""Checkpoints come back as they went; what is no checkpoint is named and refused, and runs no code."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from agents.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint

TENSORS = {"a": torch.randn(3, 4), "b": torch.tensor([1e-300], dtype=torch.float64), "c": torch.arange(5).t()}
STATE = {"update": 3, "recent": [[0.1, 2]], "text": "δ"}


def test_round_trip_is_exact(tmp_path: Path):
    save_checkpoint(tmp_path / "update-000003.safetensors", TENSORS, STATE)
    tensors, state = load_checkpoint(tmp_path / "update-000003.safetensors")
    assert state == STATE
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) and tensors[name].dtype == TENSORS[name].dtype for name in TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == ["update-000003.safetensors"]


def test_latest(tmp_path: Path):
    for update in (2, 10, 9):
        save_checkpoint(tmp_path / f"update-{update:06d}.safetensors", TENSORS, {"update": update})
    assert load_checkpoint(latest_checkpoint(tmp_path))[1] == {"update": 10}
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        latest_checkpoint(tmp_path / "elsewhere")


class Evil:
    def __reduce__(self):
        return (Path.write_text, (Path(__file__).parent / "ran", "code ran"))


def test_a_pickle_is_refused_and_runs_no_code(tmp_path: Path):
    path = tmp_path / "update-000001.safetensors"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)
    torch.save({"weights": Evil()}, path)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not (Path(__file__).parent / "ran").exists()


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_named(tmp_path: Path, keep: int):
    path = tmp_path / "update-000001.safetensors"
    save_checkpoint(path, TENSORS, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"update-000001\.safetensors is not a readable checkpoint"):
        load_checkpoint(path)


def test_another_format_is_refused(tmp_path: Path):
    path = tmp_path / "update-000001.safetensors"
    save_file(TENSORS, path, metadata={"format": "2", "state": "{}"})
    with pytest.raises(CheckpointError, match="has format '2': this version reads format 1"):
        load_checkpoint(path)
    save_file(TENSORS, path)
    with pytest.raises(CheckpointError, match="has format None"):
        load_checkpoint(path)
