"""STL-10: colour images of 96x96 pixels, from plain bytes; the labelled ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuralcollapse.training.data.gzipped import read_bytes
from neuralcollapse.training.data.source import DataSource
from neuralcollapse.training.data.splits import Split, damaged

PIXELS = 3 * 96 * 96
CLASSES = (
    "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
)  # fmt: skip


def read_stl10(paths: Sequence[Path]) -> tuple[Split, Split]:
    """Read training images and labels, then test images and labels.

    An image is three planes of 96x96 bytes, column by column; labels are 1 to 10.

    Parameters
    ----------
    paths
        Of the four files, in the order of `STL10.files`.

    Raises
    ------
    NeuralCollapseError
        If a file is not a whole number of images.

    References
    ----------
    Coates, Lee & Ng 2011, "An analysis of single-layer networks in unsupervised feature learning".
    """
    train_images, train_labels, test_images, test_labels = paths
    return (
        (_images(train_images), _labels(train_labels)),
        (_images(test_images), _labels(test_labels)),
    )


def _images(path: Path) -> np.ndarray:
    content = np.frombuffer(read_bytes(path), np.uint8)
    if len(content) % PIXELS:
        raise damaged(path, f"a whole number of images of {PIXELS} bytes", f"{len(content)} bytes")
    return content.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2).copy()


def _labels(path: Path) -> np.ndarray:
    return np.frombuffer(read_bytes(path), np.uint8).astype(np.int64) - 1


STL10 = DataSource(
    name="stl10",
    class_names=CLASSES,
    input_shape=(3, 96, 96),
    sizes=(5_000, 8_000),
    origin="unpack the binary version (ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz)",
    files=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),
    read=read_stl10,
    folders=("stl10_binary",),
    standardized=True,
    torchvision="STL10",
)
