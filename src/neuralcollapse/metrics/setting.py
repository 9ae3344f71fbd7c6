"""Setting: what a value is judged against: class sizes, width, head, and predicted values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Setting:
    """Sizes on which the best and the chance value of a metric depend.

    Attributes
    ----------
    class_sizes
        Number of samples of each class that has any.
    dim
        d, the number of features.
    head_rows
        Rows of the head; the number of classes if 0.
    bias
        Whether the head has a bias.
    fresh
        Whether samples are judged by class means of other samples, as test data are.
    targets
        Value of each metric at the predicted geometry, by name, if the classes of the training
        data are unequal; NaN where theory predicts none.

    Examples
    --------
    >>> setting = Setting((50, 50, 10), dim=64)
    >>> setting.num_classes, setting.num_samples, setting.equal, setting.fits
    (3, 110, False, True)
    """

    class_sizes: tuple[int, ...]
    dim: int
    head_rows: int = 0
    bias: bool = False
    fresh: bool = False
    targets: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def num_classes(self) -> int:
        """K, of the classes that have samples."""
        return len(self.class_sizes)

    @property
    def num_samples(self) -> int:
        """N."""
        return sum(self.class_sizes)

    @property
    def rank(self) -> int:
        """K - 1, the directions that centred class means can fill."""
        return self.num_classes - 1

    @property
    def rows(self) -> int:
        """Rows of the head."""
        return self.head_rows or self.num_classes

    @property
    def equal(self) -> bool:
        """Whether all classes have the same size."""
        return len(set(self.class_sizes)) == 1

    @property
    def fits(self) -> bool:
        """Whether a simplex of K points fits into d dimensions."""
        return self.dim >= self.rank

    @cached_property
    def mean_variances(self) -> np.ndarray:
        """Return 1/n_k, the variance of a class mean in units of that of a sample."""
        return 1 / np.array(self.class_sizes, dtype=float)

    def to_record(self) -> dict[str, Any]:
        """Return plain numbers to store: each class size with its frequency, and the rest."""
        return {
            "class_sizes": [list(pair) for pair in sorted(Counter(self.class_sizes).items())],
            "dim": self.dim,
            "head_rows": self.head_rows,
            "bias": self.bias,
            "fresh": self.fresh,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], targets: Mapping[str, float]) -> Setting:
        """Return the setting that `to_record` stored."""
        pairs = record["class_sizes"]
        sizes = tuple(int(size) for size, times in pairs for _ in range(int(times)))
        known = {name: record[name] for name in ("dim", "head_rows", "bias", "fresh")}
        return cls(sizes, **known, targets=targets)
