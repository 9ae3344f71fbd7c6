"""What a run trains and measures: a network, training data and test data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.config import TrainConfig
from neuralcollapse.training.data import ImageData, load_dataset
from neuralcollapse.training.etf_placement import fix_head
from neuralcollapse.training.networks import build_network


def network_and_data(
    config: TrainConfig, model: nn.Module | None = None, data: Any = None
) -> tuple[nn.Module, Dataset, Dataset, Sequence[str] | None]:
    """Return the untrained network, training data, test data and names of the classes.

    Parameters
    ----------
    config
        Which network and data, and whether the head is fixed.
    model, data
        Instead of those that the configuration names.

    Raises
    ------
    NeuralCollapseError
        If the data is not there, of another kind, or given although the configuration says how it
        is to be made; or network and configuration do not go together.
    """
    if data is None:
        data = load_dataset(
            config.data,
            config.data_root,
            per_class=config.per_class,
            test_per_class=config.test_per_class,
            imbalance=config.imbalance,
            label_noise=config.label_noise,
            seed=config.seed,
        )
    else:
        _require_unprepared(config)
    if not isinstance(data, ImageData) and not (isinstance(data, (tuple, list)) and len(data) == 2):
        expected, remedy = "ImageData, or two data sets", "pass (training data, test data)"
        raise NeuralCollapseError("data", expected, type(data).__name__, remedy)
    if model is None:
        if not isinstance(data, ImageData):
            raise NeuralCollapseError(
                "model", "a network for the data sets given", "none", "pass model= too"
            )
        _require_float32(data)
        bias = config.head == "etf" or config.head_bias
        sizes = data.input_shape, data.num_classes
        model = build_network(
            config.net, *sizes, width=config.width, head_bias=bias, seed=config.seed
        )
    train, test = (data.train, data.test) if isinstance(data, ImageData) else data
    for name, part in (("training", train), ("test", test)):
        if hasattr(part, "__len__") and not len(part):
            got, remedy = f"no {name} samples", "look for what leaves them out"
            raise NeuralCollapseError("data", "samples to train and to test on", got, remedy)
    if config.head == "etf":
        # A generator of its own: the loader would otherwise draw from the global one.
        some, _ = next(iter(DataLoader(train, batch_size=2, generator=torch.Generator())))
        parameter = next(model.parameters(), None)
        fix_head(model, some if parameter is None else some.to(parameter.device), config)
    head = getattr(model, "head", None)
    if isinstance(head, nn.Linear) and (head.bias is not None) != config.head_bias:
        expected = f"{head.bias is not None}, as the network's head is"
        remedy = "correct the configuration or the network"
        raise NeuralCollapseError("head_bias", expected, str(config.head_bias), remedy)
    names = data.class_names if isinstance(data, ImageData) else None
    return model, train, test, names


def _require_unprepared(config: TrainConfig) -> None:
    """Refuse what would be recorded of data that is given, and not be done to it."""
    for name in ("per_class", "test_per_class", "imbalance", "label_noise"):
        value, default = getattr(config, name), getattr(TrainConfig, name)
        if value != default:
            expected = f"{default}, its default, for data that is given as it is to be used"
            remedy = "prepare the data before, as with ImageData.subset, and leave this out"
            raise NeuralCollapseError(name, expected, str(value), remedy)


def _require_float32(data: ImageData) -> None:
    for part in ("train", "test"):
        images = getattr(data, part).tensors[0]
        if images.dtype != torch.float32:
            remedy = "convert them with .float(), and divide bytes by 255"
            got = f"dtype {images.dtype} among the {part} images"
            raise NeuralCollapseError("data", "images in float32", got, remedy)
