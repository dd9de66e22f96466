"""Images: found, laid out, scaled and read; products with F against dense twins in float64."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from tests.environments import RandomEnvironment
from tests.helpers import run, untimed
from trpo.agents.agent import Agent, AgentConfig
from trpo.agents.config import (
    PIXELS,
    LearnerConfig,
    TrainerConfig,
    with_bounded_memory,
    with_image_defaults,
)
from trpo.agents.networks.encoders import Features, FlatEncoder, Preprocessor, encoder_for
from trpo.agents.networks.images import ImageConfig, image_in
from trpo.agents.networks.recurrence import RecurrenceConfig
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.observations import leaves, map_leaves
from trpo.agents.policies import Policy, PolicyConfig, make_policy
from trpo.agents.randomness import Randomness
from trpo.agents.runs import Run
from trpo.agents.storage.checkpoint_folder import read_checkpoint
from trpo.agents.trainer import Trainer
from trpo.agents.updates.trpo import States, TrpoConfig
from trpo.agents.value_function import ValueConfig
from trpo.envs.factory import EnvironmentConfig, make_vector_env
from trpo.fisher import fisher_vector_product
from trpo.linearization import jacobian, linearize, linearize_network
from trpo.parameters import flatten
from trpo.reference import dense_fisher
from trpo.scripts.__main__ import main
from trpo.validation import ConfigError


def bytes_of(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, shape, np.uint8)


ATARI, RGB, GRID = bytes_of(4, 84, 84), bytes_of(64, 64, 3), bytes_of(7, 7, 3)
FOUND = {
    "atari": (ATARI, "4×84×84, channels first, read by nature"),
    "colours": (bytes_of(210, 160, 3), "210×160×3, channels last, read by nature"),
    "grid": (GRID, "7×7×3, channels last, 11 codes, read by grid"),
    "grid of many channels": (bytes_of(7, 7, 20), "7×7×20, channels last, 11 codes, read by grid"),
    "many channels first": (bytes_of(20, 9, 9), "20×9×9, channels first, 11 codes, read by grid"),
    "few codes": (gym.spaces.Box(0, 4, (10, 10, 2), np.uint8), "channels last, 5 codes"),
    "a grid too wide for codes": (bytes_of(16, 16, 3), "16×16×3, channels last, read by grid"),
    "as many channels as cells": (gym.spaces.MultiBinary((10, 10, 10)), "channels last"),
    "frames of colours": (bytes_of(4, 96, 96, 3), "4×96×96×3, channels last, read by nature"),
    "grey": (bytes_of(84, 84), "84×84, without channels, read by nature"),
    "floats": (gym.spaces.Box(0, 1, (3, 48, 40)), "3×48×40, channels first, read by nature"),
}


@pytest.mark.parametrize("name", FOUND)
def test_images_are_found_and_told(name):
    leaf, told = FOUND[name]
    assert told in str(image_in(leaf, ImageConfig()))


@pytest.mark.parametrize(
    "leaf",
    [
        gym.spaces.Box(-np.inf, np.inf, (8, 8, 3)),
        gym.spaces.Box(-1, 1, (2, 3)),
        gym.spaces.Box(-1, 1, (2, 3, 4)),
        bytes_of(96),
        bytes_of(8, 8),
        gym.spaces.MultiDiscrete([3, 3]),
    ],
    ids=str,
)
def test_what_is_no_image_is_a_vector(leaf):
    assert image_in(leaf, ImageConfig()) is None
    assert image_in(ATARI, ImageConfig("flat")) is None


def test_what_was_asked_for_is_done_or_refused():
    unbounded = gym.spaces.Box(-np.inf, np.inf, (8, 8, 3))
    assert image_in(unbounded, ImageConfig("grid")).encoder == "grid"
    assert image_in(RGB, ImageConfig("impala")).encoder == "impala"
    assert image_in(GRID, ImageConfig(channels="first")) is None  # 7 × 3 is too small
    with pytest.raises(
        ConfigError, match=r"^encoder = 'nature' cannot read images \(7, 7, 3\): expected 36"
    ):
        image_in(GRID, ImageConfig("nature"))
    with pytest.raises(ConfigError, match=r"^encoder = 'grid': expected auto or flat"):
        encoder_for(gym.spaces.Box(-1, 1, (4,)), ImageConfig("grid"))


@pytest.mark.parametrize("name", FOUND)
def test_every_number_of_an_image_gets_to_its_place(name):
    leaf, _ = FOUND[name]
    image = image_in(leaf, ImageConfig())
    image = replace(image, codes=0)
    numbers = np.arange(2 * np.prod(leaf.shape)).reshape(2, *leaf.shape)
    laid_out = image.channels_first(torch.from_numpy(numbers)).numpy()
    frames = numbers if len(leaf.shape) == 4 else numbers[:, None]  # (2, frames, …)
    if len(leaf.shape) == 2:
        frames = frames[..., None]
    elif image.first:
        frames = np.moveaxis(frames, 2, -1)
    expected = [  # one channel of one frame after the other
        frames[:, frame, :, :, channel]
        for frame in range(frames.shape[1])
        for channel in range(frames.shape[-1])
    ]
    np.testing.assert_array_equal(laid_out, np.stack(expected, axis=1))


@pytest.mark.parametrize(
    ("leaf", "axes", "channels"),
    [
        (bytes_of(16, 17, 3), (0, 1, 2), 3),
        (bytes_of(3, 19, 19), (0, 2, 3), 3),
        (bytes_of(40, 36, 3), (0, 1, 2), 3),
        (gym.spaces.Box(1, 5, (7, 7, 3), np.uint8), (0, 1, 2), 15),
        (gym.spaces.Box(1, 5, (3, 9, 9), np.uint8), (0, 2, 3), 15),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [100, 10])
def test_channels_have_zero_mean_and_unit_deviation(leaf, axes, channels, size):
    preprocessor = Preprocessor(leaf, NormalizationConfig())
    numbers = torch.randint(1, 6, (size, *leaf.shape), dtype=torch.uint8)
    preprocessor.update(numbers)
    floats = preprocessor(numbers)
    (axis,) = {0, 1, 2, 3} - set(axes)
    assert floats.ndim == 4
    assert floats.shape[axis] == channels
    assert floats.mean(axes).abs().max() < 1e-4
    assert (floats.std(axes, correction=0) - 1).abs().max() < 1e-3


def codes_by_hand(image: np.ndarray, codes: int) -> np.ndarray:
    """(H, W, C) codes to (C·codes, H, W), one plane after the other."""
    return np.stack([
        image[:, :, channel] == code for channel in range(image.shape[2]) for code in range(codes)
    ])


@pytest.mark.parametrize("first", [False, True])
def test_each_code_of_a_grid_is_a_plane(first):
    leaf = bytes_of(3, 7, 7) if first else GRID
    preprocessor = Preprocessor(leaf, NormalizationConfig(observations=False))
    image = image_in(leaf, ImageConfig())
    numbers = np.random.default_rng(0).integers(0, 14, (5, *leaf.shape), np.uint8)
    planes = image.channels_first(preprocessor(torch.from_numpy(numbers)))
    expected = [codes_by_hand(np.moveaxis(n, 0, -1) if first else n, 11) for n in numbers]
    np.testing.assert_array_equal(planes.numpy(), np.stack(expected))
    assert planes.sum() == (numbers < 11).sum()  # what is none of the codes is on no plane


def agent_of(images, make_encoder=None) -> Agent:
    parts = PolicyConfig(hidden=(4,)), ValueConfig(hidden=(4,)), NormalizationConfig(), images
    config = AgentConfig(GRID, gym.spaces.Discrete(3), *parts, 0.99)
    return Agent(config, Randomness(0), make_encoder)


def test_an_agent_of_before_there_were_codes_is_read_with_numbers(tmp_path):
    before = agent_of(ImageConfig(grid_codes=0))
    before.save(tmp_path / "agent.safetensors")
    checkpoint = read_checkpoint(tmp_path / "agent.safetensors")
    assert isinstance(checkpoint.state["agent"], dict)
    earlier = checkpoint.state["agent"]
    earlier["pictures"] = earlier.pop("images")
    earlier["normalize"]["pictures"] = earlier["normalize"].pop("images")
    del earlier["pictures"]["grid_codes"]
    image = GRID.sample()
    read = Agent.of_checkpoint(checkpoint)
    np.testing.assert_array_equal(read.act(image)[0], before.act(image)[0])
    after = agent_of(ImageConfig()).description()["agent"]
    assert after["images"]["grid_codes"] is None


def test_ones_own_encoder_reads_numbers():
    agent = agent_of(ImageConfig(), FlatEncoder)
    assert agent.preprocessor(torch.zeros(2, *GRID.shape)).shape == (2, *GRID.shape)
    matrix = bytes_of(20, 18)
    assert Preprocessor(matrix, NormalizationConfig())(torch.zeros(2, 20, 18)).shape == (2, 20, 18)


def test_codes_are_read_as_asked():
    wide = bytes_of(20, 20, 3)
    assert image_in(wide, ImageConfig()).codes == 0
    assert image_in(wide, ImageConfig(grid_codes=7)).codes == 7
    assert image_in(gym.spaces.Box(0, 15, (9, 9, 3), np.int16), ImageConfig()).codes == 16
    assert image_in(bytes_of(9, 9, 3), ImageConfig("impala")).codes == 0
    endless = gym.spaces.Box(np.iinfo(np.int64).min, 5, (9, 9, 3), np.int64)
    assert image_in(endless, ImageConfig("grid")).codes == 0
    assert image_in(GRID, ImageConfig(grid_codes=0)).codes == 0
    assert image_in(ATARI, ImageConfig(grid_codes=7)).codes == 0
    assert image_in(gym.spaces.Box(0, 1, (10, 10, 4), np.uint8), ImageConfig()).codes == 0
    matrix = gym.spaces.Box(0, 255, (20, 18), np.uint8)
    image = image_in(matrix, ImageConfig(grid_codes=4))
    read = Preprocessor(matrix, NormalizationConfig(), ImageConfig(grid_codes=4))
    assert image.channels_first(read(torch.zeros(6, 20, 18))).shape == (6, 4, 20, 18)
    for refused in (-1, 1, 257):
        with pytest.raises(
            ConfigError, match=rf"^grid_codes = {refused} is out of range: expected"
        ):
            ImageConfig(grid_codes=refused)
    with pytest.raises(ConfigError, match=r"^grid_codes = 7: expected None or 0, as nothing"):
        encoder_for(ATARI, ImageConfig(grid_codes=7))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.uint64])
def test_codes_count_from_each_channels_least(dtype):
    least = np.zeros((7, 7, 2), dtype)
    least[..., 1] = -100 if dtype in {np.int8, np.int32} else 100
    leaf = gym.spaces.Box(least, least + dtype(4), dtype=dtype)
    read = Preprocessor(leaf, NormalizationConfig(observations=False))
    numbers = torch.from_numpy(np.stack([leaf.low + dtype(n) for n in range(5)]))
    planes = read(numbers)
    assert planes.shape == (5, 7, 7, 10)
    for n in range(5):
        assert planes[n].reshape(49, 2, 5).argmax(-1).eq(n).all()


def test_large_images_are_but_scaled_without_normalisation():
    leaf = bytes_of(36, 36, 1)
    preprocessor = Preprocessor(leaf, NormalizationConfig(images=False))
    pixels = torch.randint(0, 255, (10, *leaf.shape), dtype=torch.uint8)
    preprocessor.update(pixels)
    assert torch.equal(preprocessor(pixels), pixels / 255)
    assert not preprocessor.has_statistics


MIXED = gym.spaces.Dict({
    "camera": bytes_of(6, 6, 2),
    "rest": gym.spaces.Tuple((gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2))),
    "map": gym.spaces.Box(0, 1, (1, 5, 5)),
})
READ = {
    "nature": (bytes_of(1, 36, 36), "auto"),
    "impala": (bytes_of(9, 9, 1), "impala"),
    "grid": (bytes_of(6, 6, 2), "auto"),
    "mixed": (MIXED, "auto"),
}


def make_reader(name: str, size: int = 5) -> tuple[Policy, States]:
    """A policy over images, and states, in float64; biases and residual blocks away from 0."""
    space, encoder = READ[name]
    generator = torch.Generator().manual_seed(0)
    images = ImageConfig(encoder)
    preprocessor = Preprocessor(space, NormalizationConfig(observations=False), images)
    features = Features(preprocessor, encoder_for(space, images)(space, generator))
    actions = gym.spaces.Discrete(3)
    policy = make_policy(features, actions, PolicyConfig(hidden=(4,)), generator).double()
    with torch.no_grad():
        for parameter in policy.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += 0.5 * noise / max(1, parameter[0].numel()) ** 0.5
    space.seed(0)

    def batch(*samples):
        return torch.from_numpy(np.stack(samples)).double()

    return policy, States(map_leaves(batch, *(space.sample() for _ in range(size))))


def random_theta(policy: Policy, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = flatten(list(policy.parameters())).numel()
    return torch.randn(size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", READ)
def test_product_with_f_equals_its_dense_twin(name):
    """F v = Jᵀ M J v / B with J in full, and M of a softmax, diag(p) − p pᵀ, written out."""
    policy, states = make_reader(name)
    model = policy.model()
    logits = policy.network(states.observations)  # (B, E)
    J = jacobian(logits.flatten(), list(policy.parameters()))  # (B·E, P)
    assert (J != 0).double().mean() > 0.05
    p = logits.softmax(-1).detach()
    v = random_theta(policy)
    Jv = (J @ v).view_as(p)
    MJv = p * Jv - p * (p * Jv).sum(-1, keepdim=True)
    expected = J.T @ MJv.flatten() / len(p)
    torch.testing.assert_close(
        fisher_vector_product(model, [states])(v), expected, rtol=1e-9, atol=1e-12
    )


def test_product_with_f_equals_f_itself():
    policy, states = make_reader("grid")
    F, v = dense_fisher(policy.model(), [states]), random_theta(policy)
    torch.testing.assert_close(
        fisher_vector_product(policy.model(), [states])(v), F @ v, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", READ)
def test_dual_numbers_equal_autograds_graphs_in_threads_at_once(name):
    """One may leave torch's only level of dual numbers while the other is in it."""
    policy, states = make_reader(name)
    network = policy.network
    parameters = list(network.parameters())
    by_graphs = linearize((network(states.observations),), parameters)
    generator = torch.Generator().manual_seed(2)
    directions = [
        [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        for _ in range(20)
    ]

    def by_duals(v):
        whole = nn.Sequential(network.features, network.head)
        return linearize_network(whole, states.observations).jvp(v)[0]

    with ThreadPoolExecutor(4) as pool:
        for v, Jv in zip(directions, pool.map(by_duals, directions), strict=True):
            torch.testing.assert_close(Jv, by_graphs.jvp(v)[0], rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        assert forward_ad.unpack_dual(network(states.observations)).tangent is None


@pytest.mark.parametrize("name", READ)
def test_microbatches_equal_one_batch(name):
    policy, states = make_reader(name)
    cut = [
        States(map_leaves(lambda leaf, part=part: leaf[part], states.observations))
        for part in (slice(0, 2), slice(2, 3), slice(3, 5))
    ]
    v = random_theta(policy)
    whole, pieces = (fisher_vector_product(policy.model(), m)(v) for m in ([states], cut))
    torch.testing.assert_close(pieces, whole, rtol=1e-11, atol=1e-13)


def test_large_images_have_defaults_of_their_own_where_nothing_else_is_asked_for():
    def resolved(space: gym.Space, **changes: Any) -> tuple[Any, ...]:
        config = with_image_defaults(LearnerConfig(**changes), space)
        return config.trpo.fisher_stride, config.policy.hidden, config.value.fit

    by_default = 0, None, "auto"
    assert resolved(ATARI) == (8, (), "adam")
    assert resolved(GRID) == by_default
    assert resolved(ATARI, recurrence=RecurrenceConfig("gru")) == by_default
    asked = {"trpo": TrpoConfig(fisher_stride=1), "policy": PolicyConfig(hidden=(64, 64))}
    assert resolved(ATARI, **asked) == (1, (64, 64), "adam")
    assert resolved(ATARI, value=ValueConfig(fit="gauss-newton")) == (8, (), "gauss-newton")


def test_microbatches_of_images_are_small_and_of_vectors_as_they_were():
    config = LearnerConfig()
    assert with_bounded_memory(config, gym.spaces.Box(-1, 1, (400,))) == config
    size = with_bounded_memory(config, gym.spaces.Dict({"a": ATARI})).trainer.microbatch_size
    assert 0 < size * 4 * 84 * 84 <= PIXELS < (size + 1) * 4 * 84 * 84


def make_trainer(
    space: gym.Space, images: ImageConfig, microbatch_size: int, **value: Any
) -> Trainer:
    learner = LearnerConfig(
        trainer=TrainerConfig(
            total_steps=10**9,
            batch_size=40,
            checkpoint_interval=2,
            microbatch_size=microbatch_size,
        ),
        policy=PolicyConfig(hidden=(8,)),
        value=ValueConfig(hidden=(8,), newton_steps=1, cg_iterations=3, **value),
        trpo=TrpoConfig(cg_iterations=3),
        images=images,
    )
    config = EnvironmentConfig("gymnasium", num_envs=4)

    def make_env() -> gym.Env:
        # a space of its own: samples come from the space's generator
        return RandomEnvironment(copy.deepcopy(space), gym.spaces.Discrete(2))

    return Trainer(lambda seed: make_vector_env(make_env, config, seed), learner)


@pytest.mark.parametrize("name", READ)
def test_runs_stay_within_the_limit_and_are_resumed_bit_for_bit(name):
    space, encoder = READ[name]
    whole, first, second = (make_trainer(space, ImageConfig(encoder), 15) for _ in range(3))
    records = run(whole, 3)
    assert all(record.metrics["update/mean_kl"] <= 0.02 for record in records)
    assert any(record.metrics["update/accepted"] for record in records)
    for leaf, stored in zip(leaves(space), leaves(whole.rollout.observations), strict=True):
        assert stored.numpy().dtype == leaf.dtype  # bytes stay bytes
    run(first, 2)
    tensors, state = first.snapshot()
    second.restore({name: tensor.clone() for name, tensor in tensors.items()}, state)
    assert list(map(untimed, run(second, 1))) == list(map(untimed, records[2:]))
    for one, other in zip(*(t.agent.tensors().values() for t in (whole, second)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("fit", ["gauss-newton", "adam"])
def test_v_by_the_policys_features_leaves_them_as_the_policys_step_did(fit):
    """Else KL was not measured of the policy that there is."""
    trainer = make_trainer(GRID, ImageConfig(), 15, trunk="policy", fit=fit)
    policy, fit_value = trainer.agent.policy, trainer.fit_value
    head = trainer.agent.value_function.network.head
    before: list[list[torch.Tensor]] = []

    def watched(batch, generator):
        assert batch.observations.shape == (len(batch), policy.network.features.size)
        for network in (policy, head):
            before.append([parameter.clone() for parameter in network.parameters()])
        return fit_value(batch, generator)

    trainer.fit_value = watched
    at_first = [parameter.clone() for parameter in policy.parameters()]
    assert run(trainer, 1)[0].metrics["update/accepted"]
    stepped, headed = before
    assert not all(map(torch.equal, at_first, stepped))  # V was fitted after the step
    assert all(map(torch.equal, stepped, policy.parameters()))
    assert not all(map(torch.equal, headed, head.parameters()))
    own = {name for name in trainer.agent.tensors() if name.startswith("value_function.")}
    assert own == {f"value_function.network.head.{name}" for name, _ in head.named_parameters()}


def test_an_update_in_microbatches_is_that_of_one_batch():
    one, other = (make_trainer(MIXED, ImageConfig(), size) for size in (1000, 17))
    assert other.config.trainer.microbatch_size == 17
    kl = [run(trainer, 1)[0].metrics["update/mean_kl"] for trainer in (one, other)]
    assert kl[0] == pytest.approx(kl[1], rel=1e-3)


def test_training_tells_what_it_reads_and_by_what(tmp_path, capsys):
    words = ["train", "MiniGrid-Empty-5x5-v0", "--total-steps", "64", "--batch-size", "64"]
    assert main([*words, "--num-envs", "4", "--threads", "1", "--runs", str(tmp_path)]) == 0
    assert (
        "observation.image: 7×7×3, channels last, 11 codes, read by grid\n"
        in capsys.readouterr().out
    )


def test_a_run_keeps_its_environments_arguments(tmp_path):
    words = ["train", "MiniGrid-Empty-5x5-v0", "--total-steps", "40", "--batch-size", "40"]
    words += ["--num-envs", "4", "--threads", "1", "--runs", str(tmp_path), "--name", "run"]
    assert main([*words, "--env-kwargs", "size=6", "agent_view_size=5", "--time-limit", "9"]) == 0
    folder = tmp_path / "MiniGrid-Empty-5x5-v0" / "run"
    environment = Run.open(folder).config.environment
    assert environment["env_kwargs"] == {"size": 6, "agent_view_size": 5}
    assert environment["time_limit"] == 9
    assert main(["resume", str(folder), "--total-steps", "80"]) == 0
    assert main(["evaluate", str(folder), "--episodes", "4"]) == 0
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["mean_length"] <= 9
    assert Agent.load(folder).observation_space["image"].shape == (5, 5, 3)
