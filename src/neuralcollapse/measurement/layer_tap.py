"""LayerTap: the features of intermediate layers, captured as a network runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.at_rest import bare
from neuralcollapse.measurement.head_choice import tensors_of
from neuralcollapse.measurement.kept_error import KeptError
from neuralcollapse.measurement.layer_call import TICKS
from neuralcollapse.measurement.layer_layout import Layout, LayoutReader
from neuralcollapse.measurement.layer_pool import Pool, pooled


class LayerTap:
    """Capture the outputs of layers, as (n, d) features, while a network runs; a context manager.

    Parameters
    ----------
    model
        The network; nothing is stored in it.
    names
        Names of the layers, as in ``model.named_modules()``.
    pool, layout
        As in `measure_layers`.

    Raises
    ------
    NeuralCollapseError
        When the network runs, if a layer's output holds no tensor, or the axis of its features
        cannot be told.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse.measurement.layer_tap import LayerTap
    >>> model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(inplace=True))
    >>> with LayerTap(model, ["0", "1"]) as layers:
    ...     _ = model(torch.zeros(5, 1, 4, 4))
    ...     {name: tuple(features.shape) for name, features in layers.take(5).items()}
    {'0': (5, 3), '1': (5, 3)}
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        pool: Pool = "mean",
        layout: Layout | None = None,
    ) -> None:
        model = bare(model)
        modules = dict(model.named_modules())
        self._model = model
        self._layers = {modules[name]: name for name in names}
        self._reader = LayoutReader(model, layout)
        self._pool: Pool | None = pool
        self._expected: tuple[int | None, Tensor | None, bool | None] = (None, None, False)
        self._positions: bool | None = None  # what `take` was told last
        self._calls: list[tuple[str, Tensor, int]] = []
        self._hook: torch.utils.hooks.RemovableHandle | None = None
        self._failure = KeptError()

    def __enter__(self) -> LayerTap:
        if self._layers:
            self._hook = register_module_forward_hook(self._failure.of(self._hear))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._hook = None
        self._calls.clear()
        self._failure.reraise(kind)

    def expect(
        self, num_samples: int | None, mask: Tensor | None = None, positions: bool | None = False
    ) -> None:
        """Announce the next batch, before the network runs.

        Parameters
        ----------
        num_samples
            n, if known; tells the axis of samples from that of tokens.
        mask
            (n, T), 1 where a token is there: the others are left out of averages.
        positions
            Whether every position is a sample: features are then (n, T, d), and not pooled. If
            None, `take` is told.
        """
        positions = self._positions if positions is None else positions  # of the same head
        self._expected = (num_samples, mask, positions)

    def take(
        self, num_samples: int | None, before: int | None = None, positions: bool = False
    ) -> dict[str, Tensor]:
        """Return the features of each call since the last `take`, in the order of the calls.

        Parameters
        ----------
        num_samples
            n, the number of rows that each output must have, if known.
        before
            Leave out calls after this tick of a `FeatureTap`, if it is 0 or more.
        positions
            Whether every position is a sample, where `expect` could not say so.

        Returns
        -------
        dict
            (n, d) features by layer; further calls of the same module are numbered.

        Raises
        ------
        NeuralCollapseError
            If an output is not an (n, d) matrix.
        """
        self._failure.reraise()
        calls, self._calls = self._calls, []
        _, mask, told = self._expected
        late = told is None and not positions and not callable(self._pool)
        if told is None:
            self._positions = told = positions
        times: dict[str, int] = {}
        found: dict[str, Tensor] = {}
        for name, features, tick in calls:
            if before is not None and 0 <= before < tick:
                continue
            if late and features.ndim > 2:
                features = pooled(features, self._pool, mask)
            times[name] = times.get(name, 0) + 1
            found[name if times[name] == 1 else f"{name} (call {times[name]})"] = features
            fits = num_samples is None or features.shape[:1] == (num_samples,)
            if (features.ndim != 2 and not told) or not fits:
                where = f"layer {name}"
                expected = f"features of shape ({num_samples}, d), one row per sample"
                remedy = "leave the layer out, or pass pool=, a function to (n, d)"
                raise NeuralCollapseError(where, expected, str(tuple(features.shape)), remedy)
        return found

    def _hear(self, module: nn.Module, args: Any, output: Any) -> None:
        self._reader.hear(module)
        if module in self._layers:
            name = self._layers[module]
            tensor = next(tensors_of(output), None)
            if tensor is None:
                raise NeuralCollapseError(
                    f"layer {name}", "a tensor as output", type(output).__name__, "leave it out"
                )
            features = self._features(name, module, tensor.detach())
            self._calls.append((name, features, next(TICKS)))
        if module is self._model:
            self._reader.restart()

    def _features(self, name: str, module: nn.Module, output: Tensor) -> Tensor:
        num_samples, mask, positions = self._expected
        if callable(self._pool):
            return self._pool(output).clone()
        if output.ndim <= 2 or self._pool == "flatten":
            # A copy: the next layer may work in place.
            return output.flatten(1).clone() if output.ndim > 1 else output
        rows = self._reader.channels_last(name, module, output, num_samples)
        return pooled(rows, self._pool, mask) if positions is False else rows.clone()
