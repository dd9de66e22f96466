"""A run keeps its newest checkpoints and its best; a damaged one gives way to the one before."""

from pathlib import Path

import pytest

from tests.helpers import make_trainer, run
from trpo.agents.rollouts.rollout import Episode
from trpo.agents.storage.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from trpo.agents.storage.checkpoint_folder import CheckpointFolder


def trained(path: Path, updates: int, **loop) -> CheckpointFolder:
    """The checkpoints of a run, saved at every other update, its resume points, and at the end."""
    folder = CheckpointFolder(path)
    trainer = make_trainer(trainer=loop)
    for _ in range(updates):
        run(trainer, 1)
        if trainer.at_resume_point or trainer.update == updates:
            folder.save(trainer)
    return folder


def names(folder: CheckpointFolder) -> list[str]:
    return sorted(path.stem for path in folder.path.iterdir())


def test_the_newest_and_the_best_are_kept(tmp_path: Path):
    folder = trained(tmp_path, 9, keep_checkpoints=2)
    assert names(folder) == ["best", "update-000006", "update-000008", "update-000009"]
    assert folder.newest(pytest.fail).state["update"] == 9
    assert folder.newest(pytest.fail, resumable=True).state["update"] == 8
    best = load_checkpoint(tmp_path / "best.safetensors").state
    assert best["mean_return"] == pytest.approx(
        sum(value for value, _ in best["recent"]) / len(best["recent"])
    )


def test_the_best_is_not_the_newest_when_returns_fall(tmp_path: Path):
    trainer, folder = make_trainer(), CheckpointFolder(tmp_path)
    run(trainer, 2)
    folder.save(trainer)
    run(trainer, 2)
    trainer.episodes.add(100 * [Episode(-1.0, 1)])
    folder.save(trainer)
    assert load_checkpoint(tmp_path / "best.safetensors").state["update"] == 2


def test_a_run_that_ends_before_any_was_judged_has_its_last_as_the_best(tmp_path: Path):
    folder = trained(tmp_path, 3, total_steps=700, checkpoint_interval=6)
    assert names(folder) == ["best", "update-000003"]
    trainer = make_trainer(trainer={"checkpoint_interval": 6})  # for longer
    run(trainer, 6)
    trainer.episodes.add(100 * [Episode(-1.0, 1)])  # worse than what was judged by nothing
    folder.save(trainer)
    assert folder.best().state["update"] == 6
    assert folder.best().state["mean_return"] == -1


def test_a_run_killed_between_the_two_writes_does_not_miss_its_best(tmp_path: Path, monkeypatch):
    written = []
    monkeypatch.setattr(
        "trpo.agents.storage.checkpoint_folder.save_checkpoint",
        lambda path, tensors, state: written.append(path.stem),
    )
    trained(tmp_path, 2)
    assert written == ["best", "update-000002"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path: Path):
    folder = trained(tmp_path, 6)
    (tmp_path / "update-000006.safetensors").write_bytes(b"")
    warnings = []
    assert folder.newest(warnings.append).state["update"] == 4
    (warning,) = warnings
    assert "update-000006.safetensors is not a readable checkpoint" in warning
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="holds no checkpoint that can be used"):
        folder.newest(warnings.append)
    folder.save(make_trainer())  # over a damaged best one


@pytest.mark.parametrize("name", ["update-000006-copy", "update-6x"])
def test_files_of_other_names_are_left_alone(name, tmp_path: Path):
    (tmp_path / f"{name}.safetensors").touch()
    folder = trained(tmp_path, 2)
    assert folder.newest(pytest.fail).state["update"] == 2
    assert names(folder) == ["best", "update-000002", name]


def test_an_empty_folder_holds_none(tmp_path: Path):
    assert CheckpointFolder(tmp_path).newest(pytest.fail) is None


def test_later_checkpoints_stay_until_training_has_come_to_them(tmp_path: Path):
    """They are all that is left of a finished run that goes on from its last resume point."""
    folder = trained(tmp_path, 7)
    trainer = make_trainer()
    run(trainer, 5)
    folder.save(trainer)  # interrupted in between
    later = [f"update-00000{number}" for number in (2, 4, 5, 6, 7)]
    assert names(folder) == ["best", *later]
    run(trainer, 3)
    folder.save(trainer)
    later = [f"update-00000{number}" for number in (2, 4, 6, 8)]
    assert names(folder) == ["best", *later]


COUNTS = {"update": 3, "steps": 9, "non_finite": 0, "restarts": 0, "episodes": 1}
STATE = COUNTS | {"at_resume_point": True, "recent": [[0.1, 2]]}
STATES = {
    "no object": [],
    "empty": {},
    "no number": STATE | {"update": "3"},
    "a negative number": STATE | {"steps": -1},
    "no episodes": STATE | {"recent": [[0.1]]},
    "null": STATE | {"at_resume_point": None},
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_does_not_fit_is_refused(name, tmp_path: Path):
    save_checkpoint(tmp_path / "update-000001.safetensors", {}, STATES[name])
    warnings = []
    with pytest.raises(CheckpointError, match="holds no checkpoint that can be used"):
        CheckpointFolder(tmp_path).newest(warnings.append)
    assert "not a readable checkpoint" in warnings[0]
