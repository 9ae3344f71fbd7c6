"""What a training run is made of, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.networks import check_network

CHOICES = {
    "loss": ("ce", "mse"),
    "schedule": ("cosine", "step", "constant"),
}


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a run, which together with the data determines it.

    Attributes
    ----------
    data, data_root
        See `load_dataset`.
    per_class
        Train on so many images of every class, all if None.
    imbalance
        Size of the largest over that of the smallest class, at least 1; see
        `ImageData.long_tailed`.
    label_noise
        Share of training labels drawn anew from the other classes, in [0, 1); see
        `ImageData.with_label_noise`.
    net
        A key of `NETWORKS`, or ``"package.module:callable"``; see `build_network`.
    width
        Multiplies the number of units or channels of every hidden layer.
    loss
        ``"ce"``: cross-entropy. ``"mse"``: half the squared distance of the logits from the
        one-hot label. Both are means over samples.
    weight_decay
        Added to the gradient, times the weights, by the optimiser; on all parameters.
    head_weight_decay
        The same for the head alone, where `weight_decay` then acts on the other layers only; None
        if it is no different.
    head_bias
        Whether the head has a bias.
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
    imbalance: float = 1.0
    label_noise: float = 0.0
    net: str = "mlp"
    width: float = 1.0
    loss: str = "ce"
    weight_decay: float = 1e-2
    head_weight_decay: float | None = None
    head_bias: bool = True
    lr: float = 0.05
    momentum: float = 0.9
    schedule: str = "cosine"
    batch_size: int = 256
    epochs: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise self._refused(name, f"one of {', '.join(choices)}")
        check_network(self.net)
        for name in ("batch_size", "epochs", "per_class"):
            value = getattr(self, name)
            optional = name == "per_class" and value is None
            if not optional and not (isinstance(value, int) and value >= 1):
                raise self._refused(name, "a whole number of at least 1")
        if not isinstance(self.head_bias, bool):
            raise self._refused("head_bias", "True or False")
        if not isinstance(self.seed, int):
            raise self._refused("seed", "a whole number")
        for name, high in (
            ("weight_decay", math.inf),
            ("head_weight_decay", math.inf),
            ("momentum", 1),
            ("label_noise", 1),
        ):
            value = getattr(self, name)
            optional = name == "head_weight_decay" and value is None
            if not optional and not (isinstance(value, (int, float)) and 0 <= value < high):
                raise self._refused(name, f"a number in [0, {high})")
        for name in ("lr", "width"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise self._refused(name, "a finite number above 0")
        if not (isinstance(self.imbalance, (int, float)) and 1 <= self.imbalance < math.inf):
            raise self._refused("imbalance", "a finite number of at least 1")

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

    def _refused(self, name: str, expected: str) -> NeuralCollapseError:
        got = repr(getattr(self, name))
        return NeuralCollapseError(name, expected, got, "correct the configuration")
