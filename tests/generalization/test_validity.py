import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.validity import VALIDITY, check_fitted


@pytest.mark.parametrize("fitted", VALIDITY)
def test_each_answer_is_known(fitted):
    check_fitted(fitted)


def test_another_is_refused():
    with pytest.raises(NeuralCollapseError, match="fitted: expected one of nothing, head, network"):
        check_fitted("training")
