"""`trpo benchmark fisher`: time and memory of a Fisher-vector product and of what it replaces."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import Tensor

from trpo.agents.networks.encoders import flat_features
from trpo.agents.policies import PolicyConfig, make_policy
from trpo.agents.storage.files import replace_file
from trpo.agents.updates.batch import Batch
from trpo.agents.updates.update_rule import importance_weighted_advantage
from trpo.fisher import fisher_vector_product
from trpo.model import surrogate_gradient
from trpo.parameters import flatten
from trpo.reducer import Reducer, ThreadReducer
from trpo.reference import dense_fisher, double_backward_product
from trpo.scripts.cli.command import parse
from trpo.scripts.cli.figures import image_of
from trpo.scripts.cli.tables import print_rows, write_provenance, write_rows
from trpo.validation import require

OBSERVATIONS, ACTIONS = 17, 6  # HalfCheetah's
DENSE_LIMIT = 200_000  # largest B · P for which F is formed in full


@dataclass(frozen=True)
class FisherOptions:
    """Measure a Gaussian policy's Fisher-vector product, over batch size and width."""

    sizes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[SIZE ...]")] = (
        "512x8",
        "2048x16",
        "2048x64",
        "5000x64",
        "2048x256",
        "25000x256",
    )
    """Batch size × width of the two hidden layers."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of CPU threads."""
    repeats: int = 15
    """Number of rounds; every product is timed once per round."""
    out: Path = Path("runs/fisher")
    """Folder for results.csv and fisher.png."""

    def __post_init__(self) -> None:
        require(self, "repeats", self.repeats >= 1, "an integer ≥ 1")
        threads = len(self.threads) >= 1 and min(self.threads) >= 1
        require(self, "threads", threads, "one integer ≥ 1, or more")
        require(self, "sizes", len(self.sizes) >= 1, "at least one BATCHxWIDTH, as 2048x64")
        for size in self.sizes:
            parts = size.split("x")
            require(
                self,
                "sizes",
                len(parts) == 2 and all(p.isdecimal() and int(p) > 0 for p in parts),
                "BATCHxWIDTH, as 2048x64",
            )


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write results.csv and fisher.png.

    Args:
        arguments: the words after `trpo benchmark fisher`.

    Returns:
        0.
    """
    options = parse(FisherOptions, arguments, "benchmark fisher")
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for threads in options.threads:
        for size in options.sizes:
            batch, width = map(int, size.split("x"))
            # a separate process, so that peak memory is this measurement's only
            with get_context("spawn").Pool(1) as pool:
                rows += pool.apply(measure, (batch, width, threads, options.repeats))
            print(f"{size}, {threads} threads: done", flush=True)
    write_rows(options.out / "results.csv", rows)
    write_provenance(options.out / "provenance.json")
    print_rows(summarize(rows))
    draw(rows, options.out / "fisher.png")
    return 0


def make_products(batch_size: int, width: int, reducer: Reducer) -> dict[str, Callable[[], Tensor]]:
    """Return the timed functions by name, each one product with the same vector.

    Args:
        batch_size: B.
        width: of both hidden layers.
        reducer: of F·v and the gradient; the others use torch's own threads.

    Returns:
        Functions without arguments; graphs that a solver would keep are built beforehand.
    """
    generator = torch.Generator().manual_seed(0)
    policy = make_policy(
        flat_features(OBSERVATIONS),
        gym.spaces.Box(-1, 1, (ACTIONS,)),
        PolicyConfig(distribution="gaussian", hidden=(width, width)),
        generator,
    )
    with torch.no_grad():
        observations = torch.randn(batch_size, OBSERVATIONS, generator=generator)
        output = policy.network(observations)
        actions = policy.family.act(output, policy.family.draw_noise(1, batch_size, generator)[0])
        log_probs = policy.distribution(output).log_prob(actions)
    batch = Batch(
        observations,
        actions,
        log_probs,
        advantages=torch.randn(batch_size, generator=generator),
        returns=log_probs,
        times=torch.arange(batch_size),
        environments=torch.zeros(batch_size, dtype=torch.int64),
    )
    model, microbatches = policy.model(), batch.microbatches(batch_size, reducer)
    v = torch.randn(
        sum(parameter.numel() for parameter in policy.parameters()), generator=generator
    )
    loss = importance_weighted_advantage(
        policy.distribution(policy.network(observations)), batch
    ).mean()
    loss_gradient = flatten(torch.autograd.grad(loss, model.parameters, create_graph=True))
    cached = fisher_vector_product(model, microbatches, reducer)
    twin = double_backward_product(model, microbatches)
    products = {
        "surrogate gradient": lambda: surrogate_gradient(
            model, importance_weighted_advantage, microbatches, reducer
        )[1],
        "F·v": lambda: cached(v),
        "F·v by double backward": lambda: twin(v),
        "loss Hessian·v": lambda: flatten(
            torch.autograd.grad(loss_gradient @ v, model.parameters, retain_graph=True)
        ),
    }
    if batch_size * len(v) <= DENSE_LIMIT:
        products["F in full"] = lambda: dense_fisher(model, microbatches)
    return products


def measure(batch_size: int, width: int, threads: int, repeats: int) -> list[dict[str, Any]]:
    """Time every product, alternating between them.

    Args:
        batch_size: B.
        width: of both hidden layers.
        threads: of torch.
        repeats: rounds.

    Returns:
        Rows of results.csv; memory is the growth of the process's peak in a product's first call.
    """
    products = make_products(batch_size, width, ThreadReducer(threads))
    memory: dict[str, float] = {}
    seconds: dict[str, list[float]] = {name: [] for name in products}
    for name, product in products.items():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        product()
        memory[name] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    for number in range(repeats):
        for name, product in products.items():
            if name == "F in full" and number >= 1:
                continue
            start = time.perf_counter()
            product()
            seconds[name].append(time.perf_counter() - start)
    parameters = (OBSERVATIONS + 1) * width + (width + 1) * width + (width + 1) * ACTIONS + ACTIONS
    return [
        {
            "batch": batch_size,
            "width": width,
            "parameters": parameters,
            "threads": threads,
            "product": name,
            "milliseconds": 1e3 * float(np.median(seconds[name])),
            "peak_growth_mib": memory[name],
        }
        for name in products
    ]


def summarize(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return one row per size and product, with its ratio to the gradient and F·v's ratio to it.

    Args:
        rows: of results.csv.

    Returns:
        Rows to print.
    """
    cost = {
        (r["batch"], r["width"], r["threads"], r["product"]): float(r["milliseconds"]) for r in rows
    }

    def milliseconds(row: dict[str, Any], product: str) -> float:
        return cost[row["batch"], row["width"], row["threads"], product]

    return [
        {
            "batch × width": f"{r['batch']} × {r['width']}",
            "P": f"{int(r['parameters']):,}",
            "threads": str(r["threads"]),
            "product": r["product"],
            "ms": f"{float(r['milliseconds']):.2f}",
            "÷ gradient": f"{float(r['milliseconds']) / milliseconds(r, 'surrogate gradient'):.2f}",
            "F·v ÷ this": f"{milliseconds(r, 'F·v') / float(r['milliseconds']):.2f}",
        }
        for r in rows
    ]


def draw(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Plot each product's time over B · P, at the first number of threads.

    Args:
        rows: of results.csv.
        out: the file to write.
    """
    import matplotlib.pyplot as plt

    threads = rows[0]["threads"]
    figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
    for name in dict.fromkeys(row["product"] for row in rows):
        mine = sorted(
            (int(r["batch"]) * int(r["parameters"]), float(r["milliseconds"]))
            for r in rows
            if r["product"] == name and r["threads"] == threads
        )
        axes.loglog(*zip(*mine, strict=True), "o-", markersize=4, label=name)
    axes.set(
        xlabel="samples × parameters",
        ylabel=f"milliseconds, {threads} thread",
        title="One product, Gaussian policy, float32",
    )
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    replace_file(out, image_of(figure, "png"))
