"""Checkpoints come back as they went; what is none is named and refused, and runs no code."""

import errno
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file

from trpo.agents.storage import checkpoint
from trpo.agents.storage.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

TENSORS = {
    "a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "b": torch.tensor([1e-300], dtype=torch.float64),
    "c": torch.arange(5).t(),
}
STATE = {"update": 3, "recent": [[0.1, 2]], "text": "δ"}


def test_round_trip_is_exact(tmp_path: Path):
    save_checkpoint(tmp_path / "update-000003.safetensors", TENSORS, STATE)
    read = load_checkpoint(tmp_path / "update-000003.safetensors")
    assert read.state == STATE
    tensors = read.tensors
    assert tensors.keys() == TENSORS.keys()
    assert all(
        torch.equal(tensors[name], TENSORS[name]) and tensors[name].dtype == TENSORS[name].dtype
        for name in TENSORS
    )
    assert [path.name for path in tmp_path.iterdir()] == ["update-000003.safetensors"]


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


def mutations(content: bytes) -> Iterator[bytes]:
    """Damage of every kind: bytes changed, cut off, added, blanked, in every part of the file."""
    header_end = 8 + int.from_bytes(content[:8], "little")
    random = Random(0)
    header = range(8, header_end, max(1, (header_end - 8) // 120))
    metadata = [
        content.index(word) + offset
        for word in (b"format", b"state", b"sha256", b"update")
        for offset in range(-2, 16)
    ]
    data = range(header_end, len(content))
    for position in [*range(8), *header, *metadata, *data]:
        for byte in {content[position] ^ 1 << random.randrange(8), 0, 0xFF} - {content[position]}:
            yield content[:position] + bytes([byte]) + content[position + 1 :]
    for length in {
        0,
        4,
        7,
        8,
        9,
        header_end - 1,
        header_end,
        len(content) - 1,
        *random.sample(range(len(content)), 30),
    }:
        yield content[:length]
        yield content[:length] + bytes(len(content) - length)
        yield content[length:] + content[:length] if length else content + b"\0"
    for _ in range(30):
        start = random.randrange(len(content) - 1)
        yield content[:start] + random.randbytes(random.randrange(1, 200)) + content[start:]


def test_no_damage_goes_unnoticed(tmp_path: Path):
    path = tmp_path / "update-000001.safetensors"
    save_checkpoint(path, TENSORS, STATE)
    content = path.read_bytes()
    count = 0
    for damaged in mutations(content):
        if damaged == content:
            continue
        count += 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"update-000001\.safetensors (is|has)") as caught:
            load_checkpoint(path)
        assert len(str(caught.value).splitlines()) == 1
    assert count >= 200


def test_a_header_of_a_million_brackets_is_refused(tmp_path: Path):
    path = tmp_path / "update-000001.safetensors"
    path.write_bytes((10**6).to_bytes(8, "little") + b"[" * 10**6)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch):
    path = tmp_path / "update-000001.safetensors"
    save_checkpoint(path, TENSORS, STATE)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*update-000001\.safetensors'"):
        save_checkpoint(path, TENSORS, {"update": 4})
    assert load_checkpoint(path).state == STATE
    assert list(tmp_path.iterdir()) == [path]


def test_format_2_is_read(tmp_path: Path, monkeypatch):
    path = tmp_path / "update-000001.safetensors"
    with monkeypatch.context() as earlier:
        earlier.setattr(checkpoint, "FORMAT", 2)
        save_checkpoint(path, TENSORS, STATE | {"at_boundary": True})
    assert load_checkpoint(path).state == STATE | {"at_resume_point": True}


def test_format_3_is_read(tmp_path: Path, monkeypatch):
    path = tmp_path / "update-000001.safetensors"
    with monkeypatch.context() as earlier:
        earlier.setattr(checkpoint, "FORMAT", 3)
        save_checkpoint(path, {"agent.policy.log_std": torch.ones(2)}, STATE)
    assert list(load_checkpoint(path).tensors) == ["agent.policy.family.log_std"]


def test_format_4_is_read(tmp_path: Path, monkeypatch):
    path = tmp_path / "update-000001.safetensors"
    shift = "normalizer.shift"
    with monkeypatch.context() as earlier:
        earlier.setattr(checkpoint, "FORMAT", 4)
        tensors = {f"agent.preprocessor._nested.{shift}": torch.ones(2)}
        save_checkpoint(path, tensors, STATE)
    assert list(load_checkpoint(path).tensors) == [f"agent.preprocessor.leaves.0.{shift}"]


def test_another_format_is_refused(tmp_path: Path):
    path = tmp_path / "update-000001.safetensors"
    save_file(TENSORS, path, metadata={"format": "1", "state": "{}"})
    with pytest.raises(CheckpointError, match="has format '1': this version reads 2 to 5"):
        load_checkpoint(path)
    save_file(TENSORS, path)
    with pytest.raises(CheckpointError, match="has format None"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_neither_written_nor_read(value, tmp_path: Path, monkeypatch):
    path = tmp_path / "update-000001.safetensors"
    save_checkpoint(path, TENSORS, STATE)
    with pytest.raises(CheckpointError, match="d is not finite"):
        save_checkpoint(path, TENSORS | {"d": torch.tensor([0.0, value])}, STATE)
    assert load_checkpoint(path).state == STATE
    monkeypatch.setattr("trpo.agents.storage.checkpoint._check_finite", lambda path, tensors: None)
    save_checkpoint(path, TENSORS | {"d": torch.tensor([0.0, value])}, STATE)  # as once was done
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="d is not finite"):
        load_checkpoint(path)


def test_a_state_that_is_no_object_is_refused(tmp_path: Path):
    path = tmp_path / "update-000001.safetensors"
    save_checkpoint(path, TENSORS, [STATE])
    with pytest.raises(CheckpointError, match="not a readable checkpoint: its state is no JSON ob"):
        load_checkpoint(path)


def test_a_tensor_of_a_type_without_arithmetic_is_refused(tmp_path: Path, monkeypatch):
    path = tmp_path / "update-000001.safetensors"
    with monkeypatch.context() as unchecked:
        unchecked.setattr(checkpoint, "_check_finite", lambda path, tensors: None)
        save_checkpoint(path, {"a": torch.zeros(3).to(torch.float8_e4m3fn)}, STATE)
    with pytest.raises(CheckpointError, match=r"not a readable checkpoint: .*not implemented"):
        load_checkpoint(path)


def test_a_link_and_a_pipe_are_not_read(tmp_path: Path):
    save_checkpoint(tmp_path / "elsewhere", TENSORS, STATE)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nothing"):
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            load_checkpoint(tmp_path / name)
