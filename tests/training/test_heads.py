import math
import warnings

import pytest
import torch
from torch import nn

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import align, random_isometry, simplex_etf
from neuralcollapse.training import FixedHead, UnfittableHeadWarning, dot_regression, etf_head


@pytest.mark.parametrize(
    ("orientation", "dim"), [("haar", 3), ("haar", 9), ("axis", 3), ("axis", 4), ("block", 9)]
)
def test_rows_are_an_etf_of_the_scale(orientation, dim, generator):
    head = etf_head(4, dim, orientation, scale=5.0, generator=generator, dtype=torch.float64)
    gram = head.weight @ head.weight.T
    torch.testing.assert_close(gram, 25 * nc.etf_gram(4), atol=1e-12, rtol=0)
    inputs = torch.randn(7, dim, dtype=torch.float64)
    assert torch.equal(head(inputs), inputs @ head.weight.T)


def test_it_is_saved_and_moved_but_never_trained(generator):
    head = etf_head(4, 6, generator=generator)
    before = head.weight.clone()
    model = nn.Sequential(nn.Linear(5, 6), head)
    assert len(list(model.parameters())) == 2
    optimizer = torch.optim.SGD(model.parameters(), 1.0, weight_decay=0.5)
    model(torch.randn(3, 5)).square().sum().backward()
    optimizer.step()
    assert torch.equal(head.weight, before)
    model.apply(lambda module: getattr(module, "reset_parameters", lambda: None)())
    assert torch.equal(head.weight, before)
    assert head.double().weight.dtype == torch.float64
    fresh = etf_head(4, 6)
    fresh.load_state_dict(head.state_dict())
    torch.testing.assert_close(fresh.weight, before)


def test_measure_finds_it(generator):
    model = nn.Sequential(nn.Linear(5, 8), etf_head(3, 8, generator=generator))
    labels = torch.arange(30) % 3
    report = nc.measure(model, [(torch.randn(30, 5, generator=generator), labels)])
    assert report["nc2_etf_head"] < 1e-6


def test_placements(generator):
    head = etf_head(5, 7, scale=3.0, generator=generator, dtype=torch.float64)
    order = torch.randperm(5, generator=generator)
    assert torch.equal(head.permuted(order).weight, head.weight[order])
    turn = random_isometry(7, 7, generator)
    for row, turned in zip(head.weight, head.rotated(turn).weight, strict=True):
        torch.testing.assert_close(turned, turn @ row)
    means = torch.randn(5, 7, generator=generator)
    for rule in ("hungarian", "anti-hungarian", "procrustes"):
        assert torch.equal(head.aligned(means, rule).weight, align(head.weight, means, rule))


def test_an_unfittable_head_behind_a_relu_is_warned_about():
    flat = simplex_etf(3, 2, "axis")  # (Helmert): in the plane one vertex is left of the quadrant
    with pytest.warns(UnfittableHeadWarning, match=r"cannot fit the classes \[\d.*orientation='bl"):
        head = FixedHead(flat, nonnegative=True)
    with pytest.warns(UnfittableHeadWarning, match="orthant margins are 0"):
        head.permuted([2, 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FixedHead(flat)
        block = etf_head(3, 6, "block", nonnegative=True)
        FixedHead(flat, nonnegative=False).rotated(torch.eye(2))
    assert block.orthant.least == pytest.approx(math.sqrt(3 / 2), rel=1e-6)


def test_dot_regression_by_loops(generator):
    features = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    weight = 2 * simplex_etf(3, 4, generator=generator)
    labels = [0, 1, 2, 2, 1, 0]
    total = 0.0
    for h, y in zip(features, labels, strict=True):
        scale = math.sqrt(4.0 * 9.0)  # sqrt(E_W E_H), ||m|| = 2, ||h|| = 3
        total += (float(weight[y] @ (3 * h / h.norm())) - scale) ** 2 / (2 * scale)
    loss = dot_regression(features, labels, weight, radius=3.0)
    assert float(loss) == pytest.approx(total / 6)
    assert float(dot_regression(7 * weight, [0, 1, 2], weight)) == pytest.approx(0, abs=1e-24)
    assert float(dot_regression(-weight, [0, 1, 2], weight)) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FixedHead(torch.ones(1, 3)), "weight: expected at least 2 rows, got 1"),
        (lambda: etf_head(1, 3), "num_classes: expected at least 2, got 1"),
        (lambda: etf_head(5, 3), "dim: expected dim >= num_classes - 1 = 4, got dim = 3"),
        (lambda: etf_head(3, 4, scale=0.0), "scale: expected a finite number above 0"),
        (lambda: etf_head(3, 4).permuted([0, 0, 1]), r"permutation: expected each of 0..2 once"),
        (
            lambda: etf_head(3, 4).rotated(torch.ones(4, 4)),
            "rotation: expected an orthogonal 4 x 4",
        ),
        (lambda: etf_head(3, 4).aligned(torch.ones(3, 4), "best"), "rule: expected one of"),
        (lambda: dot_regression(torch.ones(2, 3), [0, 2], torch.ones(2, 3)), "labels from 0 to 2"),
        (
            lambda: dot_regression(torch.ones(2, 3), [0, 1], torch.ones(2, 3), 0.0),
            "radius: expected a finite number above 0",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="weight: expected finite numbers, got 6 NaN"):
        FixedHead(torch.full((2, 3), float("nan")))
