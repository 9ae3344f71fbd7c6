import pickle

import numpy as np
import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.validation import finite_matrix, integer_labels, positive


def test_a_float64_array_is_not_copied():
    array = np.zeros((2, 3))
    finite_matrix("x", array)[0, 0] = 5
    assert array[0, 0] == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: finite_matrix("x", [1.0]), r"x: expected a matrix \(two axes\), got shape \(1,\)"),
        (lambda: integer_labels("y", [0, 1], 3), "y: expected 3 labels, one a row"),
        (lambda: integer_labels("y", [[0], [1]], 2), "not one-hot rows"),
        (lambda: integer_labels("y", [0.0, 1.0], 2), "whole numbers, got dtype torch.float32"),
        (lambda: integer_labels("y", [0, -1], 2), "labels of at least 0, got labels from -1 to 0"),
        (lambda: integer_labels("y", [0, 3], 2, 3), "below num_classes = 3, got labels from 0 to"),
        (lambda: positive("beta", 0.0), "beta: expected a finite number above 0, got 0.0"),
        (lambda: positive("beta", float("nan")), "beta"),
        (lambda: positive("beta", float("inf")), "beta"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_non_finite_entries_are_counted():
    with pytest.raises(NonFiniteError, match="2 NaN or infinite of 4"):
        finite_matrix("x", torch.tensor([[float("nan"), 1], [float("inf"), 0]]))


def test_unsigned_labels_are_labels():
    assert integer_labels("y", np.array([0, 1], dtype=np.uint8), 2).dtype == torch.int64


def test_an_error_survives_pickling():
    error = NeuralCollapseError("a", "b", "c", "d")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
