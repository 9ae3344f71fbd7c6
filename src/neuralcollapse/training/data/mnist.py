"""MNIST and its kin: grey images of 28x28 pixels in four IDX files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.data.idx import read_idx
from neuralcollapse.training.data.source import DataSource
from neuralcollapse.training.data.splits import Split

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SHAPE, SIZES = (1, 28, 28), (60_000, 10_000)
DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


def read_idx_splits(paths: Sequence[Path]) -> tuple[Split, Split]:
    """Read training images and labels, then test images and labels.

    Parameters
    ----------
    paths
        Of the four files, in the order of `FILES`.
    """
    arrays = [read_idx(path).numpy() for path in paths]
    for part, images, labels in zip(("train", "t10k"), arrays[::2], arrays[1::2], strict=True):
        if images.ndim != 3 or labels.ndim != 1:
            where = f"the {part} files"
            got = f"shapes {images.shape}, {labels.shape}"
            remedy = "take all four files from the same source"
            raise NeuralCollapseError(where, "images (n, height, width) and n labels", got, remedy)
    return (arrays[0][:, None], arrays[1]), (arrays[2][:, None], arrays[3])


MNIST = DataSource(
    name="mnist",
    class_names=DIGITS,
    input_shape=SHAPE,
    sizes=SIZES,
    origin="get its four IDX files (ossci-datasets.s3.amazonaws.com/mnist)",
    files=FILES,
    read=read_idx_splits,
    folders=("MNIST/raw",),
    torchvision="MNIST",
    openml=("mnist_784", 1, (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)),
)

FASHION_MNIST = replace(
    MNIST,
    name="fashion-mnist",
    class_names=GARMENTS,
    origin="install Debian's package dataset-fashion-mnist",
    folders=("FashionMNIST/raw",),
    torchvision="FashionMNIST",
    openml=("Fashion-MNIST", 1, (1000,) * 10),
)

KMNIST = replace(
    MNIST,
    name="kmnist",
    class_names=KANA,
    origin="get its four IDX files (codh.rois.ac.jp/kmnist)",
    folders=("KMNIST/raw",),
    torchvision="KMNIST",
    openml=("Kuzushiji-MNIST", 1, (1000,) * 10),
)
