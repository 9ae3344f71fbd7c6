import math

import pytest
import torch

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError


def regularised_minimum(targets, lambda_w, lambda_h, dim):
    """Minimise the regularised squared loss over W, H and b by L-BFGS."""
    num, n = targets.shape
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(n, dim, generator=generator, dtype=torch.float64).requires_grad_()
    H = torch.randn(num, dim, generator=generator, dtype=torch.float64).requires_grad_()
    b = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        optimizer = torch.optim.LBFGS(
            [W, H, b], max_iter=1000, tolerance_grad=1e-12, tolerance_change=0,
            history_size=50, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure(optimizer=optimizer):
            optimizer.zero_grad()
            loss = (H @ W.T + b - targets).square().sum() / (2 * num)
            loss = loss + lambda_w / 2 * W.square().sum() + lambda_h / (2 * num) * H.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
    return W.detach(), H.detach()


@pytest.mark.parametrize("lambdas", [(0.1, 0.05), (0.5, 0.6)])
def test_the_regularised_minimum_is_collapsed(lambdas):
    generator = torch.Generator().manual_seed(1)
    mix = torch.tensor([[2.0, 0.5], [0.0, 0.5]], dtype=torch.float64)
    targets = torch.randn(30, 2, generator=generator, dtype=torch.float64) @ mix + 7
    W, H = regularised_minimum(targets, *lambdas, dim=5)
    report = nc.measure_regression(H, targets, W, lambdas)
    for name in ("nrc1", "nrc2", "nrc3", "nrc3_decay"):
        assert report[name] < 1e-10, name
    assert report["nrc1_explained"] == pytest.approx(1)
    if lambdas[0] < 0.2:  # the other leaves one direction, whose share no shift changes
        assert report.shift == pytest.approx(math.sqrt(lambdas[0] * lambdas[1]), rel=1e-3)
    assert "NRC3" in str(report)


def test_against_projections_one_sample_at_a_time():
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    targets = torch.randn(50, 2, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    report = nc.measure_regression(features, targets, weight)
    rows = features - features.mean(0)
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    for name, basis in {"nrc1": vectors[:, -2:].T, "nrc2": weight}.items():
        total = 0.0
        for row in rows:
            unit = row / row.norm()
            fit = torch.linalg.lstsq(basis.T, unit[:, None]).solution
            total += float((unit[:, None] - basis.T @ fit).square().sum()) / len(rows)
        assert report[name] == pytest.approx(total, rel=1e-10)
    assert 0 < report["nrc2_explained"] < report["nrc1_explained"] < 1


def test_a_constant_target_beside_others_is_no_obstacle():
    targets = torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    report = nc.measure_regression(torch.tensor([[1.0, 0], [2, 0], [4, 0]]), targets, torch.eye(2))
    assert report["nrc1"] < 1e-12
    assert math.isfinite(report["nrc3"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": torch.ones(4, 2)}, "targets that vary, got constant targets"),
        ({"targets": torch.ones(3, 2)}, "one row for each of 4 samples"),
        ({"weight": torch.eye(3)}, r"weight: expected shape \(2, 3\)"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    good = {"features": torch.randn(4, 3), "targets": torch.randn(4, 2), "weight": torch.eye(2, 3)}
    with pytest.raises(NeuralCollapseError, match=message):
        nc.measure_regression(**good | arguments)
    with pytest.raises(NonFiniteError):
        nc.measure_regression(torch.full((4, 3), math.nan), good["targets"], good["weight"])
