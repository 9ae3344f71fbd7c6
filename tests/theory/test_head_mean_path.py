import pytest
import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics import head_mean
from neuralcollapse.theory import head_mean_path


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.8, "dampening": 0.3},
        {"momentum": 0.9, "weight_decay": 0.0},
    ],
    ids=str,
)
def test_a_real_run_of_sgd_follows_it(settings):
    settings = {"weight_decay": 0.02} | settings
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)).double()
    inputs, labels = torch.randn(40, 6).double(), torch.randint(5, (40,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **settings)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 50, 0.3)
    head, rates = model[-1].weight, []
    start, means = head.detach().sum(0), []
    for _ in range(150):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        scheduler.step()
        means.append(head.detach().sum(0))
    path = head_mean_path(
        rates,
        settings["momentum"],
        settings["weight_decay"],
        dampening=settings.get("dampening", 0.0),
        nesterov=settings.get("nesterov", False),
    )
    torch.testing.assert_close(torch.stack(means), path[1:, None] * start, rtol=0, atol=1e-14)
    assert head_mean(head) == pytest.approx(float(path[-1] ** 2 * start.square().sum() / 5))


def test_constant_rate_in_closed_form():
    path = head_mean_path(0.1, decay=0.5, steps=100)
    expected = 0.95 ** torch.arange(101, dtype=torch.float64)
    torch.testing.assert_close(path, expected, rtol=1e-13, atol=0)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.1}, "steps: expected a number of steps, got None"),
        ({"lr": 0.1, "steps": 2**63}, "steps: expected at most 100,000,000"),
        ({"lr": "x", "steps": 3}, "lr: expected real numbers"),
        ({"lr": 0.1, "steps": 3, "decay": -1.0}, "decay: expected a finite number of at least 0"),
        (
            {"lr": 0.1, "steps": 3, "momentum": 2.0},
            r"momentum: expected a number in \[0, 1\], got 2.0",
        ),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        head_mean_path(**arguments)
