"""Puts known faults of other implementations into a copy of the code, one at a time, and sees whether a test fails.

`make faults` runs it. A fault that no test notices is printed, and the exit code is 1.
"""

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Fault:
    """A text to replace, and the tests that must notice."""

    name: str
    file: str
    sound: str
    faulty: str
    tests: str


FAULTS = [
    Fault(
        "line search never checks KL",
        "trpo/line_search.py",
        "if improved and candidate.mean_kl <= max_kl and candidate.mean_kl < math.inf:",
        "if improved:",
        "tests/trpo",
    ),
    Fault(
        "line search never checks the surrogate",
        "trpo/line_search.py",
        "if improved and",
        "if",
        "tests/trpo",
    ),
    Fault(
        "line search's result is ignored",
        "trpo/line_search.py",
        "        assign(parameters, theta_old)\n    return",
        "    return",
        "tests/trpo",
    ),
    Fault(
        "parameters are restored only nearly",
        "trpo/line_search.py",
        "        assign(parameters, theta_old)\n    return",
        "        assign(parameters, theta_old + full_step - full_step)\n    return",
        "tests/trpo",
    ),
    Fault(
        "NaN when xᵀFx ≤ 0",
        "trpo/conjugate_gradient.py",
        "if not 0 < pAp < math.inf:",
        "if False:",
        "tests/trpo",
    ),
    Fault(
        "huge gradients overflow",
        "trpo/conjugate_gradient.py",
        "unit_b = b / norm if norm > 0 else b",
        "norm, unit_b = 1.0, b",
        "tests/trpo",
    ),
    Fault(
        "zero gradient is not noticed",
        "trpo/report.py",
        "if norm(g) == 0",
        "if False",
        "tests/trpo",
    ),
    Fault(
        "advantages of zero variance are divided by zero",
        "agents/trainer.py",
        "(advantages.std() + 1e-8)",
        "advantages.std()",
        "tests/agents/test_trainer.py",
    ),
    Fault(
        "log_std is left out of the parameters",
        "agents/policies.py",
        "Model(list(self.parameters()), outputs",
        "Model(list(self.network.parameters()), outputs",
        "tests/trpo",
    ),
    Fault(
        "KL in the other direction",
        "trpo/measurement.py",
        "kl, reverse_kl = kl_divergence(old, new), kl_divergence(new, old)",
        "reverse_kl, kl = kl_divergence(old, new), kl_divergence(new, old)",
        "tests/trpo",
    ),
    Fault(
        "damping is added to the parameters, not to v",
        "trpo/conjugate_gradient.py",
        "product(p) + damping * p",
        "product(p) + damping * torch.ones_like(p)",
        "tests/trpo",
    ),
    Fault(
        "Fisher subsample is redrawn between iterations",
        "trpo/trust_region.py",
        "product = fisher_vector_product(model, microbatches, reducer)",
        "from torch import randperm; b = microbatches[0]; "
        "product = lambda v: fisher_vector_product(model, [b.rows(randperm(len(b))[:9])])(v)",
        "tests/trpo",
    ),
    Fault(
        "Fisher subsample is not the states asked for",
        "trpo/trust_region.py",
        "fisher_microbatches or microbatches",
        "microbatches",
        "tests/trpo",
    ),
    Fault(
        "a closed form of M is not that of its family",
        "agents/policies.py",
        "2 * len(mean) * u[1]",
        "len(mean) * u[1]",
        "tests/trpo",
    ),
    Fault(
        "both sides of KL move",
        "trpo/fisher.py",
        "kl_divergence(family(*eta_0), family(*eta_1))",
        "kl_divergence(family(*eta_1), family(*eta_1))",
        "tests/trpo",
    ),
    Fault(
        "π_old moves with π_θ when KL is measured",
        "trpo/measurement.py",
        "tuple(e.clone() for e in model.linearization_at(microbatch).eta)",
        "model.linearization_at(microbatch).eta",
        "tests/trpo",
    ),
    Fault(
        "the gradient's sign",
        "trpo/trust_region.py",
        "full_step = math.sqrt(",
        "full_step = -math.sqrt(",
        "tests/trpo",
    ),
    Fault(
        "the step is not scaled to the trust region",
        "trpo/trust_region.py",
        "full_step = math.sqrt(2 * config.max_kl / solution.quadratic_form) * solution.x",
        "full_step = solution.x",
        "tests/trpo",
    ),
    Fault(
        "KL is averaged over action dimensions",
        "agents/policies.py",
        "return Independent(Normal(mean, log_std.exp(), validate_args=False), 1, validate_args=False)",
        "return Independent(Normal(mean / 3**0.5, log_std.exp(), validate_args=False), 1, validate_args=False)",
        "tests/trpo",
    ),
    Fault(
        "truncation is treated as termination",
        "agents/advantages.py",
        "values[1:] * ~terminated",
        "values[1:] * ~(terminated | truncated)",
        "tests/agents/test_advantages.py",
    ),
    Fault(
        "termination is treated as truncation",
        "agents/advantages.py",
        "gamma * values[1:] * ~terminated",
        "gamma * values[1:]",
        "tests/agents/test_advantages.py",
    ),
    Fault(
        "bootstrap from V(s_t)",
        "agents/advantages.py",
        "gamma * values[1:]",
        "gamma * values[:-1]",
        "tests/agents/test_advantages.py",
    ),
    Fault(
        "the sum runs on past an episode's end",
        "agents/advantages.py",
        "(~(terminated | truncated))",
        "(~terminated)",
        "tests/agents/test_advantages.py",
    ),
    Fault(
        "reset steps are in the batch",
        "agents/rollout.py",
        "np.logical_not(done[:-1], out=valid[1:])",
        "valid[1:] = True",
        "tests/agents",
    ),
    Fault(
        "statistics are updated before the policy's update",
        "agents/trainer.py",
        "        values, batch = self._make_batch()",
        "        agent.observation_normalizer.update(rollout.raw_observations[:-1][rollout.valid])\n"
        "        values, batch = self._make_batch()",
        "tests/agents/test_trainer.py",
    ),
    Fault(
        "statistics are not saved with the policy",
        "agents/normalization.py",
        'self.register_buffer("shift", torch.zeros(size))',
        'self.register_buffer("shift", torch.zeros(size), persistent=False)',
        "tests/agents",
    ),
    Fault(
        "resume loses counters",
        "agents/trainer.py",
        'self.update, self.steps, self.episodes = state["update"], state["steps"], state["episodes"]',
        "pass",
        "tests/agents/test_trainer.py",
    ),
    Fault(
        "resume loses Adam's moments",
        "agents/trainer.py",
        'self.fit_value.load_state_tensors(with_prefix(tensors, "value_fit."))',
        "pass",
        "tests/agents/test_trainer.py",
    ),
    Fault(
        "a checkpoint's checksum is not checked",
        "agents/runs/checkpoint.py",
        "    if (\n        hashlib.sha256(",
        "    if False and (\n        hashlib.sha256(",
        "tests/agents/runs/test_checkpoint.py",
    ),
    Fault(
        "a checkpoint is written in place",
        "agents/runs/files.py",
        'draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")',
        "draft = path",
        "tests/agents/runs/test_checkpoint.py",
    ),
    Fault(
        "resume goes on from a checkpoint that is no boundary",
        "agents/runs/checkpoint_folder.py",
        'if checkpoint.state["at_boundary"] or not resumable:',
        "if True:",
        "tests/agents/runs/test_checkpoint_folder.py tests/scripts/test_resume.py",
    ),
    Fault(
        "rows after the checkpoint stay in the table",
        "agents/runs/metrics_table.py",
        "        self._later = [old for old in self._later if old.update > record.update]\n",
        "",
        "tests/scripts/test_resume.py",
    ),
    Fault(
        "resume leaves a gap in TensorBoard",
        "agents/runs/telemetry.py",
        "            for record in earlier:\n                self._add_scalars(record)\n",
        "",
        "tests/scripts/test_resume.py",
    ),
    Fault(
        "two processes train one run",
        "agents/runs/lock.py",
        "fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "tests/scripts/test_resume.py",
    ),
    Fault(
        "an environment that hangs is waited for",
        "envs/time_limit.py",
        "        if ticks > TICKS:",
        "        if False:",
        "tests/envs/test_time_limit.py",
    ),
    Fault(
        "the time between steps counts as a hang",
        "envs/time_limit.py",
        "if self._calls == seen and seen % 2 else 0",
        "if self._calls == seen else 0",
        "tests/envs/test_time_limit.py",
    ),
    Fault(
        "environments that died restart from the seed that killed them",
        "agents/trainer.py",
        "self.randomness.integer(Component.RESTART, self.restarts)",
        "self.randomness.integer(Component.ENVIRONMENT, self.update)",
        "tests/agents/test_bad_worlds.py",
    ),
    Fault(
        "resume loses the number of restarts",
        "agents/trainer.py",
        'self.non_finite, self.restarts = state["non_finite"], state["restarts"]',
        'self.non_finite = state["non_finite"]',
        "tests/agents/test_bad_worlds.py",
    ),
    Fault(
        "environments that die restart once more than is allowed",
        "agents/trainer.py",
        "allowed = self.restarts < self.config.trainer.max_restarts",
        "allowed = self.restarts <= self.config.trainer.max_restarts",
        "tests/agents/test_bad_worlds.py",
    ),
    Fault(
        "environments restart whatever they did",
        "agents/trainer.py",
        "allowed and isinstance(error.__cause__, ChildProcessError)",
        "allowed",
        "tests/agents/test_bad_worlds.py",
    ),
    Fault(
        "a world that changes its spaces is trained on",
        "agents/trainer.py",
        "if spaces != (self.spaces or spaces):",
        "if False:",
        "tests/agents/test_bad_worlds.py",
    ),
    Fault(
        "infinite observations are trained on",
        "agents/trainer.py",
        "if not numbers.isfinite().all():",
        "if numbers.isnan().any():",
        "tests/agents/test_bad_worlds.py",
    ),
    Fault(
        "train --resume goes on with another configuration",
        "scripts/train.py",
        "if found := first_difference(to_json(begun), to_json(asked)):",
        "if found := None:",
        "tests/scripts/test_resume.py",
    ),
    Fault(
        "updates that are not finite go on for ever",
        "agents/trainer.py",
        "if self.non_finite >= self.config.trainer.max_non_finite:",
        "if False:",
        "tests/agents/test_bad_worlds.py",
    ),
    Fault(
        "randomness is global",
        "agents/randomness.py",
        "torch.Generator().manual_seed(self.integer(component, update))",
        "torch.default_generator",
        "tests/agents",
    ),
    Fault(
        "TensorBoard counts updates, not environment steps",
        "agents/runs/telemetry.py",
        "add(Summary(value=values), record.steps)",
        "add(Summary(value=values), record.update)",
        "tests/scripts/test_commands.py",
    ),
    Fault(
        "checkpoints load by pickle",
        "agents/runs/checkpoint.py",
        "        content = read_file(path)\n",
        "        __import__('torch').load(path, weights_only=False)\n        content = read_file(path)\n",
        "tests/agents/runs/test_checkpoint.py",
    ),
    Fault(
        "metrics are NaN when no episode ends",
        "agents/trainer.py",
        "        if episodes:\n",
        '        metrics["episode/return"] = float("nan")\n        if episodes:\n',
        "tests/agents/test_trainer.py",
    ),
    Fault(
        "scaled rewards are reported as returns",
        "agents/rollout.py",
        "self.returns += rewards[start:end].sum(axis=0, dtype=np.float64)",
        "self.returns += rewards[start:end].sum(axis=0, dtype=np.float64) / 100",
        "tests/agents",
    ),
    Fault(
        "actions are clipped before their log-probability",
        "agents/rollout.py",
        "policy.act(output, noise[number][t])",
        "policy.act(output, noise[number][t]).clamp(-2, 2)",
        "tests/agents/test_rollout.py",
    ),
    Fault(
        "actions are not clipped",
        "envs/door.py",
        "actions.clip(*self._bounds) if self._bounds else",
        "actions if self._bounds else",
        "tests/envs",
    ),
    Fault(
        "short episodes are counted more often in evaluation",
        "agents/evaluation.py",
        "returns += np.where(playing, rewards, 0.0)",
        "returns += rewards",
        "tests/agents/test_evaluation.py",
    ),
    Fault(
        "the policy gradient is descended",
        "agents/vpg.py",
        "unflatten(-g,",
        "unflatten(g,",
        "tests/agents/test_update_rules.py",
    ),
    Fault(
        "PPO clips where it should not: the ratio's bound is no longer pessimistic",
        "agents/ppo.py",
        "torch.minimum(ratio * batch.advantages, clipped * batch.advantages)",
        "clipped * batch.advantages",
        "tests/agents/test_update_rules.py",
    ),
    Fault(
        "the natural gradient's √(2δ/xᵀFx) is missing",
        "agents/npg.py",
        "math.sqrt(2 * config.target_kl / solution.quadratic_form)",
        "config.target_kl",
        "tests/agents/test_update_rules.py",
    ),
    Fault(
        "KL of a method without a limit is measured from the new policy",
        "agents/update_rule.py",
        "            update()\n",
        "            update()\n            measure = measure_from_here("
        "self.model, importance_weighted_advantage, microbatches)\n",
        "tests/agents/test_update_rules.py",
    ),
    Fault(
        "resume loses the policy optimizer's moments",
        "agents/trainer.py",
        'self.update_policy.load_state_tensors(with_prefix(tensors, "update_rule."))',
        "pass",
        "tests/agents/test_trainer.py",
    ),
    Fault(
        "a run that never learned counts as collapsed",
        "scripts/comparison/collapse.py",
        "if best - untrained < LEARNED * scale or scale <= 0:",
        "if False:",
        "tests/scripts/test_collapse.py",
    ),
    Fault(
        "every microbatch's linearization is in memory at once",
        "trpo/measurement.py",
        "lambda microbatch: tuple(e.clone() for e in model.linearization_at(microbatch).eta),\n"
        "        microbatches,",
        "lambda linearization: tuple(e.clone() for e in linearization.eta),\n"
        "        reducer.map(model.linearization_at, microbatches),",
        "tests/trpo/test_reducer.py",
    ),
    Fault(
        "an exception within the line search leaves θ moved",
        "trpo/parameters.py",
        "        assign(parameters, theta_old)\n        raise",
        "        raise",
        "tests/trpo/test_line_search.py",
    ),
    Fault(
        "an interrupt within the line search leaves θ moved",
        "trpo/parameters.py",
        "except BaseException:",
        "except Exception:",
        "tests/trpo/test_line_search.py",
    ),
    Fault(
        "KL is infinite where a probability underflows",
        "trpo/divergence.py",
        "return probs * (log_p - log_q)",
        "return probs * (log_p - log_q.exp().log())",
        "tests/trpo/test_divergence.py",
    ),
    Fault(
        "KL is measured in the network's dtype",
        "trpo/measurement.py",
        "(e.double() for e in eta)",
        "(e for e in eta)",
        "tests/trpo/test_divergence.py",
    ),
    Fault(
        "the value function's limit is not measured",
        "trpo/gauss_newton.py",
        "full_step, measure, before, max_kl,",
        "full_step, measure, before, math.inf,",
        "tests/trpo/test_gauss_newton.py",
    ),
    Fault(
        "both parts of the environments have the same seeds",
        "envs/envpool_engine.py",
        "seed=seed + part.start",
        "seed=seed",
        "tests/envs/test_envpool_engine.py",
    ),
    Fault(
        "a part is given the other part's actions",
        "agents/rollout.py",
        "self.env.send(number, action.numpy())",
        "self.env.send(len(self.env.parts) - 1 - number, action.numpy())",
        "tests/agents/test_rollout.py",
    ),
    Fault(
        "the time limit overlooks a part",
        "envs/time_limit.py",
        "        with self._watched():\n            return super().receive(number)",
        "        return super().receive(number)",
        "tests/envs/test_time_limit.py",
    ),
    Fault(
        "the slope of tanh is wrong",
        "agents/networks.py",
        "1 - x.square()",
        "1 - x",
        "tests/agents/test_networks.py",
    ),
    Fault(
        "audit overlooks NaN",
        "scripts/audit.py",
        "~(kl <= max_kl)",
        "kl > max_kl",
        "tests/scripts/test_audit.py",
    ),
]


def is_noticed(fault: Fault) -> bool:
    """Whether the tests fail with the fault in."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(
            HOME,
            copy,
            ignore=shutil.ignore_patterns(".git", ".venv", "runs", "*.egg-info", "__pycache__"),
        )
        path = copy / fault.file
        text = path.read_text(encoding="utf-8")
        if fault.sound not in text:
            raise ValueError(f"{fault.name}: {fault.file} no longer reads {fault.sound!r}")
        path.write_text(text.replace(fault.sound, fault.faulty, 1), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            *fault.tests.split(),
        ]
        result = subprocess.run(
            command,
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(copy)},
        )
        if result.returncode not in {0, 1}:
            raise RuntimeError(f"{fault.name}: {result.stdout}{result.stderr}")
        return result.returncode == 1


def main() -> int:
    """Try every fault whose name holds the words given; first, that the tests pass in a copy without a fault."""
    nothing = Fault(
        "none",
        "README.md",
        "",
        "",
        "tests/trpo tests/agents tests/envs tests/scripts/test_commands.py",
    )
    if is_noticed(nothing):
        raise RuntimeError("the tests fail without any fault")
    words = " ".join(sys.argv[1:])
    faults = [fault for fault in FAULTS if words in fault.name]
    with ThreadPoolExecutor(2) as pool:
        noticed = list(pool.map(is_noticed, faults))
    for fault, seen in zip(faults, noticed, strict=True):
        print("noticed   " if seen else "UNNOTICED ", fault.name)
    print(f"{sum(noticed)} of {len(faults)} faults noticed")
    return 0 if all(noticed) else 1


if __name__ == "__main__":
    sys.exit(main())
