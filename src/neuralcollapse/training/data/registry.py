"""Image data sets held whole in memory: one embedded, the others from files on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.data.idx import read_idx
from neuralcollapse.training.data.image_data import ImageData

DATA_VARIABLE = "NEURALCOLLAPSE_DATA"


def load_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    per_class: int | None = None,
    imbalance: float = 1.0,
    label_noise: float = 0.0,
    seed: int = 0,
) -> ImageData:
    """Load a data set by its name; nothing is ever downloaded.

    Parameters
    ----------
    name
        A key of `DATASETS`. ``"digits"``: 1,797 images of 8x8 pixels that come with scikit-learn,
        split once and for all into 1,437 and 360, by class. ``"fashion-mnist"``: 60,000 and
        10,000 images of 28x28 pixels, from IDX files.
    root
        Folder of the files. If omitted, the folder that the environment variable
        NEURALCOLLAPSE_DATA names (or one in it called like the data set), then
        /usr/share/datasets, where Debian's packages put them. Not used for embedded data.
    per_class
        Keep so many training images of every class, all if None; see `ImageData.subset`.
    imbalance
        Then thin the classes out; see `ImageData.long_tailed`.
    label_noise, seed
        Then make so many training labels wrong; see `ImageData.with_label_noise`.

    Returns
    -------
    ImageData
        The images and labels as tensors.

    Raises
    ------
    NeuralCollapseError
        If the name is unknown, a file is missing (the message says where it was looked for), or
        a file is damaged.

    Examples
    --------
    >>> data = load_dataset("digits")
    >>> len(data.train), len(data.test), data.input_shape, data.num_classes
    (1437, 360, (1, 8, 8), 10)
    """
    if name not in DATASETS:
        raise NeuralCollapseError(
            "data", f"one of {', '.join(DATASETS)}", repr(name), "choose one of these"
        )
    data = DATASETS[name](name, None if root is None else Path(root))
    if per_class is not None:
        data = data.subset(per_class)
    if imbalance != 1:
        data = data.long_tailed(imbalance)
    return data.with_label_noise(label_noise, seed) if label_noise else data


def _digits(name: str, root: Path | None) -> ImageData:
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    rows = range(len(labels))
    splits = train_test_split(rows, test_size=360, random_state=0, stratify=labels)
    classes = torch.from_numpy(labels).long()
    train, test = (TensorDataset(images[rows], classes[rows]) for rows in splits)
    return ImageData(name, train, test, tuple("0123456789"))


def idx_files(class_names: tuple[str, ...]) -> Callable[[str, Path | None], ImageData]:
    """Return the loader of a data set in MNIST's four IDX files.

    Parameters
    ----------
    class_names
        One a class, in the order of the labels.
    """

    def load(name: str, root: Path | None) -> ImageData:
        folders = [root] if root else _usual_folders(name)
        train, test = (_idx_split(name, split, folders, class_names) for split in ("train", "t10k"))
        return ImageData(name, train, test, class_names)

    return load


def _usual_folders(name: str) -> list[Path]:
    own = os.environ.get(DATA_VARIABLE)
    folders = [Path(own), Path(own, name)] if own else []
    return [*folders, Path("/usr/share/datasets", name)]


def _idx_split(
    name: str, split: str, folders: list[Path], class_names: tuple[str, ...]
) -> TensorDataset:
    images, labels = (
        read_idx(_find(name, f"{split}-{kind}-ubyte", folders))
        for kind in ("images-idx3", "labels-idx1")
    )
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max() >= len(class_names):
        raise NeuralCollapseError(
            f"the {split} files of {name}",
            f"images (n, height, width) and n labels below {len(class_names)}",
            f"shapes {tuple(images.shape)}, {tuple(labels.shape)}, labels to {int(labels.max())}",
            "take all four files from the same source",
        )
    return TensorDataset(images[:, None].float() / 255, labels.long())


def _find(name: str, stem: str, folders: list[Path]) -> Path:
    for folder in folders:
        for path in (folder / stem, folder / f"{stem}.gz"):
            if path.is_file():
                return path
    raise NeuralCollapseError(
        "data",
        f"{stem} or {stem}.gz",
        f"no such file in {', '.join(map(str, folders))}",
        f"install Debian's package dataset-{name}, or set {DATA_VARIABLE} to the files' folder",
    )


# Name -> loader of the data under that name, from the given folder or where it usually is.
DATASETS: dict[str, Callable[[str, Path | None], ImageData]] = {
    "digits": _digits,
    "fashion-mnist": idx_files(
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        )
    ),
}
