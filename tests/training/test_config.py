import json
import math
from dataclasses import replace

import numpy as np
import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import TrainConfig

FIXED = {"head": "etf", "head_bias": False}


def test_a_dict_and_back():
    config = TrainConfig(
        net="cnn", loss="mse", lr=0.5, seed=3, lr_schedule="step", milestones=(2, 5)
    )
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert TrainConfig.from_dict({}) == TrainConfig()


def test_what_an_attribute_was_called_is_still_read():
    config = TrainConfig(lr_schedule="constant")
    assert TrainConfig(schedule="constant") == config
    assert TrainConfig.from_dict({"schedule": "constant"}) == config
    kept, given = {"schedule": "step"}, {"lr_schedule": "constant"}
    assert TrainConfig.from_dict(kept | given) == config
    assert TrainConfig.from_dict(given | kept) == TrainConfig(lr_schedule="step")
    assert replace(config, lr_schedule="step") == TrainConfig(lr_schedule="step")
    assert "schedule" not in config.to_dict()
    with pytest.raises(NeuralCollapseError, match="lr_schedule: expected one of cosine"):
        TrainConfig(schedule="linear")


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nett": "mlp", "wd": 1}, "config: expected the keys data, .*got nett, wd; check the sp"),
        ({"net": "vit"}, "net: expected one of mlp, cnn.* or package.module:callable, got 'vit'"),
        ({"loss": "hinge"}, "loss: expected one of ce, mse, focal, dot-regression, got 'hinge'"),
        (
            {"lr_schedule": "linear"},
            "lr_schedule: expected one of cosine, step, constant, got 'linear'",
        ),
        ({"weight_decay": -1.0}, r"weight_decay: expected a number in \[0, inf\), got -1.0"),
        ({"weight_decay": math.nan}, r"weight_decay: expected a number in \[0, inf\), got nan"),
        (
            {"head_weight_decay": -0.1},
            r"head_weight_decay: expected a number in \[0, inf\), got -0",
        ),
        ({"lr": 0.0}, "lr: expected a finite number above 0, got 0.0"),
        ({"lr": 1e300}, r"lr: expected at most 3.4e\+38, which float32 holds, got 1e\+300"),
        ({"weight_decay": 1e39}, "weight_decay: expected at most 3.4e.38, which float32 holds"),
        ({"lr": 10**400}, "lr: expected a finite number above 0, got 1000"),
        ({"imbalance": 10**400}, "imbalance: expected a finite number of at least 1, got 1000"),
        ({"epochs": True}, "epochs: expected a whole number of at least 1, got True"),
        ({"momentum": 1.0}, r"momentum: expected a number in \[0, 1\), got 1.0"),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1, got 0"),
        ({"epochs": 0}, "epochs: expected a whole number of at least 1, got 0"),
        ({"per_class": 0}, "per_class: expected a whole number of at least 1, got 0"),
        ({"test_per_class": 0}, "test_per_class: expected a whole number of at least 1, got 0"),
        ({"width": 0.0}, "width: expected a finite number above 0, got 0.0"),
        ({"width": math.inf}, "width: expected a finite number above 0, got inf"),
        ({"imbalance": 0.5}, "imbalance: expected a finite number of at least 1, got 0.5"),
        ({"imbalance": math.nan}, "imbalance: expected a finite number of at least 1, got nan"),
        ({"label_noise": 1.0}, r"label_noise: expected a number in \[0, 1\), got 1.0"),
        ({"seed": -1}, r"seed: expected a whole number in \[0, 2\^63\), got -1"),
        ({"precision": "16"}, "precision: expected one of 32, bf16, auto, got '16'"),
        (
            {"epochs": 5, "warmup_epochs": 5},
            r"warmup_epochs: expected a whole number in \[0, 5\), got 5",
        ),
        ({"label_smoothing": 1.0}, r"label_smoothing: expected a number in \[0, 1\), got 1.0"),
        (
            {"loss": "mse", "label_smoothing": 0.1},
            "label_smoothing: expected none unless loss is 'ce', got 0.1",
        ),
        ({"focal_gamma": 1.0}, "focal_gamma: expected none unless loss is 'focal', got 1.0"),
        (
            {"loss": "focal", "focal_gamma": -1.0},
            r"focal_gamma: expected a number in \[0, inf\), got -1.0",
        ),
        (
            {"focal_gamma": 0.0},
            "focal_gamma: expected none unless loss is 'focal', got 0.0",
        ),
        ({"head": "mlp"}, "head: expected one of linear, etf, got 'mlp'"),
        ({"head": "etf"}, "head_bias: expected False if head is 'etf', which has no bias, got T"),
        ({"head_scale": 2.0}, "head_scale: expected none unless head is 'etf', got 2.0"),
        (
            {"head_orientation": "haar"},
            "head_orientation: expected none unless head is 'etf', got 'haar'",
        ),
        ({"head_seed": 0}, "head_seed: expected none unless head is 'etf', got 0"),
        ({"head_permutation": 0}, "head_permutation: expected none unless head is 'etf', got 0"),
        ({"loss": "dot-regression"}, "loss: expected another one unless head is 'etf', got 'dot-"),
        (
            FIXED | {"head_weight_decay": 0.1},
            "head_weight_decay: expected none unless head is 'linear', got 0.1",
        ),
        (FIXED | {"head_scale": 0.0}, "head_scale: expected a finite number above 0, got 0.0"),
        (
            FIXED | {"head_orientation": "up"},
            "head_orientation: expected one of haar, axis, block, got 'up'",
        ),
        (
            FIXED | {"head_orientation": "block", "head_seed": 1},
            "head_seed: expected none unless head_orientation is 'haar', got 1",
        ),
        (FIXED | {"head_seed": -1}, r"head_seed: expected a whole number in \[0, 2\^63\), got -1"),
        (
            FIXED | {"head_permutation": -1},
            r"head_permutation: expected a whole number in \[0, 2\^63\), got -1",
        ),
        (
            {"lr_schedule": "step", "milestones": 5},
            "milestones: expected rising whole numbers, got 5",
        ),
        (
            {"lr_schedule": "step", "milestones": ""},
            "milestones: expected rising whole numbers, got ''",
        ),
        (
            {"milestones": [3]},
            r"milestones: expected none unless lr_schedule is 'step', got \(3,\)",
        ),
        (
            {"lr_schedule": "step", "milestones": [30, 20]},
            r"milestones: expected rising whole numbers in \(0, 400\), got \(30, 20\)",
        ),
        (
            {"lr_schedule": "step", "milestones": [400]},
            r"milestones: expected rising whole numbers in \(0, 400\), got \(400,\)",
        ),
        ({"lr_factor": 0.5}, "lr_factor: expected none unless lr_schedule is 'step', got 0.5"),
        (
            {"lr_schedule": "step", "lr_factor": 1.0},
            r"lr_factor: expected a number in \(0, 1\), got 1.0",
        ),
        ({"label_noise": -0.1}, r"label_noise: expected a number in \[0, 1\), got -0.1"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(NeuralCollapseError, match=message):
        TrainConfig.from_dict(values)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", "3", "epochs: expected a whole number of at least 1, got '3'"),
        ("width", "wide", "width: expected a finite number above 0, got 'wide'"),
        ("net", 3, "net: expected one of mlp, .*, got 3"),
        ("head_scale", "large", "head_scale: expected a finite number above 0, got 'large'"),
        ("head_bias", 1, "head_bias: expected True or False, got 1"),
        ("seed", "x", r"seed: expected a whole number in \[0, 2\^63\), got 'x'"),
        ("lr", "fast", "lr: expected a finite number above 0, got 'fast'"),
        (
            "loss",
            np.array(["ce", "mse"]),
            r"loss: expected one of ce, .*, got array\(",
        ),
        ("weight_decay", None, r"weight_decay: expected a number in \[0, inf\), got None"),
    ],
)
def test_values_of_the_wrong_type_are_refused(name, value, message):
    with pytest.raises(NeuralCollapseError, match=message):
        TrainConfig(**{name: value})


@pytest.mark.untyped
@pytest.mark.parametrize("values", [None, 3, ["lr"]])
def test_what_is_no_mapping_is_refused(values):
    with pytest.raises(NeuralCollapseError, match="config: expected values by name, got"):
        TrainConfig.from_dict(values)


@pytest.mark.untyped
def test_milestones_of_a_list_are_those_of_a_tuple():
    listed, given = (TrainConfig(lr_schedule="step", milestones=m) for m in ([2, 5], (2, 5)))
    assert listed == given
    assert hash(listed) == hash(given)
