"""What a run remembers of its episodes."""

from trpo.agents.rollouts.episodes import EpisodeStatistics
from trpo.agents.rollouts.rollout import Episode


def test_all_episodes_are_counted_and_the_last_100_are_in_the_mean():
    statistics = EpisodeStatistics()
    assert statistics.add([]) == {"episode/count": 0.0}
    assert statistics.mean_return is None
    statistics.add([Episode(float(n), 1) for n in range(150)])
    assert statistics.add([Episode(300.0, 7), Episode(0.0, 9)]) == {
        "episode/count": 152.0,
        "episode/return": 150.0,
        "episode/length": 8.0,
        "episode/return_100": (sum(range(52, 150)) + 300) / 100,
    }
