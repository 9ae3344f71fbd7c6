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
