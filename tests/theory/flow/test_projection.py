import numpy as np
import pytest

from neuralcollapse.theory.flow.projection import conserved, project


def draw(num_classes, num, dim, defect):
    rng = np.random.default_rng(0)
    W, H = rng.normal(size=(num_classes, dim)), rng.normal(size=(num, dim))
    target = conserved(W, H)
    moved = (x + defect * rng.normal(size=x.shape) for x in (W, H))
    return *moved, target


@pytest.mark.parametrize("sizes", [(4, 20, 6), (3, 3, 2), (2, 5, 9)])
def test_logits_move_by_a_common_shift_only(sizes):
    W, H, target = draw(*sizes, defect=0.01)
    W1, H1 = project(W, H, target)
    before, after = (h @ (w - w.mean(0)).T for w, h in ((W, H), (W1, H1)))
    change = after - before
    np.testing.assert_allclose(change - change.mean(1, keepdims=True), 0, atol=1e-13)
    assert np.abs(W1 - W).max() > 1e-3


@pytest.mark.parametrize("sizes", [(4, 20, 6), (3, 3, 2)])
def test_what_is_left_is_quadratic_in_what_was_lost(sizes):
    defects = np.array([1e-2, 1e-3, 1e-4])
    left = []
    for defect in defects:
        W, H, target = draw(*sizes, defect)
        after = conserved(*project(W, H, target))
        left.append(np.linalg.norm(after.balance - target.balance))
        # Exact but for the exchange, which acts on the mean row too.
        assert np.linalg.norm(after.mean_row - target.mean_row) < 10 * defect
    slope = np.polyfit(np.log(defects), np.log(left), 1)[0]
    assert slope == pytest.approx(2, abs=0.1)


def test_directions_that_hold_nothing_stay_empty():
    W, H, target = draw(2, 5, 9, defect=0.01)
    W[:, 7:] = H[:, 7:] = 0
    W1, H1 = project(W, H, target)
    assert np.isfinite(W1).all()
    assert np.isfinite(H1).all()


def test_a_state_that_lost_nothing_stays():
    W, H, target = draw(4, 20, 6, defect=0)
    for before, after in zip((W, H), project(W, H, target), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-14)
