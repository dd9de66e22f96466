"""scikit-learn's handwritten digits, and small classifiers of them, as models for `trpo/`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from trpo.agents.networks.network import mlp
from trpo.model import Model
from trpo.scripts.cli.command import UsageError

CLASSES = 10


class Digits(NamedTuple):
    """B digits: inputs (B, features) in [0, 1], labels (B,)."""

    inputs: Tensor
    labels: Tensor


def load_digits(pool: int = 1, dtype: torch.dtype = torch.float64) -> Digits:
    """Load the 1,797 digits (Alpaydin & Kaynak 1998), 8 × 8 pixels each.

    Args:
        pool: side of the squares of pixels to average: 1 leaves 64 features, 2 leaves 16, 4 leaves
            4.
        dtype: of the inputs.

    Returns:
        The digits.

    Raises:
        UsageError: if scikit-learn, which contains them, is not installed.
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise UsageError(
            "the digits come with scikit-learn, which is not installed: pip install -e '.[studies]'"
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=dtype).view(-1, 1, 8, 8) / 16
    return Digits(nn.functional.avg_pool2d(images, pool).flatten(1), torch.tensor(labels))


def choose(digits: Digits, size: int, seed: int) -> Digits:
    """Draw some of the digits without replacement.

    Args:
        digits: to draw from.
        size: number of digits.
        seed: of the draw.

    Returns:
        `size` digits.
    """
    index = torch.randperm(len(digits.labels), generator=torch.Generator().manual_seed(seed))[:size]
    return Digits(digits.inputs[index], digits.labels[index])


def make_classifier(
    features: int, hidden: Sequence[int], seed: int, dtype: torch.dtype = torch.float64
) -> Model:
    """Make π_θ(label | input), a tanh network with a softmax.

    Args:
        features: of an input.
        hidden: width of each hidden layer.
        seed: of the initial weights.
        dtype: of the weights.

    Returns:
        The model; its microbatches are `Digits`.
    """
    network = mlp(features, hidden, CLASSES, "tanh", 1.0, torch.Generator().manual_seed(seed)).to(
        dtype
    )
    return Model(list(network.parameters()), lambda digits: (network(digits.inputs),), categorical)


def categorical(logits: Tensor) -> Categorical:
    """Return the family of the classifiers.

    Args:
        logits: (B, 10).

    Returns:
        B distributions over the labels.
    """
    return Categorical(logits=logits, validate_args=False)


def log_likelihood(distribution: Distribution, digits: Digits) -> Tensor:
    """Return the objective's terms; the loss, the mean cross-entropy, is minus their mean.

    Args:
        distribution: of the labels, as the model has it.
        digits: the digits.

    Returns:
        (B,), log π(label | input) in nats.
    """
    return distribution.log_prob(digits.labels)
