"""Environments: Gymnasium's and EnvPool's vector environments, made in one way."""

from trpo.envs.factory import EnvironmentConfig, make_vector_env

__all__ = ["EnvironmentConfig", "make_vector_env"]
