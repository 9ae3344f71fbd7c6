import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import FeatureTap
from neuralcollapse.training import TrainConfig, build_network


class Net(nn.Module):
    """A user's network, which remembers what it was called with."""

    def __init__(self, num_classes, in_chans=3, img_size=32, width=1.0, head_bias=True):
        super().__init__()
        self.called_with = (in_chans, img_size, width, head_bias)
        self.fc = nn.Linear(in_chans * img_size**2, num_classes, bias=head_bias)

    def forward(self, images):
        return self.fc(images.flatten(1))


class Carrier(Net):
    def forward(self, images):
        return SimpleNamespace(logits=super().forward(images), hidden_states=None)


def plain(**kwargs):
    assert set(kwargs) == {"num_classes"}
    return Net(kwargs["num_classes"], 1, 4)


def fixed(num_classes):
    return Net(3, 1, 4)


def failing(num_classes):
    raise RuntimeError("no weights")


def eager(num_classes):
    return "resnet"


@pytest.fixture(autouse=True)
def package(monkeypatch):
    module = ModuleType("users_models")
    vars(module).update(
        Net=Net, Carrier=Carrier, plain=plain, fixed=fixed, failing=failing, eager=eager, size=3,
        nested=SimpleNamespace(Net=Net), anything=lambda depth: None,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "users_models", module)


def test_the_callable_gets_what_its_signature_names():
    network = build_network("users_models:Net", (1, 4, 4), 5, width=0.5, head_bias=False)
    assert network.called_with == (1, 4, 0.5, False)
    assert network.training
    assert network(torch.zeros(2, 1, 4, 4)).shape == (2, 5)
    assert build_network("users_models:nested.Net", (2, 4, 4), 5).called_with == (2, 4, 1.0, True)
    assert build_network("users_models:plain", (1, 4, 4), 5).fc.out_features == 5


def test_the_seed_determines_an_imported_network_too():
    first, again, other = (
        build_network("users_models:Net", (1, 4, 4), 5, seed=seed).fc.weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_model_that_returns_an_object_is_reduced_to_its_logits():
    network = build_network("users_models:Carrier", (1, 4, 4), 5)
    with FeatureTap(network) as tap:
        logits = network(images := torch.ones(2, 1, 4, 4))
        features, tapped = tap.take()
    assert tap.name == "model.fc"
    assert torch.equal(logits, tapped)
    assert torch.equal(features, images.flatten(1))


def test_a_configuration_may_name_it():
    assert TrainConfig(net="users_models:Net").net == "users_models:Net"


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        (
            "no_such_package:Net",
            {},
            "net: expected no_such_package:Net to be importable, got Modul",
        ),
        ("users_models:Nut", {}, "importable, got AttributeError: .*'Nut'; .*PYTHONPATH"),
        ("users_models:size", {}, "net: expected users_models:size to be callable, got int"),
        ("users_models:anything", {}, "to take num_classes, got the arguments depth; name a func"),
        ("users_models:failing", {}, "a network of 5 classes, got RuntimeError: no weights"),
        ("users_models:eager", {}, "net: expected a torch.nn.Module, got str from users_models"),
        ("users_models:fixed", {}, r"two rows of 5 logits .* got shape \(2, 3\) from users_models"),
        ("torch.nn:Identity", {}, r"two rows of 5 logits .* got shape \(2, 1, 4, 4\) from torch"),
        ("users_models:plain", {"width": 0.5}, "width: expected 1: .*:plain takes no width, got 0"),
        ("users_models:plain", {"head_bias": False}, "head_bias: expected True: .*takes no head_b"),
    ],
)
def test_what_is_no_classifier_is_refused(path, arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        build_network(path, (1, 4, 4), 5, **arguments)


def test_images_of_another_shape_than_it_takes_are_refused():
    with pytest.raises(
        NeuralCollapseError, match=r"plain to take images of shape \(3, 8, 8\), got"
    ):
        build_network("users_models:plain", (3, 8, 8), 5)
