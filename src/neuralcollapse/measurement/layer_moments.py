"""LayerMoments: class moments of intermediate layers, gathered while the network runs anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.measure import unpack_batch
from neuralcollapse.metrics.class_distance import cdnv
from neuralcollapse.metrics.presets import preset
from neuralcollapse.moments.class_moments import ClassMoments


class LayerMoments:
    """Gather the class moments of named layers in a pass that something else makes.

    A context manager. Batches pass through `watch`, which remembers their labels; a hook on each
    layer adds its output. Maps over positions (n, c, ...) are averaged over them to (n, c), as the
    usual networks do before their head. A pass that starts again counts afresh.

    Parameters
    ----------
    model
        The network.
    layers
        Names as in ``model.named_modules()``.
    num_classes
        K.
    unpack
        As in `measure`.

    Raises
    ------
    NeuralCollapseError
        If a name is not in the model; in a pass, if a layer's output is no tensor of samples, or
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
        modules = dict(model.named_modules())
        unknown = [name for name in layers if name not in modules or not name]
        if unknown:
            raise NeuralCollapseError(
                "layers",
                f"names of the model's modules: {', '.join(filter(None, modules))}",
                ", ".join(map(repr, unknown)),
                "choose among these",
            )
        self.moments: dict[str, ClassMoments] = {}
        self._modules = {name: modules[name] for name in layers}
        self._num_classes, self._unpack = num_classes, unpack
        self._labels: Tensor | None = None  # of the batch on its way through the network
        self._calls: list[str] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> LayerMoments:
        for name, module in self._modules.items():
            self._hooks.append(module.register_forward_hook(self._catch(name)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def watch(self, loader: Iterable[Any]) -> Iterable[Any]:
        """Return the same batches; what a layer puts out after each is added.

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

    def _catch(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if self._labels is None:  # not our pass
                return
            if not isinstance(output, Tensor) or output.shape[:1] != self._labels.shape:
                shape = f" of shape {tuple(output.shape)}" if isinstance(output, Tensor) else ""
                raise NeuralCollapseError(
                    "layers",
                    f"layers that return a tensor with {len(self._labels)} rows, one a sample",
                    f"{type(output).__name__}{shape} from {name!r}",
                    "choose another layer",
                )
            # Added at once: a layer after this one may work in place on its output.
            rows = output.detach().reshape(len(output), -1)
            if output.ndim > 2:
                rows = output.detach().flatten(2).mean(2)
            if name not in self.moments:
                self.moments[name] = ClassMoments(self._num_classes, rows.shape[1])
            self.moments[name].update(rows, self._labels.to(rows.device))
            self._calls.append(name)

        return hook

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Start a pass: yield the batches of a loader, each known by its labels."""
        self.moments = {}
        for batch in loader:
            self._labels = torch.as_tensor(self._unpack(batch)[1])
            self._calls.clear()
            yield batch
            self._labels = None
            if sorted(self._calls) != sorted(self._modules):
                raise NeuralCollapseError(
                    "layers",
                    "layers that are called once in each forward pass",
                    f"calls of {', '.join(map(repr, self._calls)) or 'none'}",
                    "choose layers that are used once",
                )


class _Watched:
    """The batches of a loader, which may be read more than once."""

    def __init__(self, loader: Iterable[Any], layers: LayerMoments) -> None:
        self._loader, self._layers = loader, layers

    def __iter__(self) -> Iterator[Any]:
        return self._layers.batches(self._loader)
