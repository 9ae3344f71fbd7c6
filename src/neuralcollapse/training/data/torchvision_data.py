"""Data sets through torchvision, where it is installed."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.data.splits import Split


def torchvision_splits(name: str, folder: Path, download: bool) -> tuple[Split, Split]:
    """Read a data set's training and test images with torchvision.

    Parameters
    ----------
    name
        Of the class in ``torchvision.datasets``.
    folder
        Its `root`.
    download
        Whether it may fetch what is not there.

    Raises
    ------
    NeuralCollapseError
        If torchvision is not installed, or finds no files or damaged ones, or cannot fetch them.
    """
    try:
        module = importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise NeuralCollapseError(
            "data", "torchvision", str(error), "pip install neuralcollapse[vision]"
        ) from error
    maker = getattr(module, name)
    # Some classes ask for train=True or False, the others for split="train" or "test".
    by_name = "split" in inspect.signature(maker).parameters
    choices: list[dict[str, Any]] = [
        {"split": part} if by_name else {"train": part == "train"} for part in ("train", "test")
    ]
    try:
        train, test = (maker(root=str(folder), download=download, **choice) for choice in choices)
    except (RuntimeError, OSError) as error:
        remedy = "check the network" if download else "fetch the files again"
        raise NeuralCollapseError(
            "data", f"torchvision to read {name} in {folder}", str(error), remedy
        ) from error
    return _split(train), _split(test)


def _split(dataset: Any) -> Split:
    """Return bytes (n, channels, height, width) from whichever order of axes torchvision chose."""
    images = np.asarray(dataset.data, dtype=np.uint8)
    labels = np.asarray(dataset.targets if hasattr(dataset, "targets") else dataset.labels)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] != 3:
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images), labels.astype(np.int64)
