"""A small problem that every integration trains on."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES, DIM = 3, 6


@pytest.fixture
def dataset():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES).repeat(32)
    centers = 2 * torch.randn(CLASSES, DIM, generator=generator)
    return TensorDataset(
        centers[labels] + torch.randn(len(labels), DIM, generator=generator), labels
    )


@pytest.fixture
def loader(dataset):
    return DataLoader(dataset, batch_size=16, shuffle=True)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(DIM, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, CLASSES)
    )


# Options that no measurement fits, of a network of three classes, and what is said of each.
MISTAKEN = {
    "class_names": ({"class_names": ["a", "b"]}, "class_names: expected 3 names, one per class"),
    "include": ({"include": ["nc1_pinv", "nc9"]}, "include: expected metrics that .* got nc9"),
    "layers": ({"layers": ["nowhere"]}, "layers: expected .*nowhere"),
    "never called": ({"layers": ["3.unused"]}, "layers: expected layers that are called once"),
    "metrics": ({"metrics": {"nc1_pinv": len}}, "metrics: expected functions .* not yet in use"),
    "test labels": ({"val_loader": [(torch.zeros(4, DIM), [0, 1, 2, 3])]}, "labels: expected .*3"),
}


@pytest.fixture(params=list(MISTAKEN))
def mistaken(request):
    """Options, and the message that refuses them."""
    return MISTAKEN[request.param]
