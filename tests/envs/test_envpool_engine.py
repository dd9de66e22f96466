"""EnvPool in groups: what environments do does not depend on how many there are."""

import envpool
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from trpo.agents.observations import leaves
from trpo.envs.choices import Choices
from trpo.envs.envpool_engine import EnvPoolVectorEnv
from trpo.envs.errors import EnvError
from trpo.envs.factory import EnvironmentConfig, make_recording_env, make_vector_env

ENVS, SEED = 8, 3


@pytest.mark.parametrize("env_id", ["Hopper-v5", "HalfCheetah-v5"])
def test_groups_do_what_the_whole_does(env_id):
    whole, together, alternating = (
        EnvPoolVectorEnv(env_id, ENVS, SEED, threads=2, groups=groups) for groups in (1, 2, 2)
    )
    observations, _ = whole.reset()
    for env in (together, alternating):
        np.testing.assert_array_equal(env.reset()[0], observations)
    random = np.random.default_rng(0)
    ended = 0
    for _ in range(150):
        actions = random.uniform(-1, 1, whole.action_space.shape)
        *expected, _ = whole.step(actions)
        for one, other in zip(expected, together.step(actions), strict=False):
            np.testing.assert_array_equal(one, other)
        for number in (1, 0):
            sent = actions[alternating.groups[number]].copy()
            alternating.send(number, sent)
            sent[:] = 0  # what was sent is sent
        for number, part in enumerate(alternating.groups):
            for one, other in zip(expected, alternating.receive(number), strict=False):
                np.testing.assert_array_equal(one[part], other)
        ended += expected[2].sum()
    assert ended > 0 or env_id == "HalfCheetah-v5"  # it never terminates


@pytest.mark.parametrize(
    ("env_id", "num_envs", "threads", "groups"),
    [
        ("Hopper-v5", 16, 2, [slice(0, 8), slice(8, 16)]),
        ("Hopper-v5", 6, 5, [slice(0, 3), slice(3, 6)]),
        ("Hopper-v5", 16, 1, [slice(0, 16)]),  # a second thread is not to be had
        ("Hopper-v5", 3, 2, [slice(0, 3)]),
        ("CartPole-v1", 16, 2, [slice(0, 16)]),  # steps take less time than the policy
        ("CheetahRun-v1", 4, 2, [slice(0, 4)]),  # observations are a Dict
    ],
)
def test_what_is_divided(env_id, num_envs, threads, groups):
    env = make_vector_env(env_id, EnvironmentConfig("envpool", num_envs), SEED, threads)
    assert env.groups == groups
    env.reset()
    actions = np.zeros((num_envs, *env.single_action_space.shape), np.float32)
    for number, part in enumerate(groups):
        env.send(number, actions[part])
    for number, part in enumerate(groups):
        observations, rewards, *_ = env.receive(number)
        for leaf, space in zip(
            leaves(observations), leaves(env.single_observation_space), strict=True
        ):
            assert leaf.shape == (part.stop - part.start, *space.shape)
        assert rewards.shape == (part.stop - part.start,)
    env.close()


@pytest.mark.parametrize(
    ("env_id", "space", "actions", "sent"),
    [
        ("RubiksCube-v0", MultiDiscrete([6, 1, 3]), [[5, 0, 2], [1, 0, 1]], [[5, 0, 2], [1, 0, 1]]),
        ("JobShop-v0", MultiDiscrete([21] * 10), np.eye(2, 10), np.eye(2, 10)),  # a mask a part
        ("Tetris-v0", Discrete(40), [13, 39], [[1, 3], [3, 9]]),  # a mask of all combinations
    ],
)
def test_a_box_of_integers_is_choices(env_id, space, actions, sent):
    """EnvPool has no MultiDiscrete: a Gaussian, rounded, would play Tetris."""
    ours = EnvPoolVectorEnv(env_id, 2, SEED, threads=1)
    theirs = envpool.make_gymnasium(env_id, num_envs=2, seed=SEED, num_threads=1)
    assert ours.single_action_space == space
    ours.reset()
    theirs.reset()
    one, other = ours.step(np.array(actions)), theirs.step(np.array(sent, np.int32))
    for mine, its in zip(leaves(one[:4]), leaves(other[:4]), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_choices_begin_where_their_box_does():
    choices = Choices(Box(np.array([1, -1]), np.array([3, 1]), dtype=np.int32), Discrete(2))
    assert choices.space() == MultiDiscrete([3, 3])
    assert choices(np.array([[0, 0], [2, 1]])).tolist() == [[1, -1], [3, 0]]


@pytest.mark.parametrize(("dtype", "end"), [(np.int8, 100), (np.int32, 2**31 - 1)])
def test_a_box_may_have_more_choices_than_its_dtype_has_positive_numbers(dtype, end):
    choices = Choices(Box(-end, end, (1,), dtype), Discrete(2))
    assert choices.space() == MultiDiscrete([2 * end + 1])
    assert choices(np.array([[0], [2 * end]])).tolist() == [[-end], [end]]


def test_what_a_task_lacks_is_told_in_a_line():
    with pytest.raises(EnvError, match="environment 'VizdoomCustom-v1' cannot be made"):
        make_vector_env("VizdoomCustom-v1", EnvironmentConfig("envpool", 2), SEED)


def test_a_film_without_masks_has_none(tmp_path):
    config = EnvironmentConfig("envpool", action_mask="none")
    env = make_recording_env("Tetris-v0", config, [tmp_path / "film.mp4"], SEED)
    assert "action_mask" not in env.single_observation_space.spaces
    assert env.single_action_space == MultiDiscrete([4, 10])
    env.close()


@pytest.mark.parametrize(("env_id", "players"), [("TicTacToe-v1", 2), ("SparrowMahjong-v1", 3)])
def test_a_game_of_several_players_is_refused(env_id, players):
    with pytest.raises(EnvError, match=f"'{env_id}' has {players} players: expected one that acts"):
        make_vector_env(env_id, EnvironmentConfig("envpool", 2), SEED)
