"""KL(p ‖ q), accurate in float32, too.

torch's own is infinite as soon as a probability underflows, at a logit gap of 104.
"""

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent
from torch.distributions import kl_divergence as registered_kl_divergence
from torch.nn.functional import logsigmoid


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """Return KL(p ‖ q) = E_p[log p − log q], in nats, for each pair in the batch.

    Categoricals and Bernoullis, also as the base of `Independent`, are computed from
    log-probabilities, which don't underflow; every other family with the formula registered with
    torch.

    Args:
        p: the distribution of the expectation; batch shape (b,).
        q: of the same family and shapes.

    Returns:
        (b,).

    Raises:
        NotImplementedError: if torch has no formula for the pair.
    """
    match p, q:
        case Independent(), Independent():
            kl = kl_divergence(p.base_dist, q.base_dist)  # (b, A, …)
            for _ in range(p.reinterpreted_batch_ndims):
                kl = kl.sum(-1)
            return kl
        case Categorical(), Categorical():
            return _expected_gap(p.probs, p.logits, q.logits).sum(-1)
        case Bernoulli(), Bernoulli():
            tails = _expected_gap(
                torch.sigmoid(-p.logits), logsigmoid(-p.logits), logsigmoid(-q.logits)
            )
            return _expected_gap(p.probs, logsigmoid(p.logits), logsigmoid(q.logits)) + tails
    return registered_kl_divergence(p, q)


def _expected_gap(probs: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    # p (log p − log q), 0 where p = 0, even if both logarithms are −∞; so are all derivatives
    return probs * (log_p - log_q).masked_fill(probs == 0, 0)
