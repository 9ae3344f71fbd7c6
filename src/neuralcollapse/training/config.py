"""What a training run is made of, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import InitVar, asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.config_field import (
    ABOVE_ZERO,
    NETWORK_AND_DATA,
    RECIPE,
    TEXT,
    YES_OR_NO,
    ConfigField,
    Constraint,
    at_least_zero,
    config_field,
    one_of,
    whole,
)

FLOAT32_MAX = 3.4e38  # networks are trained in float32, which holds hardly more
ETF = ("head", "etf")
STEP = ("lr_schedule", "step")
# Names of 0.1.0 and of now. The former are still read, and run names are made of them, as ever.
RENAMED = {"schedule": "lr_schedule"}


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a run, which together with the data determines it.

    Attributes
    ----------
    data, data_root
        See `load_dataset`.
    per_class
        Number of training images of each class; all if None.
    test_per_class
        Number of test images of each class; all if None.
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
        ``"linear"``: trained. ``"etf"``: a simplex ETF that is not trained and replaces the
        network's last linear layer, see `etf_head`; it has no bias: `head_bias` must be False.
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
        The same for the head alone, `weight_decay` then being that of the other layers; None if
        one holds for all.
    head_bias
        Whether the head has a bias; never a fixed one.
    optimizer
        ``"sgd"``: stochastic gradient descent with momentum. ``"adamw"``: torch's AdamW.
    lr, momentum
        Learning rate; momentum of stochastic gradient descent.
    lr_schedule
        How the learning rate develops from `lr`: ``"cosine"``, ``"step"`` or ``"constant"``; see
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
    >>> from neuralcollapse.training import TrainConfig
    >>> TrainConfig(net="cnn", epochs=3).loss
    'ce'
    """

    data: str = config_field(
        "digits",
        "Data set: digits, fashion-mnist, ..., or package.module:callable",
        NETWORK_AND_DATA,
        TEXT,
    )
    data_root: str | None = config_field(
        None, "Folder with the data set's files", NETWORK_AND_DATA, TEXT
    )
    per_class: int | None = config_field(
        None, "Training images per class", NETWORK_AND_DATA, whole(1), absent="all"
    )
    test_per_class: int | None = config_field(
        None, "Test images per class", NETWORK_AND_DATA, whole(1), absent="all"
    )
    imbalance: float = config_field(
        1.0,
        "Size of the largest class over that of the smallest",
        NETWORK_AND_DATA,
        Constraint(
            "a finite number of at least 1",
            lambda value: ABOVE_ZERO.holds(value) and value >= 1,
        ),
    )
    label_noise: float = config_field(
        0.0, "Share of training labels that are made wrong", NETWORK_AND_DATA, at_least_zero()
    )
    net: str = config_field(
        "mlp", "Network: mlp, cnn, vgg11, resnet18, ..., or package.module:callable",
        NETWORK_AND_DATA,
    )  # fmt: skip
    width: float = config_field(
        1.0, "Factor for the width of every hidden layer", NETWORK_AND_DATA, ABOVE_ZERO
    )
    loss: str = config_field(
        "ce", "Loss function", RECIPE, one_of("ce", "mse", "focal", "dot-regression")
    )
    label_smoothing: float = config_field(
        0.0, "Share of the target of cross-entropy that is spread over all classes", RECIPE,
        at_least_zero(), only_with=("loss", "ce"),
    )  # fmt: skip
    focal_gamma: float | None = config_field(
        None, "Exponent of the focal loss", RECIPE, at_least_zero(math.inf), absent="2",
        only_with=("loss", "focal"),
    )  # fmt: skip
    weight_decay: float = config_field(
        1e-2, "Weight decay on all weights", RECIPE, at_least_zero(math.inf)
    )
    head_weight_decay: float | None = config_field(  # there are no weights of a fixed head to decay
        None, "Weight decay on the head, if it has one of its own", RECIPE, at_least_zero(math.inf),
        absent="that of all", only_with=("head", "linear"),
    )  # fmt: skip
    head_bias: bool = config_field(True, "Give the head a bias", NETWORK_AND_DATA, YES_OR_NO)
    head: str = config_field(
        "linear", "Head: trained, or fixed (with --no-head-bias)", NETWORK_AND_DATA,
        one_of("linear", "etf"),
    )  # fmt: skip
    head_scale: float | None = config_field(
        None, "Norm of the rows of a fixed head", NETWORK_AND_DATA, ABOVE_ZERO, absent="1",
        only_with=ETF,
    )  # fmt: skip
    head_orientation: str | None = config_field(
        None, "Orientation of a fixed head", NETWORK_AND_DATA, one_of("haar", "axis", "block"),
        absent="haar", only_with=ETF,
    )  # fmt: skip
    head_seed: int | None = config_field(
        None, "Seed for the Haar orientation", NETWORK_AND_DATA, whole(), absent="0", only_with=ETF
    )
    head_permutation: int | None = config_field(
        None, "Seed for a permutation of the rows of a fixed head", NETWORK_AND_DATA, whole(),
        absent="none", only_with=ETF,
    )  # fmt: skip
    optimizer: str = config_field("sgd", "Optimizer", RECIPE, one_of("sgd", "adamw"))
    lr: float = config_field(0.05, "Learning rate", RECIPE, ABOVE_ZERO)
    momentum: float = config_field(
        0.9, "Momentum of SGD", RECIPE, at_least_zero(), only_with=("optimizer", "sgd")
    )
    lr_schedule: str = config_field(
        "cosine", "Schedule of the learning rate", RECIPE, one_of("cosine", "step", "constant")
    )
    milestones: tuple[int, ...] | None = config_field(
        None, "Epoch after which the step schedule lowers the learning rate; repeat it", RECIPE,
        Constraint(
            "rising whole numbers",
            lambda value: type(value) is tuple and all(type(mark) is int for mark in value),
        ),
        absent="one and two thirds", only_with=STEP,
    )  # fmt: skip
    lr_factor: float | None = config_field(
        None, "Factor for the learning rate at each milestone", RECIPE,
        Constraint("a number in (0, 1)", lambda value: isinstance(value, float) and 0 < value < 1),
        absent="0.1", only_with=STEP,
    )  # fmt: skip
    warmup_epochs: int = config_field(
        0, "Epochs in which the learning rate first rises", RECIPE, whole()
    )
    batch_size: int = config_field(256, "Samples in a step, over all processes", RECIPE, whole(1))
    epochs: int = config_field(400, "Passes over the training data", RECIPE, whole(1))
    precision: str = config_field(
        "32", "Arithmetic; auto takes what is fastest here", RECIPE, one_of("32", "bf16", "auto")
    )
    seed: int = config_field(0, "Seed for weights and batch order", RECIPE, whole())
    schedule: InitVar[str | None] = None

    def __post_init__(self, schedule: str | None = None) -> None:  # noqa: RUF033 - to check anew
        from neuralcollapse.training.networks.registry import check_network  # loads torch

        if schedule is not None:
            object.__setattr__(self, RENAMED["schedule"], schedule)
        marks: Any = self.milestones
        if isinstance(marks, list):  # as JSON has them
            object.__setattr__(self, "milestones", tuple(marks))
        check_network(self.net)
        said: dict[str, ConfigField] = {
            field.name: field.metadata["field"] for field in fields(self)
        }
        for name, known in said.items():
            value, unset = getattr(self, name), getattr(type(self), name) is None
            if (
                known.constraint
                and not (value is None and unset)
                and not known.constraint.holds(value)
            ):
                raise self._refused(name, known.constraint.expected)
            if isinstance(value, (int, float)) and value > FLOAT32_MAX:
                raise self._refused(name, f"at most {FLOAT32_MAX:.2g}, which float32 holds")
        if self.warmup_epochs >= self.epochs:
            raise self._refused("warmup_epochs", f"a whole number in [0, {self.epochs})")
        marks = (0, *(self.milestones or ()), self.epochs)
        if any(late <= early for early, late in pairwise(marks)):
            raise self._refused("milestones", f"rising whole numbers in (0, {self.epochs})")
        for name, known in said.items():
            # The class has the defaults, of which a seed of 0 is none.
            if known.only_with and getattr(self, name) != getattr(type(self), name):
                other, needed = known.only_with
                if getattr(self, other) != needed:
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
            If it is no mapping, a name is unknown or a value out of range.
        """
        given: Any = values
        if not isinstance(given, Mapping):
            got, remedy = type(given).__name__, "pass a dict, such as to_dict returns"
            raise NeuralCollapseError("config", "values by name", got, remedy)
        cls.require_known(values)
        now: dict[str, Any] = cls.named_as_now(values)
        lists = {name: tuple(value) for name, value in now.items() if isinstance(value, list)}
        return cls(**(now | lists))

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
