"""What a training run is made of, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import positive

Net = Literal["mlp", "cnn"]
Loss = Literal["ce", "mse"]
Schedule = Literal["cosine", "step", "constant"]


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a run, which together with the data determines it.

    Attributes
    ----------
    data, data_root
        See `load_dataset`.
    per_class
        Train on so many images of every class, all if None.
    net
        ``"mlp"`` or ``"cnn"``, see `build_network`.
    width
        Width of the two hidden layers of the MLP; four times the channels of the first
        convolution of the CNN. The features have this dimension either way.
    loss
        ``"ce"``: cross-entropy. ``"mse"``: half the squared distance of the logits from the
        one-hot label. Both are means over samples.
    weight_decay
        Added to the gradient, times the weights, by the optimiser; on all parameters.
    lr, momentum
        Of stochastic gradient descent.
    schedule
        How the learning rate goes on from `lr`: ``"cosine"`` falls to 0, ``"step"`` falls by 10
        at one and at two thirds of the epochs (Papyan, Han & Donoho 2020), ``"constant"``.
    batch_size, epochs, seed
        The seed determines initial weights and order of samples.

    Raises
    ------
    NeuralCollapseError
        If a value is out of range.

    Examples
    --------
    >>> TrainConfig(net="cnn", epochs=3).loss
    'ce'
    """

    data: str = "digits"
    data_root: str | None = None
    per_class: int | None = None
    net: Net = "mlp"
    width: int = 256
    loss: Loss = "ce"
    weight_decay: float = 1e-2
    lr: float = 0.02
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    batch_size: int = 128
    epochs: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("net", Net), ("loss", Loss), ("schedule", Schedule)):
            if getattr(self, name) not in get_args(kind):
                raise _refused(name, f"one of {', '.join(get_args(kind))}", getattr(self, name))
        for name in ("width", "batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise _refused(name, "at least 1", getattr(self, name))
        if self.width % 4:
            raise _refused("width", "a multiple of 4", self.width)
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise _refused("weight_decay", "a finite number of at least 0", self.weight_decay)
        if not 0 <= self.momentum < 1:
            raise _refused("momentum", "a number in [0, 1)", self.momentum)
        positive("lr", self.lr)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Return the configuration with these values, defaults for the others.

        Parameters
        ----------
        values
            Attribute names and values, such as `to_dict` returned.

        Raises
        ------
        NeuralCollapseError
            If a name is unknown or a value out of range.
        """
        names = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise NeuralCollapseError(
                "config", f"the keys {', '.join(names)}", ", ".join(unknown), "check the spelling"
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict."""
        return asdict(self)

    def lr_at(self, fraction: float) -> float:
        """Return the learning rate when this fraction of the run is done.

        Parameters
        ----------
        fraction
            In [0, 1).
        """
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * fraction)) / 2
        if self.schedule == "step":
            return self.lr * 0.1 ** int(3 * fraction)
        return self.lr


def _refused(name: str, expected: str, got: Any) -> NeuralCollapseError:
    return NeuralCollapseError(name, expected, repr(got), "correct the configuration")
