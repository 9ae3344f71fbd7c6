"""LayerProfile: the collapse of every layer of a network, to print, tabulate or plot."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from neuralcollapse.figure_style import save
from neuralcollapse.measurement.separation_law import SeparationLaw, fit_separation_law
from neuralcollapse.plain_text import plain
from neuralcollapse.tables import SIMPLE_HEAD, Console, Table, Text
from neuralcollapse.wording import accuracy, counted, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRAIGHT = 0.9  # r^2 from which the text says that the law holds: a rule of thumb of this library


@dataclass(frozen=True)
class LayerValues:
    """What was measured at one layer.

    Attributes
    ----------
    layer
        Name of the module; further calls of the same module are numbered.
    dim
        d, the number of features.
    separation_fuzziness, nc1_pinv, nc1_trace_ratio
        See the functions of these names in ``metrics``.
    effective_rank
        Of the covariance of all features, from 1 to d; see `metrics.effective_rank`. It is K - 1
        when collapsed.
    ncc_accuracy
        Share of samples nearest to the mean of their class; NaN if the features were too many to
        keep.
    """

    layer: str
    dim: int
    separation_fuzziness: float
    nc1_pinv: float
    nc1_trace_ratio: float
    effective_rank: float
    ncc_accuracy: float


@dataclass(frozen=True)
class LayerProfile:
    """The collapse of the layers of a network, in the order in which they were called.

    Attributes
    ----------
    layers
        One per layer, the first layer first.
    num_samples, num_classes
        N and K of the data.

    Examples
    --------
    >>> import torch
    >>> import neuralcollapse as nc
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> inputs, labels = torch.randn(20, 2), torch.arange(20) % 2
    >>> profile = nc.measure_layers(model, [(inputs, labels)])
    >>> [layer.layer for layer in profile], len(profile["nc1_trace_ratio"])
    (['1'], 1)
    """

    layers: tuple[LayerValues, ...]
    num_samples: int
    num_classes: int

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[LayerValues]:
        return iter(self.layers)

    def __getitem__(self, metric: str) -> list[float]:
        """Return a metric's values, the first layer's first."""
        return [getattr(layer, metric) for layer in self.layers]

    @property
    def law(self) -> SeparationLaw | None:
        """The law of data separation fitted to the layers; None for fewer than three.

        Layers with fewer than K - 1 features are left out, see `narrow`.
        """
        wide = [layer for layer in self.layers if layer not in self.narrow]
        return fit_separation_law([layer.separation_fuzziness for layer in wide])

    @property
    def narrow(self) -> list[LayerValues]:
        """Layers with fewer than K - 1 features.

        Their class means span fewer directions than those of other layers, so that neither NC1 with
        a pseudo-inverse nor the fuzziness can be compared with theirs.
        """
        return [layer for layer in self.layers if layer.dim < self.num_classes - 1]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer, numbered from 1 in the column ``depth``."""
        rows = [{"depth": i, **asdict(layer)} for i, layer in enumerate(self.layers, 1)]
        return pd.DataFrame(rows)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the profile against depth.

        Parameters
        ----------
        path
            Image to write, such as ``layers.png``.

        Returns
        -------
        matplotlib Figure
            Fuzziness with the fitted law, both NC1, effective rank, nearest-mean accuracy.
        """
        from neuralcollapse.measurement.layer_figure import plot_profile  # matplotlib is slow

        drawing = plot_profile(self.to_frame(), self.law, self.num_samples, self.num_classes)
        if path is not None:
            save(drawing, path)
        return drawing

    def __repr__(self) -> str:
        return f"LayerProfile({counted(len(self), 'layer')}, {counted(self.num_samples, 'sample')})"

    def __str__(self) -> str:
        table = Table(box=SIMPLE_HEAD)
        table.add_column("depth", justify="right")
        table.add_column("layer", overflow="fold")
        for heading in ("features", "fuzziness", "NC1", "NC1~", "eff. rank", "NCC accuracy"):
            table.add_column(heading, justify="right", no_wrap=True)
        for depth, layer in enumerate(self.layers, 1):
            table.add_row(
                str(depth),
                Text(plain(layer.layer)),
                str(layer.dim),
                f"{layer.separation_fuzziness:.4g}",
                f"{layer.nc1_pinv:.4g}",
                f"{layer.nc1_trace_ratio:.4g}",
                f"{layer.effective_rank:.1f}",
                accuracy(layer.ncc_accuracy),
            )
        console = Console(width=120, color_system=None)
        with console.capture() as captured:
            console.print(
                f"Collapse by layer of {counted(self.num_samples, 'sample')}, "
                f"{counted(self.num_classes, 'class', 'classes')}"
            )
            console.print(table)
            for sentence in self.readings():
                console.print(sentence, markup=False, highlight=False)
        return captured.get().rstrip("\n")

    def readings(self) -> list[str]:
        """Return what the profile says, in plain words; "close to" is our rule of thumb."""
        return [
            *self._narrow_reading(),
            self._law_reading(),
            self._rank_reading(),
            *self._accuracy_reading(),
        ]

    def _narrow_reading(self) -> Iterator[str]:
        if self.narrow:
            names = ", ".join(layer.layer for layer in self.narrow)
            yield (
                f"Narrower than {self.num_classes - 1} features, the span of "
                f"{self.num_classes} class means: {names}. Their fuzziness and NC1 cannot be "
                "compared with those of other layers, and the law leaves them out."
            )

    def _law_reading(self) -> str:
        law = self.law
        if law is None:
            return "Too few layers with a fuzziness above 0 to fit the law of data separation."
        change = (
            f"falls by a factor of {1 / law.ratio:.3g}"
            if law.ratio < 1
            else f"grows by a factor of {law.ratio:.3g}"
        )
        straight = "close to" if law.r_squared >= STRAIGHT else "not"
        return (
            f"Separation fuzziness {change} per layer on average; {straight} the same factor "
            f"everywhere, as He & Su's law says (r^2 = {law.r_squared:.3f}, {law.layers} layers)."
        )

    def _rank_reading(self) -> str:
        first, last = self.layers[0].effective_rank, self.layers[-1].effective_rank
        return (
            f"The features fill about {first:.1f} directions at the first layer and {last:.1f} at "
            f"the last; at collapse, {self.num_classes - 1}."
        )

    def _accuracy_reading(self) -> Iterator[str]:
        accuracies = self["ncc_accuracy"]
        if math.isnan(accuracies[-1]):
            return
        right = list(itertools.takewhile(lambda value: value == 1, reversed(accuracies)))
        if right:
            depth = len(self) - len(right) + 1
            start = f"depth {depth} ({self.layers[depth - 1].layer})"
            yield f"From {start} on, the nearest class mean is right for all samples."
        else:
            yield f"The nearest class mean is right for {share(accuracies[-1])} at the last layer."
