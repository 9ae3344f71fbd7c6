"""Splits as bytes: what every reader of original files returns, and the one file they become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import atomic_path

# Images (n, channels, height, width), bytes, and labels (n,).
Split = tuple[NDArray[np.uint8], NDArray[np.integer]]

FOUR = ("train_images", "train_labels", "test_images", "test_labels")


def write_splits(path: Path, train: Split, test: Split) -> Path:
    """Write both splits to one safetensors file, whole or not at all, and return where.

    Parameters
    ----------
    path
        Of the file.
    train, test
        The splits.
    """
    arrays = dict(zip(FOUR, (*train, *test), strict=True))
    with atomic_path(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
    return path


def read_splits(path: Path) -> tuple[Split, Split]:
    """Read what `write_splits` wrote.

    Parameters
    ----------
    path
        Of the file.

    Raises
    ------
    NeuralCollapseError
        If it is damaged or has other arrays.
    """
    try:
        arrays = load_file(path)
        a, b, c, d = (arrays[name] for name in FOUR)
    except (SafetensorError, OSError, KeyError) as error:
        raise damaged(path, f"the arrays {', '.join(FOUR)}", str(error)) from error
    return (a, b), (c, d)


def damaged(path: Path, expected: str, got: str) -> NeuralCollapseError:
    """Return the error of a file that is not what its name says.

    Parameters
    ----------
    path
        The file.
    expected, got
        What it should hold, and does.
    """
    return NeuralCollapseError(f"file {path}", expected, got, "fetch the file again")
