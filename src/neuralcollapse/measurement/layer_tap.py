"""LayerTap: the features of intermediate layers of a network, as it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.feature_tap import tensors_of

Spatial = Literal["mean", "flatten"] | Callable[[Tensor], Tensor]


class LayerTap:
    """Catch the outputs of layers, as (n, d) features, while a network runs; a context manager.

    Parameters
    ----------
    model
        The network.
    names
        Of the layers, as in ``model.named_modules()``.
    spatial
        As in `measure_layers`.

    Raises
    ------
    NeuralCollapseError
        When the network runs, if a layer's output holds no tensor.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(inplace=True))
    >>> with LayerTap(model, ["0", "1"]) as layers:
    ...     _ = model(torch.zeros(5, 1, 4, 4))
    ...     {name: tuple(features.shape) for name, features in layers.take(5).items()}
    {'0': (5, 3), '1': (5, 3)}
    """

    def __init__(self, model: nn.Module, names: Sequence[str], spatial: Spatial = "mean") -> None:
        modules = dict(model.named_modules())
        self._layers = [(name, modules[name]) for name in names]
        self._spatial = spatial
        self._calls: list[tuple[str, Tensor]] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> LayerTap:
        for name, module in self._layers:
            self._hooks.append(module.register_forward_hook(self._catcher(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._calls.clear()

    def take(self, num_samples: int) -> dict[str, Tensor]:
        """Return the features of each call since the last time, in the order of the calls.

        Parameters
        ----------
        num_samples
            n, the number of rows that each must have.

        Returns
        -------
        dict
            Layer to (n, d) features; further calls of one module have their number behind it.

        Raises
        ------
        NeuralCollapseError
            If an output is no (n, d) matrix.
        """
        calls, self._calls = self._calls, []
        times: dict[str, int] = {}
        found: dict[str, Tensor] = {}
        for name, features in calls:
            times[name] = times.get(name, 0) + 1
            found[name if times[name] == 1 else f"{name} (call {times[name]})"] = features
            if features.ndim != 2 or len(features) != num_samples:
                raise NeuralCollapseError(
                    f"layer {name}",
                    f"features of shape ({num_samples}, d), one row a sample",
                    str(tuple(features.shape)),
                    "leave the layer out, or pass spatial=, a function to (n, d)",
                )
        return found

    def _catcher(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def catch(layer: nn.Module, args: Any, output: Any) -> None:
            tensor = next(tensors_of(output), None)
            if tensor is None:
                raise NeuralCollapseError(
                    f"layer {name}", "a tensor as output", type(output).__name__, "leave it out"
                )
            self._calls.append((name, self._features(tensor)))

        return catch

    def _features(self, output: Tensor) -> Tensor:
        if callable(self._spatial):
            return self._spatial(output).clone()
        if output.ndim > 2 and self._spatial == "mean":
            # Tokens have their features last, maps their channels second.
            positions = (1,) if output.ndim == 3 else tuple(range(2, output.ndim))
            return output.mean(positions)
        # A copy: the next layer may work in place.
        return output.flatten(1).clone() if output.ndim > 1 else output
