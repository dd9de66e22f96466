"""Flattening is the inverse of unflattening, bit for bit."""

import torch

from trpo.parameters import assign, checksum, flatten, unflatten

SHAPES = [(3, 2), (4,), (), (1, 2, 3)]


def test_unflatten_inverts_flatten():
    tensors = [torch.randn(shape) for shape in SHAPES]
    pieces = unflatten(flatten(tensors), tensors)
    assert all(torch.equal(piece, tensor) for piece, tensor in zip(pieces, tensors, strict=True))


def test_assign_copies_every_bit():
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    vector = torch.tensor([1e-45, -0.0, float("inf"), *range(14)])
    assign(parameters, vector)
    assert torch.equal(flatten(parameters).detach().view(torch.int32), vector.view(torch.int32))
    assert all(parameter.requires_grad for parameter in parameters)


def test_a_checksum_differs_where_a_bit_does():
    tensors = [torch.zeros(()), torch.ones(2, 3).T, torch.arange(3)]
    assert checksum(tensors) == checksum([tensor.clone() for tensor in tensors])
    others = [torch.tensor(-0.0), *tensors[1:]], [*tensors[:2], torch.tensor([0, 1, 3])]
    assert all(checksum(other) != checksum(tensors) for other in others)
