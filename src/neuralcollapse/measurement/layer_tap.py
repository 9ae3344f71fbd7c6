"""LayerTap: what layers make of the samples on their way through a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.feature_tap import tensors_of

Spatial = Literal["mean", "flatten"] | Callable[[Tensor], Tensor]


class LayerTap:
    """Catch the outputs of layers, as (n, d) features, while the network runs; a context manager.

    Parameters
    ----------
    model
        The network.
    names
        Of its modules, as in ``model.named_modules()``.
    spatial
        What to make of outputs with more than two axes, see `measure_layers`.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], spatial: Spatial) -> None:
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
            n, the rows that each must have.

        Raises
        ------
        NeuralCollapseError
            If the features of a layer are no (n, d).
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
