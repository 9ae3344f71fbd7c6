"""Sixty noisy features of three classes about a simplex, and a report of them."""

import torch

import neuralcollapse as nc

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(60) % 3
VERTICES = nc.simplex_etf(3, 4, "axis").float()


def noisy(noise=0.5):
    return 2 * VERTICES[LABELS] + noise * torch.randn(60, 4, generator=GENERATOR)


def measured(**options):
    return nc.measure_features(
        noisy(), LABELS, VERTICES, test_features=noisy(), test_labels=LABELS, **options
    )
