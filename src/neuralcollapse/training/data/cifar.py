"""CIFAR-10 and CIFAR-100: colour images of 32x32 pixels, from the binary version's plain bytes.

The Python version of these data sets is pickled, and a pickle can run any program when it is
opened: it is never read here. torchvision reads it, once it has checked the files' sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from neuralcollapse.training.data.gzipped import read_bytes
from neuralcollapse.training.data.source import DataSource
from neuralcollapse.training.data.splits import Split, damaged

PIXELS = 3 * 32 * 32

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup",
    "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house",
    "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy",
    "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal",
    "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar",
    "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman",
    "worm",
)  # fmt: skip


def read_binary(paths: Sequence[Path], label_bytes: int) -> tuple[Split, Split]:
    """Read training batches, then the test batch.

    A record is one byte (two in CIFAR-100: superclass and class; the class is taken) and then
    red, green and blue planes of 32x32 bytes, row by row.

    Parameters
    ----------
    paths
        Of the training batches and, last, the test batch.
    label_bytes
        1 or 2.

    Raises
    ------
    NeuralCollapseError
        If a file is not a whole number of records.

    References
    ----------
    Krizhevsky 2009, "Learning multiple layers of features from tiny images".
    """
    batches = [_batch(path, label_bytes) for path in paths]
    images, labels = (np.concatenate(parts) for parts in zip(*batches[:-1], strict=True))
    return (images, labels), batches[-1]


def _batch(path: Path, label_bytes: int) -> Split:
    content = np.frombuffer(read_bytes(path), np.uint8)
    record = label_bytes + PIXELS
    if not len(content) or len(content) % record:
        raise damaged(path, f"a whole number of records of {record} bytes", f"{len(content)} bytes")
    rows = content.reshape(-1, record)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32).copy(), rows[:, label_bytes - 1]


CIFAR10 = DataSource(
    name="cifar10",
    class_names=CIFAR10_CLASSES,
    input_shape=(3, 32, 32),
    sizes=(50_000, 10_000),
    origin="unpack the binary version (www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz)",
    files=(*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
    read=partial(read_binary, label_bytes=1),
    folders=("cifar-10-batches-bin",),
    pickled="cifar-10-batches-py",
    standardized=True,
    torchvision="CIFAR10",
    openml=("CIFAR_10", 1, (1000,) * 10),
)

CIFAR100 = DataSource(
    name="cifar100",
    class_names=CIFAR100_CLASSES,
    input_shape=(3, 32, 32),
    sizes=(50_000, 10_000),
    origin="unpack the binary version (www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz)",
    files=("train.bin", "test.bin"),
    read=partial(read_binary, label_bytes=2),
    folders=("cifar-100-binary",),
    pickled="cifar-100-python",
    standardized=True,
    torchvision="CIFAR100",
)
