"""Proposition A (ours): with linear features, SGD cannot tell an ETF from a rotated one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neuralcollapse.geometry import random_isometry, simplex_etf
from neuralcollapse.geometry.alignment import procrustes_rotation
from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.gao2023.alignment_runs import digits_split
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.training import FixedHead

DIM, STEPS, BATCH, SCALE = 16, 300, 25, 5.0
Optimizer = Callable[..., torch.optim.Optimizer]


def logits_after_training(
    turn: Tensor, head: Tensor, optimizer: Optimizer, relu_features: bool
) -> Tensor:
    """Train a perceptron from an initial last layer turned by `turn`; return its test logits.

    Weights and batches are the same for every `turn`.

    Parameters
    ----------
    turn
        (d, d) orthogonal Q; the last feature layer starts at Q A, b = 0.
    head
        (K, d) fixed head as it is used, so already turned.
    optimizer
        Makes one from parameters.
    relu_features
        Whether a ReLU follows the last feature layer.

    Returns
    -------
    Tensor of shape (n, K), float64
        On the test images.
    """
    inputs, labels, test_inputs, _ = digits_split(0)
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((inputs.shape[1], 64), (64, 64), (64, DIM)):
        layer = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    with torch.no_grad():
        layer.weight.copy_(turn @ layer.weight)
    features = layers if relu_features else layers[:-1]
    model = nn.Sequential(*features, FixedHead(SCALE * head, dtype=torch.float64))
    descent = optimizer(model.parameters())
    for _ in range(STEPS):
        rows = torch.randint(len(labels), (BATCH,), generator=generator)
        descent.zero_grad()
        cross_entropy(model(inputs[rows].double()), labels[rows]).backward()
        descent.step()
    with torch.no_grad():
        logits: Tensor = model(test_inputs.double())
    return logits


def sgd(parameters: Iterator[Tensor]) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum and weight decay."""
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-3)


def adam(parameters: Iterator[Tensor]) -> torch.optim.Optimizer:
    """Adam, which scales every coordinate by itself."""
    return torch.optim.Adam(parameters, lr=0.001)


def logit_change(turn: Tensor, head: Tensor, optimizer: Optimizer, relu_features: bool) -> float:
    """Return how far the logits after training change if last layer and head are turned.

    Parameters
    ----------
    turn, head, optimizer, relu_features
        As in `logits_after_training`, but the head before it is turned.
    """
    plain = logits_after_training(torch.eye(DIM).double(), head, optimizer, relu_features)
    turned = logits_after_training(turn, head @ turn.T, optimizer, relu_features)
    return float((plain - turned).abs().max())


@study.claim(
    "propA",
    "Ours: with linear features and an initial last layer whose law no rotation changes, SGD with "
    "momentum and weight decay gives a fixed head and its rotations, permutations of an ETF among "
    "them, the same law of every training and test curve: alignment has no main effect at all.",
)
def _equivariance() -> Iterator[Evidence]:
    generator = torch.Generator().manual_seed(0)
    head = simplex_etf(10, DIM, generator=generator)
    rotation = random_isometry(DIM, DIM, generator)
    permuted = head[torch.randperm(10, generator=generator)]
    permuting = procrustes_rotation(head, permuted)
    coordinates = torch.eye(DIM).double()[torch.randperm(DIM, generator=generator)]
    change = f"largest change of a test logit after {STEPS} steps,"
    rotated, by_sgd = f"{change} rotated", logit_change(rotation, head, sgd, False)
    yield Evidence(rotated, by_sgd, 0, 1e-10, note="linear, SGD")
    by_sgd = logit_change(permuting, head, sgd, False)
    yield Evidence("the same, classes permuted", by_sgd, 0, 1e-10)
    words = "largest error of the rotation that permutes the classes"
    yield Evidence(words, float((head @ permuting.T - permuted).abs().max()), 0, 1e-12)
    for optimizer, relu, note in ((adam, False, "linear, Adam"), (sgd, True, "ReLU, SGD")):
        changed = logit_change(rotation, head, optimizer, relu)
        yield Evidence.at_least(rotated, changed, 0.1, note=f"{note}: not so")
    for name, optimizer in (("SGD", sgd), ("Adam", adam)):
        changed = logit_change(coordinates, head, optimizer, True)
        note = f"ReLU, {name}: these survive"
        yield Evidence(f"{change} coordinates permuted", changed, 0, 1e-10, note=note)
    axis = simplex_etf(10, DIM, "axis")
    order = torch.cat([torch.randperm(10, generator=generator), torch.arange(10, DIM)])
    turn = torch.eye(DIM).double()[order]
    words = "the same, classes of the axis ETF permuted"
    note = "ReLU, SGD: for this ETF they are permutations of coordinates"
    yield Evidence(words, logit_change(turn, axis, sgd, True), 0, 1e-10, note=note)
    error = float((axis @ turn.T - axis[order[:10].argsort()]).abs().max())
    yield Evidence("largest error of their being so", error, 0, 1e-14)
