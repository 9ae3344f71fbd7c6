"""DataSource: a public data set, where its files are looked for, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.data.image_data import ImageData
from neuralcollapse.training.data.splits import Split, read_splits
from neuralcollapse.training.data.torchvision_data import torchvision_splits

DATA_VARIABLE = "NEURALCOLLAPSE_DATA"
DEBIAN = Path("/usr/share/datasets")


@dataclass(frozen=True)
class DataSource:
    """A public data set, known by name; called with a folder, it returns the data.

    Attributes
    ----------
    name
        As in `DATASETS`.
    class_names
        One a class, in the order of the labels.
    input_shape
        (channels, height, width) of an image.
    sizes
        Published numbers of training and test images.
    origin
        How to get the original files, as a remedy in an error.
    files
        Names of the original files, which may have ``.gz`` behind them.
    read
        From the paths of these files to (training split, test split).
    folders
        Subfolders in which archives and other programs put the files.
    pickled
        Folder of the pickled version, which torchvision reads, where it is installed, once it has
        checked the files' sums; None if there is none.
    standardized
        Whether pixels are standardised channel by channel, see `ImageData.standardized`; else
        they are in [0, 1].
    torchvision
        Name of the class in ``torchvision.datasets``.
    openml
        Name and version in OpenML, and the sizes of the classes in the test images, which stand
        last there; None if there is none.

    Examples
    --------
    >>> from neuralcollapse.training import DATASETS
    >>> source = DATASETS["fashion-mnist"]
    >>> source.class_names[:2], source.input_shape, source.sizes
    (('T-shirt/top', 'Trouser'), (1, 28, 28), (60000, 10000))
    """

    name: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    sizes: tuple[int, int]
    origin: str
    files: tuple[str, ...]
    read: Callable[[Sequence[Path]], tuple[Split, Split]]
    torchvision: str
    folders: tuple[str, ...] = ()
    pickled: str | None = None
    standardized: bool = False
    openml: tuple[str, int, tuple[int, ...]] | None = None

    def __call__(self, root: Path | None = None) -> ImageData:
        """Return the data from this folder, or from where it usually is."""
        paths = self.locate(root)
        if paths is None:
            raise self._missing(root)
        if paths[0].is_dir():
            splits = torchvision_splits(self.torchvision, paths[0].parent, download=False)
        elif paths[0].suffix == ".safetensors":
            splits = read_splits(paths[0])
        else:
            splits = self.read(paths)
        train, test = (
            self._dataset(part, split)
            for part, split in zip(("train", "test"), splits, strict=True)
        )
        data = ImageData(self.name, train, test, self.class_names)
        return data.standardized() if self.standardized else data

    def locate(self, root: Path | None = None) -> list[Path] | None:
        """Return the paths that the data would be read from; None if a file is missing.

        One path: the file that a download made of the original ones, or the folder of the
        pickled version where torchvision is installed. Several: the original files.

        Parameters
        ----------
        root
            As in `load_dataset`.
        """
        places = self._places(root)
        whole = _first(places, f"{self.name}.safetensors")
        if whole is not None:
            return [whole]
        paths = [_first(places, file) for file in self.files]
        found = [path for path in paths if path is not None]
        if len(found) == len(paths):
            return found
        if self.pickled is not None and find_spec("torchvision") is not None:
            folders = [place / self.pickled for place in places]
            return [folder for folder in folders if folder.is_dir()][:1] or None
        return None

    def _places(self, root: Path | None) -> list[Path]:
        own = os.environ.get(DATA_VARIABLE)
        bases = [root] if root else [Path(own)] if own else []
        places = [base / sub for base in bases for sub in ("", self.name, *self.folders)]
        return places if root else [*places, DEBIAN / self.name]

    def _missing(self, root: Path | None) -> NeuralCollapseError:
        places = self._places(root)
        file = next(file for file in self.files if _first(places, file) is None)
        got = f"no such file in {', '.join(map(str, places))}"
        remedy = (
            f"{self.origin}, and set {DATA_VARIABLE} to the files' folder; "
            f"or run: neuralcollapse data {self.name} --download"
        )
        return NeuralCollapseError("data", f"{file} or {file}.gz", got, remedy)

    def _dataset(self, part: str, split: Split) -> TensorDataset:
        images, labels = split
        classes = len(self.class_names)
        matched = images.ndim == 4 and labels.shape == images.shape[:1] and len(labels) > 0
        if not matched or labels.min() < 0 or labels.max() >= classes:
            lowest, highest = (labels.min(), labels.max()) if labels.size else ("no", "no")
            where = f"the {part} files of {self.name}"
            expected = f"images (n, channels, height, width) and n labels from 0 to {classes - 1}"
            got = f"shapes {images.shape}, {labels.shape}, labels from {lowest} to {highest}"
            raise NeuralCollapseError(where, expected, got, "take all files from the same source")
        pixels = torch.from_numpy(images).float().div_(255)
        return TensorDataset(pixels, torch.from_numpy(labels.astype(np.int64)))


def _first(places: Sequence[Path], file: str) -> Path | None:
    candidates = (place / name for place in places for name in (file, f"{file}.gz"))
    return next((path for path in candidates if path.is_file()), None)
