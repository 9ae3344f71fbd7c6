"""One run of a network over data: what enters and leaves its head, batch by batch."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.at_rest import bare, random_states
from neuralcollapse.measurement.batch_parts import moved
from neuralcollapse.measurement.feature_tap import FeatureTap
from neuralcollapse.measurement.layer_moments import LayerMoments
from neuralcollapse.measurement.samples import Samples


def read(
    loader: Iterable[Any], most: int | None = None, show: bool = False, title: str = ""
) -> Iterable[Any]:
    """Return the batches of a loader, optionally behind a progress bar.

    Parameters
    ----------
    loader
        An iterable of batches.
    most
        The largest number of batches; all if None.
    show
        Whether to show a progress bar.
    title
        Its title.

    Raises
    ------
    NeuralCollapseError
        If the loader is not iterable, or endless while `most` is None.

    Examples
    --------
    >>> list(read(itertools.count(), most=3))
    [0, 1, 2]
    """
    if most is None and isinstance(loader, (itertools.cycle, itertools.count, itertools.repeat)):
        raise _endless("an endless loader")
    if not (hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")):
        raise NeuralCollapseError(
            "loader", "an iterable of batches (inputs, labels)", repr(loader), "pass a DataLoader"
        )
    batches = itertools.islice(loader, most) if most is not None else _ending(loader)
    if not show:
        return batches
    from rich.console import Console  # a tenth of a second, which a measurement can do without
    from rich.progress import track

    total = operator.length_hint(loader) or None  # a stream does not know its length
    total = total if total is None or most is None else min(total, most)
    return track(batches, title, total=total, transient=True, console=Console(stderr=True))


def _ending(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield batches; refuse a sampler without a length that yields more than its data set."""
    if not hasattr(type(loader), "__iter__") and _has_length(loader):  # a data set of batches
        indexed: Any = loader  # which need not refuse an index beyond its end
        loader = (indexed[i] for i in range(len(indexed)))
    data: Any = getattr(loader, "dataset", None)
    size, most = getattr(loader, "batch_size", None), None
    if size and hasattr(data, "__len__") and not _has_length(loader):
        most = -(-len(data) // size)
    for i, batch in enumerate(loader):
        if i == most:
            raise _endless(f"more than {most} batches of {size} from a data set of {len(data)}")
        yield batch


def _has_length(loader: Any) -> bool:
    try:
        len(loader)
    except TypeError:
        return False
    return True


def _endless(got: str) -> NeuralCollapseError:
    return NeuralCollapseError("loader", "batches that come to an end", got, "pass max_batches=")


class FeaturePass:
    """One run of the network over a loader: an iterable of (features, logits, labels).

    Features may be kept; logits only until the next batch.

    Parameters
    ----------
    model
        The network, in the intended mode and on the intended device; see `evaluating`.
    loader
        Batches, as `samples` reads them.
    tap
        An open tap of the model.
    device
        The device that inputs are moved to.
    samples
        How batches are read.
    show
        Whether to show a progress bar.
    title
        Its title.
    max_batches
        The largest number of batches to read; all if None.
    layers
        Further layers to gather in the same pass, if any.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        tap: FeatureTap,
        device: torch.device,
        samples: Samples,
        show: bool = False,
        title: str = "",
        max_batches: int | None = None,
        layers: LayerMoments | None = None,
    ) -> None:
        self._model, self._loader, self._tap, self._device = bare(model), loader, tap, device
        self._samples, self._show, self._title = samples, show, title
        self._most, self._layers = max_batches, layers

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Any]]:
        layers, samples = self._layers, self._samples
        listening = nullcontext() if layers is None else layers.listening()
        # Every pass draws alike: of a shuffled loader that leaves samples out, the same ones.
        with random_states((self._loader,)), listening:
            for batch in read(self._loader, self._most, self._show, self._title):
                inputs, labels, mask = samples.split(batch)
                if not len(labels):
                    continue  # the output for an empty batch says nothing about the head
                if layers is not None:
                    layers.expect(*samples.expected(labels, mask))
                # Nothing here refers to logits: who reads them may drop them before the next batch.
                yield self._forward(moved(inputs, self._device), labels, mask)

    def _forward(self, inputs: Any, labels: Any, mask: Tensor | None) -> tuple[Tensor, Tensor, Any]:
        layers, samples = self._layers, self._samples
        output = samples.run(self._model, inputs)
        features, logits = self._tap.take(output)
        labels = samples.settled(labels, features, logits.shape[-1])
        if layers is not None:
            layers.num_classes = self._tap.sizes[0]
            layers.add(labels, samples, mask)
        features, logits, labels = samples.rows(features, logits, labels, mask)
        # A copy: the loader or the network may write the next batch into the same memory.
        return features.clone(), logits, labels

    def require_rereadable(self, limit: str) -> None:
        """Refuse a loader that can be read only once; `limit` says what it had to keep to."""
        if isinstance(self._loader, Iterator):
            expected = f"{limit} from a loader that can be read only once"
            remedy = "pass a DataLoader or a list, or raise feature_budget"
            raise NeuralCollapseError("loader", expected, "more", remedy)


class Bounded:
    """The first batches of a loader, which keeps its data set and sampler visible.

    Parameters
    ----------
    loader
        A loader that can be read more than once.
    most
        The largest number of batches; all if None or infinite.
    """

    def __init__(self, loader: Iterable[Any], most: float | None = None) -> None:
        self.base_loader = loader
        self.most = None if most in (None, math.inf) else int(most)
        self.dataset = getattr(loader, "dataset", None)
        self.sampler = getattr(loader, "sampler", None)

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self.base_loader, self.most)
