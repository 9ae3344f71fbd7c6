"""LayerMoments: class moments of intermediate layers, gathered in a pass made anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.batch_parts import unpack_batch
from neuralcollapse.measurement.layer_choice import checked_layers
from neuralcollapse.measurement.layer_tap import LayerTap
from neuralcollapse.measurement.samples import Samples
from neuralcollapse.metrics.class_distance import cdnv
from neuralcollapse.metrics.over_ranks import over_ranks, shared
from neuralcollapse.metrics.presets import preset
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.validation import as_tensor


class LayerMoments:
    """Gather the class moments of named layers in a pass over the data that is made anyway.

    A context manager. Batches pass through `watch`, which reads their labels; the network runs on
    each batch before the next is taken. Outputs with more than two axes are averaged over
    positions, as in `measure_layers`. A new pass starts from zero.

    Parameters
    ----------
    model
        The network.
    layers
        Names as in ``model.named_modules()``; if empty, nothing is gathered.
    num_classes
        K; may be set later, before the first batch is added.
    unpack
        As in `measure`.

    Raises
    ------
    NeuralCollapseError
        If a name is not in the model; in a pass, if a layer's output does not have one row per
        sample, or a layer was not called once for each batch.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse.measurement import LayerMoments
    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
    >>> batches = [(torch.tensor([[-2.0], [-1], [1], [2]]), torch.tensor([0, 0, 1, 1]))]
    >>> with LayerMoments(model, ["1"], num_classes=2) as layers:
    ...     for inputs, _ in layers.watch(batches):
    ...         _ = model(inputs)
    >>> layers.moments["1"].counts.tolist()
    [2, 2]
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        num_classes: int | None = None,
        unpack: Callable[[Any], tuple[Any, Any]] = unpack_batch,
    ) -> None:
        self.moments: dict[str, ClassMoments] = {}
        self.num_classes = num_classes
        self.among: Tensor | None = None  # the classes that count; all if None
        self.names = checked_layers(model, layers) if layers else []
        self._tap = LayerTap(model, self.names, "mean")
        self._unpack = unpack

    def __enter__(self) -> LayerMoments:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._tap.__exit__(kind)  # also after a pass that ended with an error

    def watch(self, loader: Iterable[Any]) -> Iterable[Any]:
        """Return the same batches, and add the outputs of the layers on each.

        Parameters
        ----------
        loader
            Batches.
        """
        return _Watched(loader, self)

    def values(self) -> dict[str, dict[str, float]]:
        """Return by layer NC1, NC1~ and NC2 as Tirer et al. 2023 define them, and the CDNV."""
        return {
            name: preset("tirer2023", moments) | {"cdnv": cdnv(moments)}
            for name, moments in self.moments.items()
        }

    @property
    def last(self) -> ClassMoments | None:
        """Moments of the last layer named; None if there is none."""
        return self.moments.get(self.names[-1]) if self.names else None

    def merge(self) -> None:
        """Merge the moments of all processes; every process must call, with data or without."""
        sizes = {name: (part.num_classes, part.dim) for name, part in self.moments.items()}
        for name, size in (shared(sizes or None) or {}).items():
            state = CollapseState(*size)
            state.moments = self.moments.get(name, state.moments)
            self.moments[name] = over_ranks(state).moments

    def listening(self, afresh: bool = True) -> LayerTap:
        """Return the context in which the outputs of the network are captured.

        Parameters
        ----------
        afresh
            Whether this is a new pass, which starts from zero.
        """
        self.moments = {} if afresh else self.moments
        return self._tap

    def expect(self, num_samples: int | None, mask: Tensor | None, positions: bool | None) -> None:
        """Announce the next batch, see `LayerTap.expect`."""
        self._tap.expect(num_samples, mask, positions)

    def add(self, labels: Any, samples: Samples | None = None, mask: Tensor | None = None) -> None:
        """Add the outputs of the layers on the batch that ran.

        Parameters
        ----------
        labels
            One per sample or, with `samples`, one per position; as `Samples.settled` returns them.
        samples
            How positions are read.
        mask
            Which positions are there.
        """
        if not self.names:
            return
        number = None if isinstance(labels, PackedSequence) else len(labels)
        found = self._tap.take(number, positions=getattr(labels, "ndim", 1) > 1)
        if found.keys() != set(self.names):
            expected = "layers that are called once in each forward pass"
            got = f"calls of {', '.join(map(repr, found)) or 'none'}"
            raise NeuralCollapseError("layers", expected, got, "choose layers that are called once")
        for name, features in found.items():
            true = labels
            if samples is not None:
                features, _, true = samples.rows(features, features, labels, mask)
            true = as_tensor("labels", true).to(features.device)
            if self.among is not None:
                keep = self.among.to(features.device)[true]
                features, true = features[keep], true[keep]
            if name not in self.moments:
                num_classes, dim = self.num_classes or int(true.max()) + 1, features.shape[1]
                self.moments[name] = ClassMoments(num_classes, dim, device=features.device)
            self.moments[name].update(features, true)

    def _pass(self, loader: Iterable[Any]) -> Iterator[Any]:
        with self.listening():
            for batch in loader:
                yield batch
                self.add(self._unpack(batch)[1])


class _Watched:
    """The batches of a loader, which may be read more than once."""

    def __init__(self, loader: Iterable[Any], layers: LayerMoments) -> None:
        self._loader, self._layers = loader, layers

    def __iter__(self) -> Iterator[Any]:
        return self._layers._pass(self._loader)
