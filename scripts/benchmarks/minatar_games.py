"""MinAtar's games (Young & Tian 2019), registered when this module is imported.

`trpo train trpo.scripts.benchmarks.minatar_games:MinAtar/Breakout-v1`, with
`pip install -e '.[minatar]'`.
"""

from minatar.gym import register_envs

register_envs()
