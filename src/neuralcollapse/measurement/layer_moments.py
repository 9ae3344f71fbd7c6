"""LayerMoments: class moments of intermediate layers, gathered while the network runs anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.feature_pass import unpack_batch
from neuralcollapse.measurement.layer_choice import checked_layers
from neuralcollapse.measurement.layer_tap import LayerTap
from neuralcollapse.metrics.class_distance import cdnv
from neuralcollapse.metrics.presets import preset
from neuralcollapse.moments.class_moments import ClassMoments


class LayerMoments:
    """Gather the class moments of named layers in a pass that something else makes.

    A context manager. Batches pass through `watch`, which knows their labels; between two of them
    the network has run. Outputs with more than two axes are averaged over positions, as in
    `measure_layers`. A pass that starts again counts afresh.

    Parameters
    ----------
    model
        The network.
    layers
        Names as in ``model.named_modules()``, at least one.
    num_classes
        K.
    unpack
        As in `measure`.

    Raises
    ------
    NeuralCollapseError
        If a name is not in the model; in a pass, if a layer's output has not one row a sample, or
        a layer was not called once for each batch.

    Examples
    --------
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
        num_classes: int,
        unpack: Callable[[Any], tuple[Any, Any]] = unpack_batch,
    ) -> None:
        self.moments: dict[str, ClassMoments] = {}
        self._names = set(checked_layers(model, layers))
        self._tap = LayerTap(model, layers, "mean")
        self._num_classes, self._unpack = num_classes, unpack

    def __enter__(self) -> LayerMoments:
        return self

    def __exit__(self, *_: object) -> None:
        self._tap.__exit__()  # also of a pass that an error has ended

    def watch(self, loader: Iterable[Any]) -> Iterable[Any]:
        """Return the same batches; what the layers make of each is added.

        Parameters
        ----------
        loader
            Batches.
        """
        return _Watched(loader, self)

    def values(self) -> dict[str, dict[str, float]]:
        """Return NC1, NC1~ and NC2 as Tirer et al. 2023 define them, and CDNV, by layer."""
        return {
            name: preset("tirer2023", moments) | {"cdnv": cdnv(moments)}
            for name, moments in self.moments.items()
        }

    def _pass(self, loader: Iterable[Any]) -> Iterator[Any]:
        self.moments = {}
        with self._tap:
            for batch in loader:
                yield batch
                self._add(torch.as_tensor(self._unpack(batch)[1]))

    def _add(self, labels: torch.Tensor) -> None:
        found = self._tap.take(len(labels))
        if found.keys() != self._names:
            raise NeuralCollapseError(
                "layers",
                "layers that are called once in each forward pass",
                f"calls of {', '.join(map(repr, found)) or 'none'}",
                "choose layers that are used once",
            )
        for name, features in found.items():
            if name not in self.moments:
                dim = features.shape[1]
                self.moments[name] = ClassMoments(self._num_classes, dim, device=features.device)
            self.moments[name].update(features, labels.to(features.device))


class _Watched:
    """The batches of a loader, which may be read more than once."""

    def __init__(self, loader: Iterable[Any], layers: LayerMoments) -> None:
        self._loader, self._layers = loader, layers

    def __iter__(self) -> Iterator[Any]:
        return self._layers._pass(self._loader)
