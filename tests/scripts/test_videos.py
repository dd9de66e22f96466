"""Videos on a schedule: in the run's folder and in TensorBoard; training is what it is without."""

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tests.environments  # noqa: F401 registers environments
from tests.processes import differences
from trpo.agents.runs import Run
from trpo.agents.runs.board import EPISODE
from trpo.scripts import __main__

SMALL = ["--batch-size=256", "--num-envs=8", "--hidden=8", "--threads=1", "--checkpoint-interval=2"]


def images(folder):
    board = EventAccumulator(str(folder), size_guidance={"images": 0})
    board.Reload()
    return board.Images(EPISODE)


def test_videos_are_made_as_often_as_asked_and_training_is_the_same(tmp_path):
    for name, more in (("filmed", ["--video-every=512"]), ("plain", [])):
        words = [*SMALL, "--runs", str(tmp_path), "--name", name, "--total-steps=1000", *more]
        assert __main__.main(["train", "CartPole-v1", *words]) == 0
    folder, plain = tmp_path / "CartPole-v1" / "filmed", tmp_path / "CartPole-v1" / "plain"
    assert not differences(folder, plain)
    assert __main__.main(["resume", str(folder), "--total-steps=1600"]) == 0
    taken = [record.steps for record in Run.open(folder).records()]
    due = [
        now for before, now in zip([0, *taken], taken, strict=False) if now // 512 > before // 512
    ]
    assert len(due) >= 3
    assert [image.step for image in images(folder)] == due
    files = sorted((folder / "videos").iterdir())
    assert [int(file.stem.removeprefix("step-")) for file in files if file.suffix == ".mp4"] == due
    with Image.open(files[0]) as animation:
        assert animation.format == "GIF"
        assert animation.n_frames > 5
        assert len({animation.seek(n) or animation.tobytes() for n in range(5)}) == 5  # it moves


@pytest.mark.parametrize(
    ("env_id", "said"),
    [
        ("TestUndrawn-v0", "cannot be filmed"),
        ("CartPole-v1", "video_every = -1 is out of range: expected an integer ≥ 0"),
    ],
)
def test_what_cannot_be_filmed_says_so_before_training(env_id, said, tmp_path, capsys):
    every = "-1" if env_id == "CartPole-v1" else "100"
    words = [*SMALL, "--runs", str(tmp_path), f"--video-every={every}"]
    assert __main__.main(["train", env_id, *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
