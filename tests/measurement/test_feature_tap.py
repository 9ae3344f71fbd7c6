from dataclasses import dataclass

import pytest
import torch
from torch import nn

from neuralcollapse import FeatureTap
from neuralcollapse.errors import NeuralCollapseError


class Wrapped(nn.Module):
    """An MLP whose output goes through `wrap`."""

    def __init__(self, wrap):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
        self.classifier = nn.Linear(6, 3)
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.classifier(self.body(x)))


@dataclass
class Output:
    logits: torch.Tensor


OUTPUTS = {
    "tensor": lambda z: z,
    "tuple": lambda z: (z, z.sum()),
    "dict": lambda z: {"loss": z.sum(), "logits": z},
    "nested": lambda z: {"out": [None, (z,)]},
    "dataclass": Output,
    "log-softmax": lambda z: z.log_softmax(1),
}


@pytest.mark.parametrize("wrap", OUTPUTS.values(), ids=OUTPUTS)
def test_the_head_is_found_whatever_the_model_returns(wrap):
    model, inputs, seen = Wrapped(wrap), torch.randn(5, 4), []
    with FeatureTap(model) as tap:
        for _ in range(2):
            model(inputs)
            features, logits = tap.take()
            seen.append((features, logits))
    assert tap.name == "classifier"
    for features, logits in seen:
        torch.testing.assert_close(features, model.body(inputs).detach())
        torch.testing.assert_close(logits, model.classifier(features).detach())


def test_a_head_by_name_or_module():
    model = Wrapped(lambda z: z)
    for head in ("body.0", model.body[0]):
        with FeatureTap(model, head) as tap:
            model(torch.ones(2, 4))
            features, _ = tap.take()
        assert torch.equal(features, torch.ones(2, 4))
        assert tap.weight.shape == (6, 4)
        assert tap.bias.shape == (6,)


def test_a_model_that_is_its_own_head_and_no_bias():
    with FeatureTap(nn.Linear(2, 3, bias=False)) as tap:
        tap.model(torch.ones(1, 2))
        assert tap.take()[0].shape == (1, 2)
        assert tap.bias is None


def hooks(model):
    return sum(len(m._forward_hooks) for m in model.modules())


def test_hooks_are_removed_even_when_the_model_fails():
    def fail(_):
        raise RuntimeError("boom")

    for model, error in ((Wrapped(fail), "boom"), (nn.Sequential(nn.ReLU()), "linear head")):
        with pytest.raises(Exception, match=error), FeatureTap(model):
            model(torch.ones(1, 4))
        assert hooks(model) == 0


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.first(x), self.second(x)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.head(x))


@pytest.mark.parametrize(
    ("model", "inputs", "head", "message"),
    [
        (TwoHeads(), (2, 4), None, "2 of these candidates: 'first', 'second'; pass one of them"),
        (nn.Sequential(nn.ReLU()), (2, 4), None, r"model: expected a linear head \(nn.Linear\)"),
        (Twice(), (2, 4), "head", "one call in each forward pass, got 2 calls of 'head'"),
        (nn.Linear(4, 3), (2, 5, 4), None, r"got \(2, 5, 4\) into ''; pool tokens"),
        (Wrapped(lambda z: z), (2, 4), "fc", "layer of the model, got 'fc'; its linear layers are"),
        (Wrapped(lambda z: z), (2, 4), "body.1", r"weight of shape \(K, d\), got ReLU 'body.1'"),
        (Wrapped(lambda z: z.sum()), (2, 4), None, "candidates: 'body.0', 'classifier'"),
    ],
)
def test_what_cannot_be_tapped_is_said(model, inputs, head, message):
    def run():
        with FeatureTap(model, head) as tap:
            model(torch.ones(inputs))
            tap.take()

    with pytest.raises(NeuralCollapseError, match=message):
        run()
    assert hooks(model) == 0


def test_the_head_is_unknown_before_the_first_pass():
    with pytest.raises(NeuralCollapseError, match="a network that has run once"):
        _ = FeatureTap(nn.Linear(2, 2)).weight
