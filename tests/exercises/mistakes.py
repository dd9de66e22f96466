"""Every mistake that the checker knows, as an edit of `solution.py`: name, before, after."""

RUNNING = "running = delta + gamma * gae_lambda * ~done[t] * running"
DELTA = "delta = rewards[t] + gamma * following - values[t]"
FOLLOWING = "values[t + 1] * ~terminated[t]"
RETURN_ADVANTAGES = "return advantages"
GAE = [
    ("truncation-as-termination", FOLLOWING, "values[t + 1] * ~done[t]"),
    ("termination-as-truncation", FOLLOWING, "values[t + 1]"),
    (
        "truncation-before-termination",
        FOLLOWING,
        "values[t + 1] * ~(terminated[t] & ~truncated[t])",
    ),
    ("runs-past-the-end", " * ~done[t] * running", " * running"),
    ("runs-past-truncation", " * ~done[t] * running", " * ~terminated[t] * running"),
    ("runs-past-termination", " * ~done[t] * running", " * ~truncated[t] * running"),
    (
        "cut-one-step-early",
        "* ~done[t] * running",
        "* (~done[t + 1] if t + 1 < len(done) else 1) * running",
    ),
    ("bootstraps-own-state", FOLLOWING, "values[t] * ~terminated[t]"),
    (
        "bootstraps-own-state-if-truncated",
        FOLLOWING,
        "torch.where(truncated[t], values[t], values[t + 1]) * ~terminated[t]",
    ),
    ("lambda-forgotten", "gamma * gae_lambda * ~done", "gamma * ~done"),
    ("gamma-forgotten-in-decay", "gamma * gae_lambda * ~done", "gae_lambda * ~done"),
    ("gamma-forgotten-in-delta", "gamma * following", "following"),
    ("lambda-for-gamma-in-delta", "gamma * following", "gae_lambda * following"),
    ("lambda-for-gamma-in-delta", "gamma * following", "gamma * gae_lambda * following"),
    ("one-step-only", RUNNING, "running = delta"),
    (
        "loops-forwards",
        ("reversed(range(len(rewards)))", "advantages[t] *= ~done[t - 1]"),
        ("range(len(rewards))", "running = running * ~done[t - 1]; advantages[t] = running"),
    ),
    ("loops-forwards", "reversed(range(len(rewards)))", "range(len(rewards))"),
    ("resets-not-masked", "if t > 0:", "if False:"),
    ("baseline-forgotten", " - values[t]", ""),
    ("baseline-added", " - values[t]", " + values[t]"),
    ("returns-for-advantages", RETURN_ADVANTAGES, "return advantages + values[:-1]"),
    (
        "normalised",
        RETURN_ADVANTAGES,
        "return (advantages - advantages.mean()) / (advantages.std() + 1e-8)",
    ),
]

TERMS = "terms = ratio * batch.advantages"
RATIO = "ratio = torch.exp(new - old)"
SURROGATE = [
    ("log-prob-for-ratio", RATIO, "ratio = new"),
    ("log-ratio", RATIO, "ratio = new - old"),
    ("ratio-inverted", RATIO, "ratio = torch.exp(old - new)"),
    ("old-policy-not-detached", ".sum(-1).detach()", ".sum(-1)"),
    ("old-policy-forgotten", RATIO, "ratio = torch.exp(new)"),
    ("actions-not-summed", (".sum(-1)", TERMS), ("", "terms = ratio * batch.advantages[:, None]")),
    (
        "actions-not-summed",
        (".sum(-1)", TERMS),
        ("", "terms = (ratio * batch.advantages[:, None]).sum(-1)"),
    ),
    ("actions-averaged", ".sum(-1)", ".mean(-1)"),
    ("first-action-only", ".sum(-1)", "[:, 0]"),
    ("first-action-only", ".sum(-1)", "[:, -1]"),
    ("broadcast-advantages", ".sum(-1)", ".sum(-1, keepdim=True)"),
    (
        "broadcast-old-policy",
        "(batch.actions).sum(-1)\n",
        "(batch.actions).sum(-1, keepdim=True)\n",
    ),
    (
        "broadcast-old-policy",
        ("(batch.actions).sum(-1)\n", TERMS),
        ("(batch.actions).sum(-1, keepdim=True)\n", "terms = ratio * batch.advantages[:, None]"),
    ),
    ("sum-for-mean", "terms.mean()", "terms.sum()"),
    ("sign", "return terms.mean()", "return -terms.mean()"),
    (
        "clipped",
        TERMS,
        "terms = torch.min(ratio * batch.advantages, ratio.clamp(0.8, 1.2) * batch.advantages)",
    ),
    (
        "advantages-normalised",
        TERMS,
        "A = batch.advantages; terms = ratio * (A - A.mean()) / (A.std() + 1e-8)",
    ),
    ("graph-lost", "return terms.mean()", "return torch.tensor(terms.mean().item())"),
]

NO_GRAD = "with torch.no_grad():\n        old = policy(batch.observations)"
KL = "kl = kl_divergence(old, new).sum(-1).mean()"
SECOND = "second = grad(slope, parameters, retain_graph=True)"
RETURN_PRODUCT = "return Fv + damping * v"
FLAT = "torch.cat([s.reshape(-1) for s in grad({}, parameters, retain_graph=True)])"
SCORES = f"""scores = torch.stack([
        {FLAT.format("term")} for term in new.log_prob(batch.actions).sum(-1)
    ])
    """
LOG_STD = (
    "torch.cat([torch.full((p.numel(),), n == 'log_std') for n, p in policy.named_parameters()])"
)
FISHER = [
    ("both-sides-move", NO_GRAD, "old = policy(batch.observations)"),
    (
        "both-sides-move",
        (NO_GRAD, KL),
        ("old = policy(batch.observations)", "kl = kl_divergence(new, new).sum(-1).mean()"),
    ),
    ("one-backward", SECOND, "second = first"),
    ("one-backward", SECOND, "second = [f * slope for f in first]"),
    ("sum-for-mean", KL, "kl = kl_divergence(old, new).sum()"),
    ("actions-averaged", KL, "kl = kl_divergence(old, new).mean()"),
    ("first-action-only", KL, "kl = kl_divergence(old, new)[:, 0].mean()"),
    ("first-action-only", KL, "kl = kl_divergence(old, new)[:, -1].mean()"),
    (
        "empirical-fisher",
        RETURN_PRODUCT,
        SCORES + "return scores.T @ (scores @ v) / len(scores) + damping * v",
    ),
    (
        "advantage-weighted",
        RETURN_PRODUCT,
        SCORES + "return scores.T @ (batch.advantages * (scores @ v)) / len(scores) + damping * v",
    ),
    (
        "advantage-weighted",
        RETURN_PRODUCT,
        SCORES
        + "return scores.T @ (batch.advantages**2 * (scores @ v)) / len(scores) + damping * v",
    ),
    ("hessian-of-log-prob", KL, "kl = -new.log_prob(batch.actions).sum(-1).mean()"),
    (
        "hessian-of-surrogate",
        KL,
        "ratio = torch.exp((new.log_prob(batch.actions) - old.log_prob(batch.actions)).sum(-1))\n"
        "    kl = (ratio * batch.advantages).mean()",
    ),
    (
        "hessian-of-surrogate",
        KL,
        "ratio = torch.exp((new.log_prob(batch.actions) - old.log_prob(batch.actions)).sum(-1))\n"
        "    kl = -(ratio * batch.advantages).mean()",
    ),
    ("log-std-left-out", "return Fv", f"return Fv * ~{LOG_STD}"),
    ("log-std-left-out", RETURN_PRODUCT, f"return (Fv + damping * v) * ~{LOG_STD}"),
    ("log-std-once", "return Fv", f"return torch.where({LOG_STD}, Fv / 2, Fv)"),
    (
        "family-forgotten",
        KL,
        "eta = torch.cat([new.loc, new.scale.log()], -1) if hasattr(new, 'loc') else new.logits\n"
        "    kl = (eta - eta.detach()).square().sum() / 2 / len(eta)",
    ),
    ("damping-forgotten", RETURN_PRODUCT, "return Fv"),
    (
        "damping-on-parameters",
        "damping * v",
        "damping * torch.cat([p.detach().reshape(-1) for p in parameters])",
    ),
    ("damping-not-times-v", "damping * v", "damping"),
    ("kl-reversed", "kl_divergence(old, new)", "kl_divergence(new, old)"),
    ("sign", RETURN_PRODUCT, "return damping * v - Fv"),
    (
        "diagonal",
        RETURN_PRODUCT,
        "columns = [grad(torch.cat([f.reshape(-1) for f in first])[i], parameters, "
        "retain_graph=True)"
        " for i in range(len(v))]\n"
        "    diagonal = torch.stack([torch.cat([s.reshape(-1) for s in c])[i] for i, c in "
        "enumerate(columns)])\n"
        "    return diagonal * v + damping * v",
    ),
    (
        "subsample-redrawn",
        "parameters = list(policy.parameters())",
        "parameters = list(policy.parameters())\n"
        "    rows = torch.randperm(len(batch.observations))[:3]\n"
        "    batch = type(batch)(*(part[rows] for part in batch))",
    ),
]

ALPHA = "alpha = rr / (p @ Ap)"
BETA = "beta = rr_new / rr"
STOP = "if rr.sqrt() <= tolerance * b.norm():\n            break"
CONJUGATE_GRADIENT = [
    ("beta-inverted", BETA, "beta = rr / rr_new"),
    ("beta-zero", BETA, "beta = 0.0"),
    ("beta-of-lengths", BETA, "beta = (rr_new / rr).sqrt()"),
    ("beta-negative", "p = r + beta * p", "p = r - beta * p"),
    ("beta-one", BETA, "rr = rr_new; beta = rr_new / rr"),
    ("alpha-without-A", ALPHA, "alpha = rr / (p @ p)"),
    ("alpha-inverted", ALPHA, "alpha = (p @ Ap) / rr"),
    ("alpha-one", ALPHA, "alpha = 1.0"),
    ("residual-sign", "r -= alpha * Ap", "r += alpha * Ap"),
    ("start-not-zero", "x = torch.zeros_like(b)", "x = b.clone()"),
    ("start-not-zero", "x = torch.zeros_like(b)", "x = torch.ones_like(b)"),
    ("p-aliases-r", "p = r.clone()", "p = r"),
    ("b-overwritten", "r = b.clone()", "r = b"),
    (
        "b-overwritten",
        ("b.norm()", "x = torch.zeros_like(b)", "r = b.clone()"),
        ("norm", "x = torch.zeros_like(b); norm = b.norm()", "r = b"),
    ),
    ("p-and-b-overwritten", ("r = b.clone()", "p = r.clone()"), ("r = b", "p = r")),
    (
        "p-and-b-overwritten",
        ("b.norm()", "x = torch.zeros_like(b)", "r = b.clone()", "p = r.clone()"),
        ("norm", "x = torch.zeros_like(b); norm = b.norm()", "r = b", "p = b"),
    ),
    ("x-along-r", "x += alpha * p", "x += alpha * r"),
    (
        "p-from-old-residual",
        ("r -= alpha * Ap", "p = r + beta * p"),
        ("s = r; r = r - alpha * Ap", "p = s + beta * p"),
    ),
    ("one-iteration-short", "range(max_iterations)", "range(max_iterations - 1)"),
    ("returns-residual", "return x", "return r"),
    ("returns-residual", "return x", "return p"),
    ("absolute-tolerance", " * b.norm():", ":"),
    (
        "absolute-tolerance",
        (STOP, "rr = rr_new"),
        ("", "rr = rr_new\n        if rr.sqrt() <= tolerance:\n            break"),
    ),
    ("tolerance-of-squares", "rr.sqrt() <= tolerance * b.norm()", "rr <= tolerance * (b @ b)"),
    ("tolerance-ignored", "rr.sqrt() <= tolerance * b.norm()", "rr == 0"),
    (
        "zero-over-zero",
        (STOP, "rr = rr_new"),
        ("", "rr = rr_new\n        if rr.sqrt() <= tolerance * b.norm():\n            break"),
    ),
]

SCALE = "torch.sqrt(2 * max_kl / quadratic)"
QUADRATIC = "x @ product(x, damping)"
FULL_STEP = [
    ("two-missing", "2 * max_kl", "max_kl"),
    ("two-misplaced", "2 * max_kl / quadratic", "max_kl / (2 * quadratic)"),
    ("root-missing", SCALE, "(2 * max_kl / quadratic)"),
    ("root-of-half", SCALE, "2 * max_kl / torch.sqrt(quadratic)"),
    ("root-of-half", SCALE, "(2 * max_kl) ** 0.5 / quadratic"),
    ("inverted", "2 * max_kl / quadratic", "quadratic / (2 * max_kl)"),
    ("gradient-square", QUADRATIC, "g @ g"),
    ("euclidean-square", QUADRATIC, "x @ x"),
    ("gradient-times-x", QUADRATIC, "x @ g"),
    ("fisher-of-gradient", QUADRATIC, "g @ product(g, damping)"),
    ("undamped", QUADRATIC, "x @ product(x, 0.0)"),
    ("undamped", QUADRATIC, "x @ (product(x, damping) - damping * x)"),
    ("sign", "return ", "return -"),
    ("along-gradient", ") * x", ") * g"),
    ("along-gradient", (QUADRATIC, ") * x"), ("g @ product(g, damping)", ") * g")),
    ("unscaled", SCALE + " * x", "x"),
]

ACCEPT = "kl <= max_kl and surrogate() > before"
KL_IN_SEARCH = "kl_divergence(old, new).sum(-1).mean()"
TRY = "theta_old + backtrack_ratio**k * full_step"
LINE_SEARCH = [
    ("kl-unchecked", ACCEPT, "surrogate() > before"),
    ("surrogate-unchecked", ACCEPT, "kl <= max_kl"),
    ("nothing-checked", ACCEPT, "True"),
    ("equal-taken", "surrogate() > before", "surrogate() >= before"),
    ("kl-reversed", "kl_divergence(old, new)", "kl_divergence(new, old)"),
    ("kl-averaged-over-actions", KL_IN_SEARCH, "kl_divergence(old, new).mean()"),
    ("kl-summed-over-states", KL_IN_SEARCH, "kl_divergence(old, new).sum()"),
    ("kl-of-worst-state", KL_IN_SEARCH, "kl_divergence(old, new).sum(-1).max()"),
    (
        "not-restored",
        "vector_to_parameters(theta_old, parameters)",
        "vector_to_parameters(theta, parameters)",
    ),
    (
        "restored-by-subtraction",
        "vector_to_parameters(theta_old, parameters)",
        "vector_to_parameters(theta - backtrack_ratio**k * full_step, parameters)",
    ),
    ("accepts-nan", ACCEPT, "not kl > max_kl and surrogate() > before"),
    ("accepts-nan", ACCEPT, "kl <= max_kl and not surrogate() <= before"),
    ("accepts-nan", ACCEPT, "not (kl > max_kl or surrogate() <= before)"),
    (
        "from-last-try",
        TRY,
        "torch.nn.utils.parameters_to_vector(parameters) + backtrack_ratio**k * full_step",
    ),
    ("against-zero", "surrogate() > before", "surrogate() > 0"),
    ("before-measured-late", "new = policy", "before = surrogate(); new = policy"),
    ("surrogate-minimised", "surrogate() > before", "surrogate() < before"),
    ("one-try-short", "range(max_backtracks + 1)", "range(max_backtracks)"),
    ("one-try-more", "range(max_backtracks + 1)", "range(max_backtracks + 2)"),
    (
        "keeps-shrinking",
        ("for k in", "return True", "(theta_old, parameters)", "return False"),
        (
            "best = theta_old\n        for k in",
            "best = theta",
            "(best, parameters)",
            "return best is not theta_old",
        ),
    ),
    ("shrinks-linearly", "backtrack_ratio**k", "(backtrack_ratio * k if k else 1)"),
    ("shrinks-linearly", "backtrack_ratio**k", "1 / (k + 1)"),
    ("full-step-not-tried", "backtrack_ratio**k", "backtrack_ratio ** (k + 1)"),
    ("full-step-not-tried", "range(max_backtracks + 1)", "range(1, max_backtracks + 1)"),
]

EDITS = {
    "gae": GAE,
    "surrogate": SURROGATE,
    "fisher_vector_product": FISHER,
    "conjugate_gradient": CONJUGATE_GRADIENT,
    "full_step": FULL_STEP,
    "line_search": LINE_SEARCH,
}


def mistaken(text: str, old: str | tuple[str, ...], new: str | tuple[str, ...]) -> str:
    """Put a mistake into a function's text."""
    pairs = zip(old, new, strict=True) if isinstance(old, tuple) else [(old, new)]
    for before, after in pairs:
        assert before in text, before
        text = text.replace(before, after)
    return text
