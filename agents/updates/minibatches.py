"""Gradient descent on shuffled minibatches of a batch, of which every process has a share."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from trpo.agents.updates.batch import Batch
from trpo.reducer import Reducer


def descend(
    optimizer: Optimizer,
    loss: Callable[[Batch], Tensor],
    batch: Batch,
    epochs: int,
    minibatch_size: int,
    generator: torch.Generator,
    reducer: Reducer,
    max_norm: float = math.inf,
) -> None:
    """Make a step of the optimizer for each minibatch, in every epoch's own order.

    Args:
        optimizer: of the parameters to be moved.
        loss: mean over the samples of a batch.
        batch: this process's.
        epochs: passes over the whole batch.
        minibatch_size: samples per minibatch, over all processes.
        generator: source of the shuffles.
        reducer: averages a minibatch's gradient over processes.
        max_norm: maximum gradient norm.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for _ in range(epochs):
        order = torch.randperm(batch.total, generator=generator)
        for chosen in order.split(minibatch_size):
            pool_gradients(parameters, loss, batch, chosen, reducer)
            if max_norm < math.inf:
                clip_grad_norm_(parameters, max_norm)
            optimizer.step()


def pool_gradients(
    parameters: Iterable[Tensor],
    loss: Callable[[Batch], Tensor],
    batch: Batch,
    chosen: Tensor,
    reducer: Reducer,
) -> None:
    """Give each parameter the gradient of a minibatch's mean loss, over every process's share.

    Args:
        parameters: those that the loss does not reach get zeros.
        loss: mean over the samples of a batch.
        batch: this process's.
        chosen: (C,) int, the minibatch's samples, of the whole batch.
        reducer: averages over processes.
    """
    parameters = list(parameters)
    _, rows = batch.own(chosen)
    for parameter in parameters:
        parameter.grad = None
    if len(rows):  # of a small minibatch a process may have none
        loss(batch.rows(rows)).backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for parameter, mean in zip(parameters, reducer.pool_means(gradients, len(rows)), strict=True):
        parameter.grad = mean
