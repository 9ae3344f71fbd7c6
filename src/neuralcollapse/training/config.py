"""What a training run is made of, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import InitVar, asdict, dataclass, fields
from itertools import pairwise
from typing import Any, get_args

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry.simplex_etf import Orientation
from neuralcollapse.training.networks.registry import check_network

CHOICES = {
    "loss": ("ce", "mse", "focal", "dot-regression"),
    "head": ("linear", "etf"),
    "head_orientation": (None, *get_args(Orientation)),
    "optimizer": ("sgd", "adamw"),
    "lr_schedule": ("cosine", "step", "constant"),
    "precision": ("32", "bf16", "auto"),
}
# What acts in one case alone, and would else be silently without effect.
ONLY_WITH = {
    "label_smoothing": ("loss", "ce"),
    "focal_gamma": ("loss", "focal"),
    "momentum": ("optimizer", "sgd"),
    "milestones": ("lr_schedule", "step"),
    "lr_factor": ("lr_schedule", "step"),
    "head_scale": ("head", "etf"),
    "head_orientation": ("head", "etf"),
    "head_seed": ("head", "etf"),
    "head_permutation": ("head", "etf"),
    "head_weight_decay": ("head", "linear"),  # there are no weights of a fixed head to decay
}
# Names of 0.1.0 and of now. The former are read, and run names are made of them, lest they change.
RENAMED = {"schedule": "lr_schedule"}


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a run, which together with the data determines it.

    Attributes
    ----------
    data, data_root
        See `load_dataset`.
    per_class
        Train on so many images of every class, all if None.
    test_per_class
        Test on so many, all if None.
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
    head
        ``"linear"``: trained. ``"etf"``: a simplex ETF that is not, put in place of the network's
        last linear layer, see `etf_head`; it has no bias, so that `head_bias` must be False.
    head_scale
        Norm of the rows of a fixed head, above 0; 1 if None.
    head_orientation
        Of a fixed head: ``"haar"``, ``"axis"`` or ``"block"``, see `simplex_etf`; Haar if None.
    head_seed
        Of the Haar orientation, whatever `seed` is; 0 if None.
    head_permutation
        Seed of a random permutation of the rows of a fixed head; they stay in order if None.
    loss
        ``"ce"``, ``"mse"`` or ``"focal"``, see `loss_function`; or, with a fixed head alone,
        ``"dot-regression"``, see `dot_regression`, of features of norm 1. A mean over samples.
    label_smoothing
        In [0, 1): share of the target of cross-entropy that is spread over all classes evenly.
    focal_gamma
        Exponent of the focal loss, at least 0 (cross-entropy); 2 if None.
    weight_decay
        Added to the gradient, times the weights, by the optimiser (by AdamW, times the learning
        rate, taken off the weights); on all parameters.
    head_weight_decay
        The same for the head alone, where `weight_decay` then acts on the other layers only; None
        if it is no different.
    head_bias
        Whether the head has a bias; never a fixed one.
    optimizer
        ``"sgd"``: stochastic gradient descent with momentum. ``"adamw"``: torch's AdamW.
    lr, momentum
        Learning rate; momentum of stochastic gradient descent.
    lr_schedule
        How the learning rate goes on from `lr`: ``"cosine"``, ``"step"`` or ``"constant"``; see
        `learning_rate`. Its name was `schedule`, by which it may still be given.
    milestones
        Epochs at whose end the learning rate falls, if `lr_schedule` is ``"step"``; at one and two
        thirds of the run if None (Papyan, Han & Donoho 2020).
    lr_factor
        What it is multiplied by at each, in (0, 1); 0.1 if None.
    warmup_epochs
        Epochs in which the learning rate first rises to `lr`; less than `epochs`.
    batch_size, epochs
        Samples in a step, over all processes together; passes over the data.
    precision
        ``"32"``: float32. ``"bf16"``: the network's products in bfloat16, weights in float32.
        ``"auto"``: what is quickest here in a short trial, with the layout of images and the
        number of threads, see `Execution`. Collapse is measured in float32 either way.
    seed
        Determines initial weights, order of samples and what else is random.

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
    test_per_class: int | None = None
    imbalance: float = 1.0
    label_noise: float = 0.0
    net: str = "mlp"
    width: float = 1.0
    loss: str = "ce"
    label_smoothing: float = 0.0
    focal_gamma: float | None = None
    weight_decay: float = 1e-2
    head_weight_decay: float | None = None
    head_bias: bool = True
    head: str = "linear"
    head_scale: float | None = None
    head_orientation: str | None = None
    head_seed: int | None = None
    head_permutation: int | None = None
    optimizer: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    lr_schedule: str = "cosine"
    milestones: tuple[int, ...] | None = None
    lr_factor: float | None = None
    warmup_epochs: int = 0
    batch_size: int = 256
    epochs: int = 400
    precision: str = "32"
    seed: int = 0
    schedule: InitVar[str | None] = None

    def __post_init__(self, schedule: str | None = None) -> None:  # noqa: RUF033 - to check anew
        if schedule is not None:
            object.__setattr__(self, RENAMED["schedule"], schedule)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(choice for choice in choices if choice is not None)
                raise self._refused(name, f"one of {known}")
        check_network(self.net)
        for name in ("batch_size", "epochs", "per_class", "test_per_class"):
            value = getattr(self, name)
            optional = name.endswith("per_class") and value is None
            if not optional and not (isinstance(value, int) and value >= 1):
                raise self._refused(name, "a whole number of at least 1")
        if not isinstance(self.head_bias, bool):
            raise self._refused("head_bias", "True or False")
        for name, high in (
            ("seed", math.inf),
            ("head_seed", math.inf),
            ("head_permutation", math.inf),
            ("warmup_epochs", self.epochs),
        ):
            value = getattr(self, name)
            optional = name in ("head_seed", "head_permutation") and value is None
            if not optional and not (isinstance(value, int) and 0 <= value < high):
                raise self._refused(name, f"a whole number in [0, {high})")
        for name, high in (
            ("weight_decay", math.inf),
            ("head_weight_decay", math.inf),
            ("momentum", 1),
            ("label_noise", 1),
            ("label_smoothing", 1),
            ("focal_gamma", math.inf),
        ):
            value = getattr(self, name)
            optional = name in ("head_weight_decay", "focal_gamma") and value is None
            if not optional and not (isinstance(value, (int, float)) and 0 <= value < high):
                raise self._refused(name, f"a number in [0, {high})")
        for name in ("lr", "width", "head_scale"):
            value = getattr(self, name)
            optional = name == "head_scale" and value is None
            if not optional and not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise self._refused(name, "a finite number above 0")
        if not (isinstance(self.imbalance, (int, float)) and 1 <= self.imbalance < math.inf):
            raise self._refused("imbalance", "a finite number of at least 1")
        if self.lr_factor is not None and not 0 < self.lr_factor < 1:
            raise self._refused("lr_factor", "a number in (0, 1)")
        marks = (0, *(self.milestones or ()), self.epochs)
        if any(late <= early for early, late in pairwise(marks)):
            raise self._refused("milestones", f"rising whole numbers in (0, {self.epochs})")
        for name, (other, needed) in ONLY_WITH.items():
            # The class has the defaults, of which a seed of 0 is none.
            if getattr(self, name) != getattr(type(self), name) and getattr(self, other) != needed:
                raise self._refused(name, f"none unless {other} is {needed!r}")
        self._check_fixed_head()

    def _check_fixed_head(self) -> None:
        """Refuse what does not go together with a fixed head, or without one."""
        if self.head == "etf" and self.head_bias:
            raise self._refused("head_bias", "False if head is 'etf', which has no bias")
        if self.head_seed is not None and self.head_orientation not in (None, "haar"):
            raise self._refused("head_seed", "none unless head_orientation is 'haar'")
        if self.loss == "dot-regression" and self.head != "etf":
            raise self._refused("loss", "another one unless head is 'etf'")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Return the configuration with these values, defaults for the others.

        Parameters
        ----------
        values
            Attribute names and values, such as `to_dict` returned, perhaps in 0.1.0; of two names
            of one attribute, the later counts.

        Raises
        ------
        NeuralCollapseError
            If a name is unknown or a value out of range.
        """
        cls.require_known(values)
        values = cls.named_as_now(values)
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})

    @classmethod
    def require_known(cls, names: Iterable[str]) -> None:
        """Refuse names that no attribute has."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(map(str, set(names) - {*known, *RENAMED}))
        if unknown:
            raise NeuralCollapseError(
                "config", f"the keys {', '.join(known)}", ", ".join(unknown), "check the spelling"
            )

    @staticmethod
    def named_as_now(values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values by the names that the attributes have now."""
        return {RENAMED.get(name, name): value for name, value in values.items()}

    @staticmethod
    def named_as_once(values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values by the names that the attributes had in 0.1.0, where they have others."""
        once = {now: name for name, now in RENAMED.items()}
        return {once.get(name, name): value for name, value in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a JSON-ready dict."""
        values = asdict(self)
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return values | lists

    def _refused(self, name: str, expected: str) -> NeuralCollapseError:
        got = repr(getattr(self, name))
        return NeuralCollapseError(name, expected, got, "correct the configuration")
