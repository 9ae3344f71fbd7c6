"""SVHN: colour images of house numbers, 32x32 pixels, from MATLAB files."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from neuralcollapse.training.data.gzipped import read_bytes
from neuralcollapse.training.data.source import DataSource
from neuralcollapse.training.data.splits import Split, damaged


def read_svhn(paths: Sequence[Path]) -> tuple[Split, Split]:
    """Read the training and the test file; a MATLAB file of arrays holds no program.

    Each has X (32, 32, 3, n) and y (n, 1), where 10 stands for the digit 0.

    Parameters
    ----------
    paths
        Of the two files.

    Raises
    ------
    NeuralCollapseError
        If a file is no MATLAB file, or holds something else.

    References
    ----------
    Netzer, Wang, Coates, Bissacco, Wu & Ng 2011, "Reading digits in natural images with
    unsupervised feature learning".
    """
    train, test = paths
    return _split(train), _split(test)


def _split(path: Path) -> Split:
    expected = "a MATLAB file with X (32, 32, 3, n) of bytes and y (n, 1)"
    try:
        file = BytesIO(read_bytes(path))
        # Its stubs know paths alone, its documentation open files too.
        content = loadmat(file, variable_names=["X", "y"])  # type: ignore[arg-type]
        images, labels = content["X"], content["y"]
    except (
        MatReadError,
        ValueError,
        TypeError,
        KeyError,
        NotImplementedError,
        IndexError,  # of a file too short for its version, in older scipy
        zlib.error,
    ) as error:
        raise damaged(path, expected, f"{type(error).__name__}: {error}") from error
    if images.ndim != 4 or images.dtype != np.uint8 or labels.shape != (images.shape[3], 1):
        raise damaged(path, expected, f"{images.dtype} {images.shape}, {labels.shape}")
    return images.transpose(3, 2, 0, 1).copy(), labels[:, 0].astype(np.int64) % 10


SVHN = DataSource(
    name="svhn",
    class_names=tuple("0123456789"),
    input_shape=(3, 32, 32),
    sizes=(73_257, 26_032),
    origin="get both files of format 2 (ufldl.stanford.edu/housenumbers)",
    files=("train_32x32.mat", "test_32x32.mat"),
    read=read_svhn,
    standardized=True,
    torchvision="SVHN",
)
