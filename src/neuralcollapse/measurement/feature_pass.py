"""One run of a network over data: what enters and leaves its head, batch by batch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.feature_tap import FeatureTap

Unpack = Callable[[Any], tuple[Any, Any]]
LABEL_KEYS = ("labels", "label", "targets", "target", "y")


def unpack_batch(batch: Any) -> tuple[Any, Any]:
    """Split a batch into inputs and labels.

    Parameters
    ----------
    batch
        A sequence (inputs, labels), or a mapping with a key of `LABEL_KEYS`.

    Returns
    -------
    tuple
        Inputs, a mapping if the batch was one, and labels.

    Raises
    ------
    NeuralCollapseError
        If the batch is neither.

    Examples
    --------
    >>> unpack_batch({"input_ids": 1, "labels": 2})
    ({'input_ids': 1}, 2)
    """
    if isinstance(batch, Mapping):
        key = next((key for key in LABEL_KEYS if key in batch), None)
        if key is not None:
            return {name: value for name, value in batch.items() if name != key}, batch[key]
        got = f"a mapping with keys {', '.join(map(repr, batch))}"
    elif isinstance(batch, (list, tuple)) and len(batch) == 2:
        return batch[0], batch[1]
    else:
        got = type(batch).__name__
        if isinstance(batch, (list, tuple)):
            got += f" of length {len(batch)}"
    raise NeuralCollapseError(
        "loader",
        f"batches (inputs, labels), or mappings with a key among {', '.join(LABEL_KEYS)}",
        got,
        "pass unpack=, a function from a batch to (inputs, labels)",
    )


class FeaturePass:
    """One run of the network over a loader: an iterable of (features, logits, labels).

    Parameters
    ----------
    model
        The network, in the mode and on the device wanted; see `evaluating`.
    loader
        Batches that `unpack` splits into inputs and labels.
    tap
        An open tap of the model.
    device
        Where inputs are moved.
    unpack
        From a batch to (inputs, labels).
    show
        Whether to show a progress bar.
    title
        Its title.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        tap: FeatureTap,
        device: torch.device,
        unpack: Unpack,
        show: bool = False,
        title: str = "",
    ) -> None:
        self._model, self._loader, self._tap, self._device = model, loader, tap, device
        self._unpack, self._show, self._title = unpack, show, title

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        batches: Iterable[Any] = self._loader
        if self._show:
            total = len(self._loader) if isinstance(self._loader, Sized) else None
            console = Console(stderr=True)
            batches = track(self._loader, self._title, total=total, transient=True, console=console)
        for batch in batches:
            inputs, labels = self._unpack(batch)
            inputs = _to(inputs, self._device)
            if isinstance(inputs, Mapping):
                self._model(**inputs)
            else:
                self._model(inputs)
            features, logits = self._tap.take()
            yield features, logits, torch.as_tensor(labels).to(features.device)

    def require_rereadable(self, budget: int) -> None:
        """Refuse a loader that is used up by its first pass."""
        if iter(self._loader) is self._loader:
            raise NeuralCollapseError(
                "loader",
                f"at most {budget:,} bytes of features from a loader that can be read only once",
                "more",
                "pass a DataLoader or a list, or raise feature_budget",
            )


@contextmanager
def evaluating(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """Evaluate without gradients; restore modes, device and random states at the end.

    Parameters
    ----------
    model
        The network.
    device
        Where to run; where the model is if None.

    Yields
    ------
    torch.device
        Where the model is.
    """
    modes = {module: module.training for module in model.modules()}
    tensors = [*model.parameters(), *model.buffers()]
    home = tensors[0].device if tensors else torch.device("cpu")
    where = home if device is None else torch.device(device)
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    cuda = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=cuda), torch.no_grad():
        try:
            if where != home:
                model.to(where)
            model.eval()
            yield where
        finally:
            for module, mode in modes.items():
                module.training = mode
            if where != home:
                model.to(home)
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


def _to(value: Any, device: torch.device) -> Any:
    """Move the tensors of an input, however nested, to a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: _to(item, device) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to(item, device) for item in value)
    return value
