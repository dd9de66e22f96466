"""C8: regardless of cost, F is never indefinite, but the loss's Hessian H is.

vᵀFv = E[(Jv)ᵀM(Jv)] ≥ 0 for every v, as M is the curvature of KL at its minimum. For a softmax H =
F + E[Σ_k ∂ℓ/∂η_k ∇²η_k]: the same JᵀMJ, plus the network's own curvature, weighted by its errors,
of any sign. So conjugate gradient on F + βI is safe for every β > 0, and on H + βI only if β
outweighs H's most negative eigenvalue. As the fit gets better, H becomes F.

The experiment forms both for a classifier of handwritten digits during training, and computes their
extreme eigenvalues.
"""

from typing import Any

import torch

from trpo.fisher import fisher_vector_product
from trpo.parameters import flatten
from trpo.reference import hessian_vector_product, materialize
from trpo.scripts.studies.digits import choose, load_digits, log_likelihood, make_classifier
from trpo.scripts.studies.findings import SEEDS, Findings, Verdict, band, judge, panels, span
from trpo.trust_region import TrustRegionConfig, trust_region_step

TRAINED = (0, 5, 20, 60)  # training steps before a spectrum


def study() -> Findings:
    """Find the ends of both spectra.

    Returns:
        What was found.
    """
    rows = [row for seed in SEEDS for row in _seed_rows(seed)]

    def values(matrix: str, step: int, key: str) -> list[float]:
        return [r[key] for r in rows if (r["matrix"], r["step"]) == (matrix, step)]

    shown = [
        {"matrix": matrix, "training steps": str(step)}
        | {f"{key} eigenvalue": span(values(matrix, step, key)) for key in ("smallest", "largest")}
        | {"‖H − F‖ ÷ ‖F‖": span(values(matrix, step, "apart"))}
        for matrix in ("F", "H")
        for step in TRAINED
    ]
    F, H = (
        [r["smallest"] / r["largest"] for r in rows if r["matrix"] == matrix]
        for matrix in ("F", "H")
    )
    verdict = Verdict(
        "C8",
        "F is never indefinite, the loss's Hessian is",
        "smallest ÷ largest eigenvalue: of F ≥ −1e-12 in every spectrum, of H ≤ −1e-6 in every "
        "spectrum",
        f"F ≥ {min(F):.0e}; H {span(H)}, negative in {sum(x <= -1e-6 for x in H)} of {len(H)}; ‖H "
        "− F‖ ÷ ‖F‖ after "
        + ", ".join(
            f"{step} steps: {span(values('H', step, 'apart'))}"
            for step in (TRAINED[0], TRAINED[-1])
        ),
        judge(min(F) >= -1e-12, max(H) <= -1e-6),
    )
    return Findings(rows, shown, [verdict], _draw(rows))


def _seed_rows(seed: int) -> list[dict[str, Any]]:
    # both matrices of one network over its training
    digits = choose(load_digits(pool=2), 300, seed)
    model = make_classifier(16, (8,), seed)
    rows = []
    for step in range(max(TRAINED) + 1):
        if step in TRAINED:
            theta = flatten(model.parameters).detach()
            F = materialize(fisher_vector_product(model, [digits]), theta)
            H = -materialize(
                hessian_vector_product(model, log_likelihood, [digits]), theta
            )  # the loss is −L
            apart = ((H - F).norm() / F.norm()).item()
            for name, matrix in (("F", F), ("H", H)):
                spectrum = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
                row = {"matrix": name, "seed": seed, "step": step, "parameters": len(theta)}
                rows.append(
                    row
                    | {
                        "smallest": spectrum[0].item(),
                        "largest": spectrum[-1].item(),
                        "apart": apart,
                    }
                )
        trust_region_step(
            model, log_likelihood, [digits], TrustRegionConfig(max_kl=0.05, damping=1e-3)
        )
    return rows


def _draw(rows: list[dict[str, Any]]) -> Any:
    # draw the lower end of both spectra, and how far apart the matrices are
    figure, (left, right) = panels(2)
    for name in ("F", "H"):
        mine = [[r for r in rows if r["matrix"] == name and r["seed"] == seed] for seed in SEEDS]
        band(
            left,
            TRAINED,
            [[r["smallest"] / r["largest"] for r in part] for part in mine],
            name,
            marker="o",
        )
    band(
        right,
        TRAINED,
        [[r["apart"] for r in part] for part in mine],
        "‖H − F‖ ÷ ‖F‖",
        color="C2",
        marker="o",
    )
    left.set(ylabel="smallest ÷ largest eigenvalue")
    left.set_yscale("symlog", linthresh=1e-6)
    right.set(ylabel="Frobenius norm of H − F ÷ that of F", yscale="log")
    for panel in (left, right):
        panel.set(xlabel="training steps taken (trust region, δ = 0.05 nats)")
        panel.set_title(
            f"digit classifier, P = {rows[0]['parameters']}; median and range, {len(SEEDS)} seeds",
            fontsize="medium",
        )
        panel.legend(frameon=False, fontsize="small")
    return figure
