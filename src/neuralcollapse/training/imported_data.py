"""A network and its loaders by import path, as the command line names them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.data.registry import load_dataset
from neuralcollapse.training.import_path import IMPORT_PATH, failed, found_at

BATCH = 256
Loaders = tuple[Iterable[Any], Iterable[Any] | None, list[str] | None]


def imported_model(path: str) -> nn.Module:
    """Return the network at an import path: the object itself, or what it returns when called.

    Parameters
    ----------
    path
        Such as ``"my_models:resnet"``; the current folder is searched first, and the module is
        run.

    Raises
    ------
    NeuralCollapseError
        If it leads nowhere, its call fails, or there is no module of torch.

    Examples
    --------
    >>> imported_model("torch.nn:Identity")
    Identity()
    """
    found = _made("what", path)
    if not isinstance(found, nn.Module):
        raise NeuralCollapseError(
            "what", f"{path} to be a network", type(found).__name__, "name a torch.nn.Module"
        )
    return found


def imported_loaders(path: str) -> Loaders:
    """Return loaders of training and test data, and the names of classes if they are known.

    Parameters
    ----------
    path
        The import path of a loader or data set, a pair of them, or a function that returns these;
        or the name of a data set that `load_dataset` knows.

    Raises
    ------
    NeuralCollapseError
        If it leads nowhere, its call fails, or there is nothing to read batches from.

    Examples
    --------
    >>> train, test, names = imported_loaders("digits")
    >>> len(train.dataset), len(test.dataset), len(names)
    (1437, 360, 10)
    """
    if not IMPORT_PATH.fullmatch(path):
        images = load_dataset(path)
        return _loader(images.train), _loader(images.test), list(images.class_names)
    found = _made("data", path)
    names = getattr(found, "class_names", None)
    if hasattr(found, "train") and hasattr(found, "test"):
        found = (found.train, found.test)
    train, test = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    for part in filter(lambda part: part is not None, (train, test)):
        if not isinstance(part, Iterable | Dataset):
            raise NeuralCollapseError(
                "data", "a loader, or a pair of loaders", type(part).__name__, "return a DataLoader"
            )
    return _loader(train), None if test is None else _loader(test), names and list(names)


def _loader(data: Any) -> Iterable[Any]:
    """Return a loader as it is, and a data set in batches."""
    if isinstance(data, Dataset) and not isinstance(data, DataLoader):
        return DataLoader(data, batch_size=BATCH)
    return data


def _made(argument: str, path: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as python -m would
    found = found_at(argument, path)
    if isinstance(found, nn.Module | Dataset) or not callable(found):
        return found
    try:
        return found()
    except Exception as error:  # of code that is not ours
        raise failed(argument, f"{path}() to return", error) from error
