"""Films: each is of its environment's first episode, whole."""

from pathlib import Path

import numpy as np
from moviepy import VideoFileClip

from trpo.envs.factory import EnvironmentConfig, make_recording_env


def frames(file: Path) -> int:
    with VideoFileClip(str(file)) as clip:
        return sum(1 for _ in clip.iter_frames())


def test_a_film_is_of_the_first_episode_alone(tmp_path):
    file = tmp_path / "film.mp4"
    env = make_recording_env("CartPole-v1", EnvironmentConfig(), [file], seed=0)
    env.reset(seed=0)
    random, ends = np.random.default_rng(0), []
    for step in range(1, 200):
        _, _, terminated, _, _ = env.step(random.integers(2, size=1))
        ends += [step] * bool(terminated[0])
    env.close()
    first, second, *_ = ends
    assert second - first - 1 != first
    assert frames(file) == first + 1  # the image that it begins with


def test_films_of_envpools_environments_are_of_different_seeds(tmp_path):
    files = [tmp_path / f"{number}.mp4" for number in range(2)]
    env = make_recording_env("highway-v0", EnvironmentConfig(), files, seed=0)
    observations, _ = env.reset(seed=0)
    env.close()
    assert (observations[0] != observations[1]).any()
