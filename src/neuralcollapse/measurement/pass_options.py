"""PassOptions: what `measure`, `watch` and the callbacks may be told about a pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, Literal

import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.batch_parts import LABEL_KEYS
from neuralcollapse.measurement.samples import Forward, Samples, Unpack
from neuralcollapse.metrics.catalogue import OwnMetrics
from neuralcollapse.validation import byte_budget, check_choice, listed_names, whole_number

Scatter = Literal["pooled", "per_class"] | bool
FEATURE_BUDGET = 2**30  # bytes of features to keep, so that NC4 needs no second pass


@dataclass(frozen=True)
class PassOptions:
    """The options that `measure`, `watch` and the callbacks share; see `measure`."""

    head: nn.Module | str | None = None
    device: torch.device | str | None = None
    scatter: Scatter = "pooled"
    feature_budget: int = FEATURE_BUDGET
    unpack: Unpack | None = None
    forward: Forward | None = None
    ignore_index: int = -100
    shift_labels: bool | None = None
    label_keys: Sequence[str] = LABEL_KEYS
    max_batches: int | None = None
    min_samples: int = 1
    layers: Sequence[str] = ()
    metrics: OwnMetrics | None = None
    intervals: bool | None = None
    class_names: Sequence[Any] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any], taker: Callable[..., Any], **usual: Any) -> PassOptions:
        """Return options by name, in place of usual ones; refuse a name that `taker` has not."""
        own = [p.name for p in signature(taker).parameters.values() if p.kind is not p.VAR_KEYWORD]
        for name in given:
            check_choice("options", name, dict.fromkeys([*(f.name for f in fields(cls)), *own]))
        return cls(**{**usual, **given})

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", listed_names(self.class_names))
        for name in ("unpack", "forward"):
            if not (self.__dict__[name] is None or callable(self.__dict__[name])):
                got, remedy = type(self.__dict__[name]).__name__, "see the docstring of measure"
                raise NeuralCollapseError(name, "a function, or None", got, remedy)
        whole_number("min_samples", self.min_samples, 0)
        for name, least in (("max_batches", 1), ("ignore_index", -(2**53))):
            if name != "max_batches" or self.max_batches is not None:
                whole = whole_number(name, getattr(self, name), least)
                object.__setattr__(self, name, whole)
        byte_budget("feature_budget", self.feature_budget)

    def samples(self, model: nn.Module) -> Samples:
        """Return the reader of batches for a network."""
        names = ("unpack", "forward", "ignore_index", "shift_labels", "label_keys", "class_names")
        return Samples(**{name: getattr(self, name) for name in names}).of(model)
