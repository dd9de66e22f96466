"""Convolutional networks for images: the Nature CNN, IMPALA's residual network, one for grids.

Each takes (B, C, H, W) and returns (B, F). Weights are orthogonal, biases zero, as in the
perceptrons after them (Engstrom et al. 2020).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trpo.agents.networks.images import Image

IMPALA_CHANNELS = (16, 32, 32)


def _numbers_left(image: Image, filters: nn.Module) -> int:
    """Return the output size of convolutions applied to an image."""
    with torch.no_grad():
        return filters(torch.zeros(1, image.planes, *image.sides)).numel()


def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight, 2**0.5, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for block in network.modules():
        # the identity at initialisation, or every block would double the variance
        if isinstance(block, Residual):
            nn.init.zeros_(block.last.weight)


def nature(image: Image) -> nn.Sequential:
    """Return the network of Mnih et al. 2015, up to its 512 features.

    Args:
        image: at least 36 pixels per side.

    Returns:
        (B, C, H, W) ↦ (B, 512).
    """
    filters = nn.Sequential(
        nn.Conv2d(image.planes, 32, 8, stride=4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
    )
    return nn.Sequential(filters, nn.Linear(_numbers_left(image, filters), 512), nn.ReLU())


class Residual(nn.Module):
    """x ↦ x + conv(φ(conv(φ(x)))), two 3 × 3 convolutions (He et al. 2016).

    Args:
        channels: of x.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum.

        Args:
            x: (B, C, H, W).

        Returns:
            The same shape.
        """
        return x + self.last(self.first(x.relu()).relu())


def impala(image: Image) -> nn.Sequential:
    """Return the residual network of Espeholt et al. 2018 (figure 3), up to its 256 features.

    Args:
        image: any.

    Returns:
        (B, C, H, W) ↦ (B, 256).
    """
    filters = nn.Sequential()
    channels = image.planes
    for wider in IMPALA_CHANNELS:
        filters.append(nn.Conv2d(channels, wider, 3, padding=1))
        filters.append(nn.MaxPool2d(3, stride=2, padding=1))
        filters.append(Residual(wider)).append(Residual(wider))
        channels = wider
    filters.append(nn.ReLU()).append(nn.Flatten())
    return nn.Sequential(filters, nn.Linear(_numbers_left(image, filters), 256), nn.ReLU())


def grid(image: Image) -> nn.Sequential:
    """Return two 3 × 3 convolutions, for grids of cells (Young & Tian 2019).

    Args:
        image: at least 5 cells per side.

    Returns:
        (B, C, H, W) ↦ (B, 32·(H − 4)·(W − 4)).
    """
    return nn.Sequential(
        nn.Conv2d(image.planes, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),
        nn.Flatten(),
    )


NETWORKS: dict[str, Callable[[Image], nn.Sequential]] = {
    "nature": nature,
    "impala": impala,
    "grid": grid,
}


class ImageEncoder(nn.Module):
    """From one image to features.

    Args:
        image: its layout, and which network reads it.
        generator: source of the initial weights.
    """

    def __init__(self, image: Image, generator: torch.Generator) -> None:
        super().__init__()
        self.image = image
        self.network = NETWORKS[image.encoder](image)
        _initialise(self.network, generator)
        self.size = _numbers_left(image, self.network)

    def forward(self, observation: Tensor) -> Tensor:
        """Return features.

        Args:
            observation: (B, …), as preprocessed.

        Returns:
            (B, F).
        """
        return self.network(self.image.channels_first(observation))
