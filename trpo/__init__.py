"""The mathematics of trust-region policy optimisation, free of agents and environments.

`README.md` in this folder names the function behind every equation; `DERIVATION.md` begins before
it, with the definition of return. The learners, the environments and the command line are
subpackages, `trpo.agents`, `trpo.envs` and `trpo.scripts`, in folders next to this one.
Nothing is imported here, so that `trpo --help` does not wait for torch.
"""
