from types import SimpleNamespace

import numpy as np
import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory import central_path, collapsed_path_time, commuting_path

RADII, VARIANCES, TIMES = np.array([0.4, 1.0, 2.5]), np.array([0.3, 0.02, 0.8]), [0.0, 0.5, 4.0]


@pytest.mark.parametrize(("lambda_w", "lambda_h"), [(0.5, 0.1), (0.4, 0.0), (2.0, 1.0)])
def test_each_direction_goes_as_in_the_full_flow(lambda_w, lambda_h):
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(size, size)))[0] for size in (3, 5))
    spectrum = np.concatenate([VARIANCES, [0.1, 0.6]])  # directions that no class mean meets too
    moments = SimpleNamespace(
        means=U * RADII @ V[:, :3].T, within=V * spectrum @ V.T, counts=[7, 7, 7]
    )
    full = central_path(moments, None, lambda_w, lambda_h, TIMES)
    ours = commuting_path(RADII, VARIANCES, 3, lambda_w, lambda_h, TIMES)
    for i in range(3):
        means = U.T @ full.means[i].numpy() @ V[:, :3]
        np.testing.assert_allclose(means, np.diag(ours.radii[i]), atol=1e-10)
        within = V[:, :3].T @ full.within[i].numpy() @ V[:, :3]
        np.testing.assert_allclose(within, np.diag(ours.variances[i]), atol=1e-10)


def test_undecayed_directions_keep_their_invariant():
    path = commuting_path(RADII, VARIANCES, 3, 0.4, 0.0, TIMES)
    invariant = path.radii**2 + 3 * path.variances + 0.4 * path.variances.log()
    torch.testing.assert_close(invariant, invariant[:1].expand(3, 3), rtol=1e-11, atol=0)
    assert (path.variances.diff(dim=0) < 0).all()


def test_without_variance_the_time_is_in_closed_form():
    path = commuting_path(RADII, np.zeros(3), 3, 0.5, 0.1, [3.0])
    for start, end in zip(RADII, path.radii[0], strict=True):
        assert collapsed_path_time(start, float(end), 0.5, 0.1) == pytest.approx(3.0, rel=1e-9)
    assert (path.variances == 0).all()


def test_variances_are_relatively_exact_far_down():
    # Once at rest, h^2 = sqrt(lambda_w / lambda_h) - lambda_w, s decays at the rate 2 g.
    path = commuting_path([1.7], [0.1], 3, 0.5, 0.1, [150.0, 151.0])
    log_decay = float(path.variances.log().diff(dim=0))
    assert float(path.variances[0, 0]) < 1e-50
    assert log_decay == pytest.approx(-2 * np.sqrt(0.1 / 0.5), rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1], 2, 1, 1, [1]), "variances: expected one variance of at least 0 for each"),
        (([1], [-1], 2, 1, 1, [1]), "variances: expected one variance of at least 0"),
        (([1], [1], 1, 1, 1, [1]), "num_classes: expected at least 2, got 1"),
        (([1], [1], 2, 0, 1, [1]), "lambda_w: expected a finite number above 0"),
        (([1], [1], 2, 1, -1, [1]), "lambda_h: expected a finite number above 0"),
        (([1], [1], 2, 1, 1, [2, 1]), "times: expected finite increasing times"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        commuting_path(*arguments)


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="radii: expected finite numbers, got 1 NaN"):
        commuting_path([np.nan], [1.0], 2, 1, 1, [1])
