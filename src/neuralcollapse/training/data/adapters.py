"""Data of the user's own: PyTorch and Hugging Face data sets, brought into memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.data.image_data import ImageData
from neuralcollapse.validation import integer_labels

IMAGE_COLUMNS = ("image", "img", "pixel_values")
LABEL_COLUMNS = ("label", "labels", "fine_label", "target")


def from_torch(
    train: Any, test: Any, *, class_names: Sequence[str] | None = None, name: str = "custom"
) -> ImageData:
    """Bring PyTorch data sets of (image, label) into memory.

    Parameters
    ----------
    train, test
        Any data sets with a length and items (image, label). An image is a tensor (channels,
        height, width) or (height, width), or an array or a PIL image (height, width[, channels]);
        bytes are divided by 255, other numbers are taken as they are. All have the same shape.
    class_names
        One a class; `train.classes` if omitted and there, else the numbers.
    name
        Of the data.

    Returns
    -------
    ImageData
        For `build_network` and `sgd_epochs`; or put ``DATASETS["mine"] = lambda root: data``, and
        a `TrainConfig` can name it.

    Raises
    ------
    NeuralCollapseError
        If there is no item, an item is no pair, an image is of another kind or shape than the
        first, or labels are no whole numbers from 0 to K - 1.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from neuralcollapse.training import from_torch
    >>> pairs = TensorDataset(torch.rand(6, 1, 4, 4), torch.arange(6) % 3)
    >>> from_torch(pairs, pairs, class_names=["a", "b", "c"]).input_shape
    (1, 4, 4)
    """
    names = class_names or getattr(train, "classes", None)
    splits = []
    for part, dataset in (("train", train), ("test", test)):
        items = [dataset[i] for i in range(len(dataset))]
        if any(not isinstance(item, (tuple, list)) or len(item) != 2 for item in items):
            raise NeuralCollapseError(
                part, "items (image, label)", "others", "wrap the data set so that it gives pairs"
            )
        splits.append((part, [item[0] for item in items], [item[1] for item in items]))
    return _image_data(name, splits, names)


def from_hugging_face(
    train: Any,
    test: Any = None,
    *,
    image: str | None = None,
    label: str | None = None,
    name: str = "custom",
) -> ImageData:
    """Bring Hugging Face data sets with a column of images and one of labels into memory.

    Needs of them what ``datasets.Dataset`` has: ``features``, and a column by its name.

    Parameters
    ----------
    train, test
        The two splits; or, as `train` alone, a mapping with both, such as a ``DatasetDict``.
    image, label
        Names of the columns; if omitted, the one of `IMAGE_COLUMNS` and of `LABEL_COLUMNS` that
        is there. Images as in `from_torch`.
    name
        Of the data.

    Returns
    -------
    ImageData
        With the class names of the label column, where it has them.

    Raises
    ------
    NeuralCollapseError
        If there is no test split or no such column, and as in `from_torch`.

    Examples
    --------
    >>> import numpy as np
    >>> from neuralcollapse.training import from_hugging_face
    >>> class Split(dict):  # what datasets.load_dataset(...)["train"] is
    ...     features = {"image": None, "label": None}
    >>> split = Split(image=[np.zeros((8, 8), np.uint8)] * 4, label=[0, 1, 0, 1])
    >>> data = from_hugging_face(split, split)
    >>> data.input_shape, data.class_sizes.tolist()
    ((1, 8, 8), [2, 2])
    """
    if test is None:
        if not isinstance(train, Mapping) or not {"train", "test"} <= set(train):
            got = ", ".join(map(str, train)) if isinstance(train, Mapping) else "one split"
            raise NeuralCollapseError(
                "test", "the splits train and test", got, "pass two splits: from_hugging_face(a, b)"
            )
        train, test = train["train"], train["test"]
    features = train.features
    images = _column("image", image, IMAGE_COLUMNS, features)
    labels = _column("label", label, LABEL_COLUMNS, features)
    names = getattr(features[labels], "names", None)
    splits = [
        (part, list(split[images]), list(split[labels]))
        for part, split in (("train", train), ("test", test))
    ]
    return _image_data(name, splits, names)


def _column(
    argument: str, asked: str | None, usual: Sequence[str], features: Mapping[str, Any]
) -> str:
    wanted = usual if asked is None else (asked,)
    found = next((column for column in wanted if column in features), None)
    if found is None:
        expected = f"a column {' or '.join(map(repr, wanted))}"
        got = f"the columns {', '.join(map(repr, features))}"
        remedy = f"pass {argument}=, the name of the column"
        raise NeuralCollapseError(argument, expected, got, remedy)
    return found


def _image_data(
    name: str,
    splits: Iterable[tuple[str, list[Any], list[Any]]],
    class_names: Sequence[str] | None,
) -> ImageData:
    datasets = {}
    shape: tuple[int, ...] | None = None
    for part, items, classes in splits:
        if not items:
            raise NeuralCollapseError(part, "at least one image", "none", "check the data set")
        images = [_pixels(part, item) for item in items]
        shape = shape or tuple(images[0].shape)
        odd = next((i for i, image in enumerate(images) if tuple(image.shape) != shape), None)
        if odd is not None:
            expected = f"images of one shape, {shape}"
            got = f"{tuple(images[odd].shape)} at {odd}"
            raise NeuralCollapseError(part, expected, got, "resize or crop them first")
        known = len(class_names) if class_names else None
        labels = integer_labels(f"labels of {part}", np.asarray(classes), len(items), known)
        datasets[part] = TensorDataset(torch.stack(images), labels)
    highest = max(int(dataset.tensors[1].max()) for dataset in datasets.values())
    names = tuple(map(str, class_names or range(highest + 1)))
    return ImageData(name, datasets["train"], datasets["test"], names)


def _pixels(part: str, image: Any) -> Tensor:
    """Return an image as float32 (channels, height, width)."""
    if isinstance(image, Tensor):
        pixels = image
    else:
        array = np.asarray(image)
        if array.dtype.kind not in "uifb":
            raise NeuralCollapseError(
                part, "images: tensors, arrays or PIL images", type(image).__name__, "convert them"
            )
        pixels = torch.from_numpy(np.array(array))
        if pixels.ndim == 3:
            pixels = pixels.permute(2, 0, 1)
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3:
        raise NeuralCollapseError(
            part, "images of two or three axes", f"shape {tuple(pixels.shape)}", "reshape them"
        )
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
