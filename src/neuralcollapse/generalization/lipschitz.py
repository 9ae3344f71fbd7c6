"""Lipschitz constants of networks: certified from above, and estimated from below."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.operator_norm import convolution_norm, linear_norm

Shape = tuple[int, ...]


@singledispatch
def lipschitz_bound(module: Any, shape: Shape) -> float:
    r"""Return a certified Lipschitz constant of a network in evaluation mode: an upper bound.

    .. math:: \|f(x) - f(x')\| \le L \|x - x'\| \quad\text{for all } x, x', \qquad
        L = \textstyle\prod_l L_l

    the product over layers: exact norms of linear layers and convolutions (see `linear_norm` and
    `convolution_norm`), 1 for ReLU, tanh and the like, the largest abs(gamma) / sqrt(var + eps) of
    batch norm, the root of the number of overlapping windows of a max pool.

    Parameters
    ----------
    module
        A layer or `nn.Sequential` of layers, or a network of this library's kind, which is
        ``features`` and then ``head``. To teach it another module, register a function of (module,
        shape): ``@lipschitz_bound.register(Block)``. A residual block has 1 + the constant of its
        branch.
    shape
        Of one input, without the batch.

    Returns
    -------
    float
        L, true of the exact function of the weights; float32 inference adds its round-off.

    Raises
    ------
    NeuralCollapseError
        If a module is unknown, or batch norm or dropout are in training mode, where a sample's
        output depends on others or on chance.
    NonFiniteError
        If a weight is NaN or infinite.

    Notes
    -----
    Usually far above the true constant: `jacobian_norm` is the other side.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse.generalization import lipschitz_bound
    >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).double().eval()
    >>> for layer in (network[0], network[2]):
    ...     _ = layer.weight.data.copy_(2 * torch.eye(*layer.weight.shape))
    >>> round(lipschitz_bound(network, (2,)), 6)
    4.0
    """
    if hasattr(module, "features") and hasattr(module, "head"):
        return lipschitz_bound(nn.Sequential(module.features, module.head), shape)
    expected = "a layer whose Lipschitz constant is known"
    remedy = "register its rule with @lipschitz_bound.register, or pass an nn.Sequential"
    raise NeuralCollapseError("module", expected, type(module).__name__, remedy)


@lipschitz_bound.register
def _sequential(module: nn.Sequential, shape: Shape) -> float:
    product = 1.0
    for layer in module:
        product *= lipschitz_bound(layer, shape)
        shape = _output_shape(layer, shape)
    return product


@lipschitz_bound.register
def _linear(module: nn.Linear, shape: Shape) -> float:
    return linear_norm(module)


@lipschitz_bound.register(nn.Conv1d)
@lipschitz_bound.register(nn.Conv2d)
def _convolution(module: nn.Conv1d | nn.Conv2d, shape: Shape) -> float:
    return convolution_norm(module, tuple(shape[1:]))


@lipschitz_bound.register(nn.BatchNorm1d)
@lipschitz_bound.register(nn.BatchNorm2d)
def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d, shape: Shape) -> float:
    if module.training or module.running_var is None:
        raise _training("batch norm with running statistics")
    scale = 1 / (module.running_var.double() + module.eps).sqrt()
    if module.weight is not None:
        scale = scale * module.weight.detach().double().abs()
    return float(scale.max())


@lipschitz_bound.register(nn.ReLU)
@lipschitz_bound.register(nn.Tanh)
@lipschitz_bound.register(nn.Softplus)
@lipschitz_bound.register(nn.Flatten)
@lipschitz_bound.register(nn.Identity)
def _one(module: nn.Module, shape: Shape) -> float:
    return 1.0


@lipschitz_bound.register
def _leaky_relu(module: nn.LeakyReLU, shape: Shape) -> float:
    return max(abs(module.negative_slope), 1.0)


@lipschitz_bound.register
def _dropout(module: nn.Dropout, shape: Shape) -> float:
    if module.training:
        raise _training("dropout")
    return 1.0


@lipschitz_bound.register
def _max_pool(module: nn.MaxPool2d, shape: Shape) -> float:
    kernel, stride = _pair(module.kernel_size), _pair(module.stride)
    if _pair(module.dilation) != (1, 1):
        raise NeuralCollapseError("dilation", "1", str(module.dilation), "use a plain max pool")
    # An input may be the largest of every window that covers it.
    return math.sqrt(math.prod(math.ceil(k / s) for k, s in zip(kernel, stride, strict=True)))


@lipschitz_bound.register
def _average_pool(module: nn.AdaptiveAvgPool2d, shape: Shape) -> float:
    if _pair(module.output_size) != (1, 1):
        raise NeuralCollapseError(
            "output_size", "1", str(module.output_size), "only the mean of the image is known here"
        )
    return 1 / math.sqrt(math.prod(shape[1:]))


def jacobian_norm(network: nn.Module, inputs: Tensor) -> float:
    r"""Return the largest norm of the Jacobian at these inputs: an estimate, from below.

    .. math:: \max_i \Bigl\| \frac{\partial f}{\partial x}(x_i) \Bigr\|_2 \;\le\; L

    The true Lipschitz constant is at least this; nothing may be certified with it.

    Parameters
    ----------
    network
        Treats every sample by itself, as in evaluation mode; differentiable almost everywhere.
    inputs
        (n, ...) at which to differentiate.

    Returns
    -------
    float
        A lower bound on L.

    Raises
    ------
    NeuralCollapseError
        If the network is in training mode.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse.generalization import jacobian_norm
    >>> square = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Tanh()).double().eval()
    >>> _ = square[0].weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> jacobian_norm(square, torch.zeros(1, 2).double())  # tanh has slope 1 at 0
    5.000000
    """
    if network.training:
        raise _training("the network")
    points = inputs.detach().clone().requires_grad_()
    outputs = network(points).flatten(1)
    rows = [
        torch.autograd.grad(column.sum(), points, retain_graph=True)[0].flatten(1)
        for column in outputs.T
    ]
    jacobians = torch.stack(rows, 1).double()
    return float(torch.linalg.matrix_norm(jacobians, 2).max())


def _output_shape(layer: nn.Module, shape: Shape) -> Shape:
    """Run the layer on zeros to see the shape of what comes out."""
    parameter = next(layer.parameters(), None)
    zeros = torch.zeros(1, *shape)
    with torch.no_grad():
        return tuple(layer(zeros if parameter is None else zeros.to(parameter)).shape[1:])


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _training(what: str) -> NeuralCollapseError:
    return NeuralCollapseError(
        "module", "evaluation mode", f"{what} in training mode", "call .eval() first"
    )
