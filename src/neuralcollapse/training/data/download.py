"""Fetching a public data set, for those who ask for it: the only place that uses a network."""

from __future__ import annotations

import math
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.data.registry import SOURCES
from neuralcollapse.training.data.source import DATA_VARIABLE, DataSource
from neuralcollapse.training.data.splits import Split, write_splits
from neuralcollapse.training.data.torchvision_data import torchvision_splits
from neuralcollapse.validation import check_choice


def download_dataset(name: str, root: str | Path | None = None) -> Path:
    """Fetch a data set through torchvision, or through OpenML where that is not installed.

    What remains is one file, ``NAME.safetensors``, which `load_dataset` finds in the same folder;
    what was fetched is deleted.

    Parameters
    ----------
    name
        Of a public data set in `DATASETS`.
    root
        Folder to put the file in; the one that NEURALCOLLAPSE_DATA names if omitted.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    NeuralCollapseError
        If the data set is none of these, there is no folder, neither way is open, the network
        fails, or what OpenML has is not in the published order.

    Examples
    --------
    >>> import os
    >>> from neuralcollapse.training import download_dataset, load_dataset
    >>> if "MY_DATA" in os.environ:  # a folder of yours; minutes, by the network
    ...     download_dataset("fashion-mnist", os.environ["MY_DATA"])
    ...     load_dataset("fashion-mnist", root=os.environ["MY_DATA"])
    """
    sources = {source.name: source for source in SOURCES}
    check_choice("data", name, sources)
    source = sources[name]
    folder = root or os.environ.get(DATA_VARIABLE)
    if not folder:
        raise NeuralCollapseError(
            "root", "a folder to put the data in", "none", f"pass it, or set {DATA_VARIABLE}"
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as fetched:
        if find_spec("torchvision") is not None:
            splits = torchvision_splits(source.torchvision, Path(fetched), download=True)
        else:
            splits = openml_splits(source, Path(fetched))
        return write_splits(Path(folder, f"{name}.safetensors"), *splits)


def openml_splits(source: DataSource, folder: Path) -> tuple[Split, Split]:
    """Fetch a data set from OpenML, where training and test images are one table.

    The last rows are taken for the test images, and the sizes of their classes are held against
    the published ones: rows in another order would not have them.

    Parameters
    ----------
    source
        Which.
    folder
        Where scikit-learn may put what it fetches.

    Raises
    ------
    NeuralCollapseError
        If OpenML has no such data set, the network fails, or the rows are in another order.
    """
    if source.openml is None:
        expected = f"torchvision, to fetch {source.name}"
        remedy = f"pip install neuralcollapse[vision], or {source.origin}"
        raise NeuralCollapseError("data", expected, "none, and OpenML has no such data set", remedy)
    name, version, test_sizes = source.openml
    try:
        images, labels = fetch_openml(
            name, version=version, return_X_y=True, as_frame=False, data_home=str(folder)
        )
    except (OSError, ValueError) as error:
        raise NeuralCollapseError(
            "data", f"{name} from OpenML", f"{type(error).__name__}: {error}", "check the network"
        ) from error
    classes = labels.astype(np.int64)
    train_size, test_size = source.sizes
    found = np.bincount(classes[train_size:], minlength=len(test_sizes)).tolist()
    if images.shape != (sum(source.sizes), math.prod(source.input_shape)) or found != [*test_sizes]:
        expected = f"{sum(source.sizes)} rows of {name}, the last {test_size} its test images"
        got = f"{images.shape}, with {found} images of the classes last"
        raise NeuralCollapseError("data", expected, got, source.origin)
    pixels = images.astype(np.uint8).reshape(-1, *source.input_shape)
    return (pixels[:train_size], classes[:train_size]), (pixels[train_size:], classes[train_size:])
