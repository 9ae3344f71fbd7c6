"""Which axis of a layer's output holds the samples, and which the features."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from neuralcollapse.errors import NeuralCollapseError

Layout = Literal["channels_first", "channels_last", "sequence_first"]
WIDTHS = ("out_channels", "out_features", "num_features", "num_channels", "embedding_dim")


class LayoutReader:
    """Find the axes of outputs from the layers that ran before.

    Convolutions, and norms of channels, have features second; linear layers, layer norms and
    embeddings have them last. If only one of these kinds has run, that is the layout. If both
    have, the features lie on the one axis as wide as the last of these layers. The samples lie on
    the axis whose length is their number.

    Parameters
    ----------
    model
        The network.
    layout
        The layout of all layers, if the user gave it.
    """

    def __init__(self, model: nn.Module, layout: Layout | None = None) -> None:
        self._layout = layout
        self._width: int | None = None
        self._kinds: set[str] = set()
        self._sample_axes: dict[str, int] = {}
        self._sequences = any(
            getattr(module, "batch_first", True) is False for module in model.modules()
        )

    def restart(self) -> None:
        """Forget what ran, before the next run of the network."""
        self._width, self._kinds = None, set()

    def hear(self, module: nn.Module) -> None:
        """Note a layer that has run."""
        if isinstance(module, (_ConvNd, _NormBase, nn.GroupNorm)):
            kind = "channels_first"
        elif isinstance(module, (nn.Linear, nn.LayerNorm, nn.Embedding)):
            kind = "channels_last"
        else:
            return
        self._kinds.add(kind)
        shape = getattr(module, "normalized_shape", None)
        widths = [getattr(module, name) for name in WIDTHS if hasattr(module, name)]
        self._width = shape[-1] if shape else widths[0] if widths else None

    def channels_last(
        self, name: str, module: nn.Module, output: Tensor, num_samples: int | None
    ) -> Tensor:
        """Return an output with three axes or more as (n, ..., d).

        Parameters
        ----------
        name, module
            The layer.
        output
            What it returned.
        num_samples
            n, if known.

        Raises
        ------
        NeuralCollapseError
            If the axes cannot be told apart.
        """
        if not self._kinds:  # a fused layer does not call its parts
            for part in module.modules():
                self.hear(part)
        samples = self._sample_axis(name, output, num_samples)
        output = output.movedim(samples, 0)
        return output.movedim(self._feature_axis(name, output), -1)

    def _sample_axis(self, name: str, output: Tensor, num_samples: int | None) -> int:
        """Return the axis as long as the number of samples; what one batch shows holds for all."""
        if self._layout is not None:
            return 1 if self._layout == "sequence_first" else 0
        if num_samples is None or output.ndim > 3:
            return 0
        axes = [axis for axis in (0, 1) if output.shape[axis] == num_samples]
        if len(axes) == 1:
            if self._sample_axes.setdefault(name, axes[0]) != axes[0]:
                raise _ask(name, output)  # an earlier batch, as long as its sequences, was misread
            return axes[0]
        if name not in self._sample_axes and self._sequences:
            raise _ask(name, output)
        return self._sample_axes.setdefault(name, 0)

    def _feature_axis(self, name: str, output: Tensor) -> int:
        if self._layout is not None:
            return 1 if self._layout == "channels_first" else output.ndim - 1
        if len(self._kinds) == 1:
            return 1 if self._kinds == {"channels_first"} else output.ndim - 1
        wide = [axis for axis in range(1, output.ndim) if output.shape[axis] == self._width]
        if len(wide) != 1:
            raise _ask(name, output)
        return wide[0]


def _ask(name: str, output: Tensor) -> NeuralCollapseError:
    expected = "an output whose axes can be told apart"
    remedy = (
        "pass layout= 'channels_first', 'channels_last' or 'sequence_first', or pool=, a function "
        "to (n, d)"
    )
    return NeuralCollapseError(f"layer {name}", expected, f"shape {tuple(output.shape)}", remedy)
