import math

import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import TrainConfig


def test_a_dict_and_back():
    config = TrainConfig(net="cnn", loss="mse", lr=0.5, seed=3)
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert TrainConfig.from_dict({}) == TrainConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nett": "mlp", "wd": 1}, "config: expected the keys data, .*got nett, wd; check the sp"),
        ({"net": "vit"}, "net: expected one of mlp, cnn.* or package.module:callable, got 'vit'"),
        ({"loss": "hinge"}, "loss: expected one of ce, mse, got 'hinge'"),
        ({"schedule": "linear"}, "schedule: expected one of cosine, step, constant, got 'linear'"),
        ({"weight_decay": -1.0}, r"weight_decay: expected a number in \[0, inf\), got -1.0"),
        ({"weight_decay": math.nan}, r"weight_decay: expected a number in \[0, inf\), got nan"),
        (
            {"head_weight_decay": -0.1},
            r"head_weight_decay: expected a number in \[0, inf\), got -0",
        ),
        ({"lr": 0.0}, "lr: expected a finite number above 0, got 0.0"),
        ({"momentum": 1.0}, r"momentum: expected a number in \[0, 1\), got 1.0"),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1, got 0"),
        ({"epochs": 0}, "epochs: expected a whole number of at least 1, got 0"),
        ({"per_class": 0}, "per_class: expected a whole number of at least 1, got 0"),
        ({"width": 0.0}, "width: expected a finite number above 0, got 0.0"),
        ({"width": math.inf}, "width: expected a finite number above 0, got inf"),
        ({"imbalance": 0.5}, "imbalance: expected a finite number of at least 1, got 0.5"),
        ({"imbalance": math.nan}, "imbalance: expected a finite number of at least 1, got nan"),
        ({"label_noise": 1.0}, r"label_noise: expected a number in \[0, 1\), got 1.0"),
        ({"label_noise": -0.1}, r"label_noise: expected a number in \[0, 1\), got -0.1"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(NeuralCollapseError, match=message):
        TrainConfig.from_dict(values)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", "3", "epochs: expected a whole number of at least 1, got '3'"),
        ("width", "wide", "width: expected a finite number above 0, got 'wide'"),
        ("net", 3, "net: expected one of mlp, .*, got 3"),
        ("head_bias", 1, "head_bias: expected True or False, got 1"),
        ("seed", "x", "seed: expected a whole number, got 'x'"),
        ("lr", "fast", "lr: expected a finite number above 0, got 'fast'"),
        ("weight_decay", None, r"weight_decay: expected a number in \[0, inf\), got None"),
    ],
)
def test_values_of_the_wrong_type_are_refused(name, value, message):
    config = TrainConfig()
    object.__setattr__(config, name, value)  # below the type check of the test run
    with pytest.raises(NeuralCollapseError, match=message):
        config.__post_init__()


def test_schedules_at_known_places():
    def at(schedule):
        config = TrainConfig(schedule=schedule, lr=0.8)
        return [config.lr_at(fraction) for fraction in (0.0, 0.25, 0.5, 0.75, 1 - 1e-9)]

    half = math.sqrt(0.5)
    assert at("cosine") == pytest.approx([0.8, 0.4 * (1 + half), 0.4, 0.4 * (1 - half), 0])
    assert at("step") == pytest.approx([0.8, 0.8, 0.08, 0.008, 0.008])
    assert at("constant") == [0.8] * 5
