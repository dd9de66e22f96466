"""`trpo envs` lists what there is, and no more."""

import gymnasium as gym
import numpy as np

from trpo.envs.catalogue import catalogue
from trpo.envs.envpool_engine import envpool_ids
from trpo.scripts.__main__ import main
from trpo.scripts.envs import in_brief


def test_every_id_is_in_the_catalogue_once_an_engine():
    entries = catalogue()
    for engine, ids in (("envpool", envpool_ids()), ("gymnasium", gym.registry.keys())):
        assert sorted(e.env_id for e in entries if e.engine == engine) == sorted(ids)
    assert all(entry.family for entry in entries)


def test_families_are_counted(capsys):
    assert main(["envs"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    counts = {(row[0], row[1]): int(row[2]) for row in rows[1:] if row[2:3] and row[2].isdigit()}
    assert counts["atari", "envpool"] > 50
    assert sum(n for (_, engine), n in counts.items() if engine == "envpool") == len(envpool_ids())


def test_ids_of_a_word_have_their_spaces(capsys):
    assert main(["envs", "frozenlake"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for engine in ("envpool", "gymnasium"):
        assert ["FrozenLake-v1", "toy_text", engine, "Discrete(16)", "Discrete(4)"] in rows


def test_an_unknown_word_has_near_ids(capsys):
    assert main(["envs", "Pongg"]) == 2
    assert capsys.readouterr().err == "trpo: unknown environment 'Pongg': did you mean Pong-v5?\n"


def test_spaces_in_brief():
    image = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    space = gym.spaces.Dict({"a": image, "b": gym.spaces.Tuple((gym.spaces.Discrete(3),))})
    assert in_brief(space) == "Dict(a: Box(4×84×84 uint8), b: Tuple(Discrete(3)))"
