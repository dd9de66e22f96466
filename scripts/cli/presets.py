"""Tuned settings by environment."""

PRESETS: dict[str, str] = {
    "CartPole-v1": "--total-steps 100000 --gae-lambda 1 --step-size 15",
    "Acrobot-v1": "--total-steps 300000 --anneal-to 0.1",
    "Pendulum-v1": (
        "--total-steps 300000 --num-envs 16 --gamma 0.95 --gae-lambda 0.9 --max-kl 0.01 "
        "--distribution gaussian"
    ),
    "LunarLander-v3": "--total-steps 1000000 --anneal-to 0.1",
    "InvertedPendulum-v5": (
        "--total-steps 300000 --gamma 0.999 --gae-lambda 0.9 --anneal-to 0.1 "
        "--distribution gaussian"
    ),
    "InvertedDoublePendulum-v5": "--total-steps 1000000 --step-size 1 --anneal-to 0.1 --memory 0",
    "HalfCheetah-v5": "--total-steps 1000000",
    "Hopper-v5": "--total-steps 1000000 --gamma 0.995 --distribution gaussian",
    "Ant-v5": "--total-steps 1000000 --max-kl 0.08 --step-size 12 --value.damping 0.1",
    "Swimmer-v5": (
        "--total-steps 1000000 --num-envs 4 --gamma 0.9999 --gae-lambda 0.99 --step-size 20 "
        "--distribution gaussian"
    ),
    "Reacher-v5": "--total-steps 1000000 --gamma 0.95 --initial-concentration 3.2",
    "Pusher-v5": "--total-steps 1000000",
    "Humanoid-v5": "--total-steps 1000000 --batch-size 512 --num-envs 8",
    "MountainCarContinuous-v0": (
        "--total-steps 100000 --gamma 0.999 --gae-lambda 0.98 --initial-log-std 0"
    ),
    "LunarLanderContinuous-v3": (
        "--total-steps 300000 --gamma 0.999 --gae-lambda 0.98 --batch-size 1024 --num-envs 16 "
        "--step-size inf"
    ),
    "BipedalWalker-v3": (
        "--total-steps 2000000 --distribution gaussian --entropy-bonus 0.002 --anneal-to 0.1"
    ),
}
"""Environment id to options of `trpo train`; every other environment gets the options' own
defaults."""
