"""The digits that come with scikit-learn: always there."""

from __future__ import annotations

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from neuralcollapse.training.data.image_data import ImageData


def embedded_digits(root: Path | None = None) -> ImageData:
    """Return 1,797 real images of 8x8 pixels, split once and for all, by class.

    Parameters
    ----------
    root
        Not used.

    References
    ----------
    Alpaydin & Kaynak 1998, "Optical recognition of handwritten digits", UCI (its test part).
    """
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    rows = range(len(labels))
    splits = train_test_split(rows, test_size=360, random_state=0, stratify=labels)
    classes = torch.from_numpy(labels).long()
    train, test = (TensorDataset(images[rows], classes[rows]) for rows in splits)
    return ImageData("digits", train, test, tuple("0123456789"))
