import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import etf_gram, simplex_encoded_labels, simplex_encoded_spectrum

SIZES = [
    [1, 1],
    [5, 1],
    [2, 2, 2],
    [1, 2, 3],
    [10, 10, 1, 1],
    [3, 1, 3, 2, 3],
    [1, 1000],
    [7, 7, 7, 7, 8],
    list(range(1, 41)),
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_spectrum_is_that_of_the_dense_svd(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    dense = np.linalg.svd(simplex_encoded_labels(labels).numpy(), compute_uv=False)
    spectrum = simplex_encoded_spectrum(sizes).numpy()
    np.testing.assert_allclose(spectrum, dense[: len(sizes) - 1], rtol=1e-13)
    assert abs(dense[len(sizes) - 1 :]).max(initial=0) < 1e-12


@given(st.lists(st.integers(1, 50), min_size=2, max_size=8))
def test_squares_interlace_with_the_sizes_and_sum_to_the_trace(sizes):
    squares = simplex_encoded_spectrum(sizes).square().flip(0).tolist()
    ascending = sorted(sizes)
    for low, root, high in zip(ascending, squares, ascending[1:], strict=False):
        assert low * (1 - 1e-14) <= root <= high * (1 + 1e-14)
    total = sum(sizes) * (1 - 1 / len(sizes))  # tr C D C
    assert sum(squares) == pytest.approx(total, rel=1e-13)


@pytest.mark.parametrize(("a", "b", "count_a", "count_b"), [(9, 4, 3, 2), (100, 1, 1, 9)])
def test_two_levels_in_closed_form(a, b, count_a, count_b):
    k = count_a + count_b
    mixed = math.sqrt((count_a * b + count_b * a) / k)
    expected = [math.sqrt(a)] * (count_a - 1) + [mixed] + [math.sqrt(b)] * (count_b - 1)
    assert simplex_encoded_spectrum([b] * count_b + [a] * count_a).tolist() == pytest.approx(
        expected, rel=1e-14
    )


@given(n1=st.integers(1, 10**6), n2=st.integers(1, 10**6))
def test_two_classes_in_closed_form(n1, n2):
    assert simplex_encoded_spectrum([n1, n2]).item() == pytest.approx(math.sqrt((n1 + n2) / 2))


def test_rows_of_balanced_classes_are_an_etf():
    rows = simplex_encoded_labels([2, 0, 1])
    torch.testing.assert_close(rows @ rows.T * 1.5, etf_gram(3))
    assert rows.argmax(1).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simplex_encoded_labels([0, 2]), r"a sample of each of 3 classes, got none of \[1"),
        (lambda: simplex_encoded_labels([0.0, 1.0]), "whole numbers"),
        (lambda: simplex_encoded_spectrum([3]), r"at least 1 for at least 2 classes, got \[3\]"),
        (lambda: simplex_encoded_spectrum([3, 0]), r"got \[3, 0\]"),
        (lambda: simplex_encoded_spectrum([3.5, 1.0]), r"got \[3.5, 1.0\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()
