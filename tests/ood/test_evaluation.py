import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.ood import auroc, fpr_at_tpr

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(inside=SCORES, outside=SCORES)
def test_auroc_is_the_chance_of_the_right_order(inside, outside):
    wins = [(a > b) + (a == b) / 2 for a in inside for b in outside]
    assert auroc(inside, outside) == pytest.approx(np.mean(wins))
    assert auroc(outside, inside) == pytest.approx(1 - np.mean(wins))
    rising = [np.exp(np.array(part) / 2) for part in (inside, outside)]
    assert auroc(*rising) == pytest.approx(np.mean(wins))


@given(inside=SCORES, outside=SCORES, tpr=st.floats(0.01, 1))
def test_fpr_is_taken_at_the_highest_threshold_that_keeps_enough(inside, outside, tpr):
    kept = [t for t in inside if np.mean([a >= t for a in inside]) >= tpr]
    expected = np.mean([b >= max(kept) for b in outside])
    assert fpr_at_tpr(inside, outside, tpr) == pytest.approx(expected)


def test_extremes():
    assert (auroc([2, 3], [0, 1]), fpr_at_tpr([2, 3], [0, 1])) == (1, 0)
    assert (auroc([0, 1], [2, 3]), fpr_at_tpr([0, 1], [2, 3])) == (0, 1)


def test_bad_input_is_refused():
    with pytest.raises(NeuralCollapseError, match="outside: expected at least one score"):
        auroc([1.0], [])
    with pytest.raises(NonFiniteError, match="inside: expected finite numbers"):
        auroc([float("nan")], [1.0])
    with pytest.raises(NeuralCollapseError, match=r"a share in \(0, 1\], got 0"):
        fpr_at_tpr([1.0], [1.0], 0.0)
