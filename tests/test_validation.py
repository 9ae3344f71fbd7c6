import enum
import math
import pickle
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError, shortened
from neuralcollapse.validation import (
    as_tensor,
    check_choice,
    class_counts,
    distinct_labels,
    finite_matrix,
    integer_labels,
    occupied_labels,
    positive,
    whole_number,
)

NAN, INF = float("nan"), float("inf")


def read_only(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


class Waits(TorchDispatchMode):
    """Count the numbers that are fetched one by one, for each of which a device is waited for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("autocast", [False, True])
def test_least_and_largest_label_are_fetched_together(autocast):
    with Waits() as waits, torch.autocast("cpu", enabled=autocast):
        integer_labels("labels", torch.arange(6), 6, 6)
    assert waits.count <= 1


def test_a_float64_array_is_not_copied():
    array = np.zeros((2, 3))
    finite_matrix("x", array)[0, 0] = 5
    assert array[0, 0] == 5


NUMBERS = [
    [[0.1, 2.0], [3.0, -4.0]],
    np.array([[0.1, 2.0], [3.0, -4.0]]),
    np.array([[3.0, -4.0], [0.1, 2.0]])[::-1],
    np.array([[0.1, 2.0], [3.0, -4.0]], dtype=">f8"),
    np.array([[0.1, 2.0], [3.0, -4.0]], dtype=np.longdouble),
    read_only([[0.1, 2.0], [3.0, -4.0]]),
    pd.DataFrame({"a": [0.1, 3.0], "b": [2.0, -4.0]}),
    torch.tensor([[0.1, 2.0], [3.0, -4.0]], dtype=torch.float64),
    list(torch.tensor([[0.1, 2.0], [3.0, -4.0]], dtype=torch.float64)),
]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: type(value).__name__)
def test_numbers_are_read_from_whatever_holds_them(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matrix = finite_matrix("x", value)
    # To the last digit: a list is not read through float32.
    assert matrix.dtype == torch.float64
    assert matrix.tolist() == [[0.1, 2.0], [3.0, -4.0]]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64, np.int8, np.float16, bool])
def test_every_width_of_number_is_read(dtype):
    assert as_tensor("x", np.array([0, 1], dtype=dtype)).tolist() == [0, 1]


def test_what_exceeds_int64_does_not_wrap_around():
    assert float(as_tensor("x", np.array([2**63], dtype=np.uint64))) == 2.0**63


LABELS = [
    [2, 0, 1, 2],
    (2, 0, 1, 2),
    np.array([2, 0, 1, 2], dtype=np.uint8),
    read_only([2, 0, 1, 2]),
    np.array([2, 0, 1, 2])[::-1][::-1],
    np.array([[2], [0], [1], [2]]),
    np.array([2, 0, 1, 2], dtype=object),
    pd.Series([2, 0, 1, 2], index=[7, 7, 8, 9]),
    pd.Series([2, 0, 1, 2], dtype="Int64"),
    pd.Series([2, 0, 1, 2], dtype="category"),
    pd.DataFrame({"label": [2, 0, 1, 2]}),
    torch.tensor([2, 0, 1, 2], dtype=torch.int32),
    torch.tensor([[2], [0], [1], [2]]),
    [torch.tensor(2), torch.tensor(0), torch.tensor(1), torch.tensor(2)],
    [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
    np.eye(3, dtype=bool)[[2, 0, 1, 2]],
    torch.eye(3)[[2, 0, 1, 2]],
    [[0.1, 0.3, 0.6], [0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]],
    (0.9 * torch.eye(3) + 0.1 / 3)[[2, 0, 1, 2]].bfloat16(),
]
Animal = enum.Enum("Animal", {"ANT": "ant", "BEE": "bee", "CAT": "cat"}, type=str)
NAMES = [
    [Animal.CAT, Animal.ANT, Animal.BEE, Animal.CAT],
    pd.Series([Animal.CAT, Animal.ANT, Animal.BEE, Animal.CAT]),
    ["cat", "ant", "bee", "cat"],
    np.array(["cat", "ant", "bee", "cat"]),
    np.array([b"cat", b"ant", b"bee", b"cat"]),
    np.array(["cat", "ant", "bee", "cat"], dtype=object),
    pd.Series(["cat", "ant", "bee", "cat"]),
    pd.Series(["cat", "ant", "bee", "cat"], dtype="category"),
    pd.Series(["cat", "ant", "bee", "cat"], dtype="string"),
    np.array([["cat"], ["ant"], ["bee"], ["cat"]]),
]


@pytest.mark.parametrize("value", LABELS)
def test_one_function_reads_every_kind_of_label(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = integer_labels("y", value, 4, 3)
    assert found.dtype == torch.int64
    assert found.tolist() == [2, 0, 1, 2]
    assert occupied_labels("y", value).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("value", NAMES)
def test_names_are_looked_up_in_the_order_of_the_classes(value):
    assert integer_labels("y", value, 4, 3, ["ant", "bee", "cat"]).tolist() == [2, 0, 1, 2]
    assert integer_labels("y", value, 4, 3, ["cat", "bee", "ant"]).tolist() == [0, 2, 1, 0]
    classes, places = distinct_labels("y", value)
    assert classes.tolist() == ["ant", "bee", "cat"]
    assert places.tolist() == [2, 0, 1, 2]


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20))
def test_distinct_labels_are_sorted_and_name_every_row(values):
    classes, places = distinct_labels("y", values)
    assert classes.tolist() == sorted(set(values))
    assert classes[places.numpy()].tolist() == values
    again, same = distinct_labels("y", values[::-1], classes)
    assert again[same.numpy()].tolist() == values[::-1]


def test_names_of_other_alphabets_may_come_as_bytes():
    classes, places = distinct_labels("y", np.array(["\u00e9l\u00e9phant".encode(), b"ant"]))
    assert classes.tolist() == ["ant", "\u00e9l\u00e9phant"]
    assert places.tolist() == [1, 0]


def test_truth_values_are_classes_but_no_indices():
    assert distinct_labels("y", [True, False])[1].tolist() == [1, 0]
    with pytest.raises(NeuralCollapseError, match=r"whole numbers, got dtype torch.bool"):
        integer_labels("y", [True, False], 2)
    assert integer_labels("y", [True, False], 2, num_classes=2).tolist() == [1, 0]


ANT = ["ant", "bee"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: finite_matrix("x", [1.0]), r"x: expected a matrix \(two axes\), got shape \(1,\)"),
        (lambda: as_tensor("x", np.array([1j])), "x: expected real numbers, got dtype complex128"),
        (lambda: as_tensor("x", torch.ones(1) * 1j), "x: expected real numbers, got dtype torch.c"),
        (lambda: as_tensor("x", ["1.0"]), "x: expected real numbers, got dtype <U3"),
        (lambda: as_tensor("x", torch.nn.Identity()), "x: expected real numbers, got Identity; "),
        (lambda: as_tensor("x", None), "x: expected real numbers, got NoneType; "),
        (lambda: as_tensor("x", [None]), "x: expected real numbers, got dtype object"),
        (lambda: as_tensor("x", [Fraction(1, 2)]), "x: expected real numbers, got dtype object"),
        (lambda: as_tensor("x", [[1.0], [1.0, 2.0]]), "x: expected real numbers, got list"),
        (lambda: integer_labels("y", [0, 1], 3), "y: expected 3 labels, one per row"),
        (lambda: integer_labels("y", 3, 1), r"one label per row, got shape \(\)"),
        (lambda: integer_labels("y", np.zeros((2, 2, 2)), 2), "one label per row, got shape"),
        (lambda: integer_labels("y", [0.0, 1.0], 2), "integers or strings, got dtype float64"),
        (lambda: integer_labels("y", [0, None], 2), "integers or strings, got dtype object"),
        (lambda: integer_labels("y", [0, -1], 2), "labels of at least 0, got labels from -1 to 0"),
        (lambda: integer_labels("y", [0, 3], 2, 3), "below 3, .* got labels from 0 to 3"),
        (lambda: integer_labels("y", [5, 3], 2, 2, ANT), "below 2, .* got labels from 3 to 5"),
        (lambda: integer_labels("y", ANT, 2, 2), "class indices 0..K-1"),
        (lambda: integer_labels("y", [0, 255], 2, 2), "0 to 255; .*ignore_index="),
        (lambda: integer_labels("y", ["ant", "wasp"], 2, 2, ANT), r"got \['wasp'\]"),
        (lambda: integer_labels("y", ["ant"], 1, 2, ["ant"] * 2), "class_names has once"),
        (lambda: integer_labels("y", torch.eye(2), 2, 3), "one-hot rows of num_classes = 3 col"),
        (lambda: integer_labels("y", [[1, 0, 1]], 1, 3), "1 other rows, such as"),
        (lambda: integer_labels("y", [[0, 0, 0]], 1, 3), "one largest entry"),
        (lambda: integer_labels("y", [[0.5, 0.5, 0]], 1, 3), "one largest entry"),
        (lambda: integer_labels("y", [[0.9, 0.8, 0.1]], 1, 3), "that sum to 1"),
        (lambda: integer_labels("y", [[1.5, -0.5, 0]], 1, 3), "rows of at least 0"),
        (lambda: integer_labels("y", [[NAN, 0.5, 0.5]], 1, 3), "rows of at least 0"),
        (lambda: distinct_labels("y", ["a", math.nan]), r"dtype object \(float, str\)"),
        (lambda: distinct_labels("y", ["a", 0]), r"dtype object \(int, str\)"),
        (lambda: distinct_labels("y", np.array([b"\xff"])), "bytes that are no UTF-8"),
        (lambda: distinct_labels("y", [0.5, 1.5]), "integers or strings, got dtype float64"),
        (lambda: distinct_labels("y", [3], np.array([1, 2])), r"those of the training data, \[1"),
        (lambda: positive("beta", 0.0), "beta: expected a finite number above 0, got 0.0"),
        (lambda: positive("beta", NAN), "beta"),
        (lambda: positive("beta", INF), "beta"),
        (lambda: whole_number("n", 2.5), "n: expected a whole number of at least 1, got 2.5"),
        (lambda: whole_number("n", NAN), "n: expected a whole number of at least 1, got nan"),
        (lambda: whole_number("n", INF), "n: expected a whole number of at least 1, got inf"),
        (lambda: whole_number("n", 0), "n: expected at least 1, got 0"),
        (lambda: class_counts("n", [2, NAN]), r"n: expected whole numbers.*, got \[2.0, nan\]"),
        (lambda: class_counts("n", [2, INF]), "n: expected whole numbers"),
        (lambda: class_counts("n", [2, 2.5]), "n: expected whole numbers"),
        (lambda: class_counts("n", 5), "n: expected whole numbers.*, got 5"),
        (lambda: occupied_labels("y", [0, 6599]), r"none of \[1, 2, .* ... 6588 more\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_counts_may_be_of_any_dtype():
    assert class_counts("n", torch.tensor([2.0, 3.0])).tolist() == [2, 3]
    assert whole_number("n", np.int64(3)) == whole_number("n", 3.0) == 3


def test_non_finite_entries_are_counted():
    with pytest.raises(NonFiniteError, match="2 NaN or infinite of 4"):
        finite_matrix("x", torch.tensor([[NAN, 1], [INF, 0]]))


def test_an_error_survives_pickling():
    error = NeuralCollapseError("a", "b", "c", "d")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_long_lists_are_cut():
    assert len(shortened(list(range(10**5)))) < 80
    assert shortened([]) == "[]"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: whole_number("n", math.nan), "n: expected a whole number of at least 1, got nan"),
        (lambda: whole_number("n", math.inf), "n: expected a whole number of at least 1, got inf"),
        (lambda: whole_number("n", 2**63), "n: expected at most 9,007,199,254,740,992, got 92233"),
        (lambda: whole_number("n", 1e200), "n: expected at most 9,007,199,254,740,992, got 1e"),
        (lambda: positive("beta", 1e200), r"beta: expected at most 1e\+60, got 1e\+200"),
        (lambda: positive("beta", math.nan), "beta: expected a finite number above 0, got nan"),
    ],
)
def test_numbers_that_nothing_finishes_with_are_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


@pytest.mark.parametrize("value", [np.array(["a", "b"]), torch.ones(2), ["a"], np.array([])])
def test_an_array_is_none_of_the_choices(value):
    with pytest.raises(NeuralCollapseError, match="rule: expected one of a, 1, got"):
        check_choice("rule", value, ("a", 1))


@pytest.mark.parametrize("names", [{"a", "b", "c"}, frozenset("abc"), {0: "a", 1: "b", 2: "c"}])
def test_names_come_in_the_order_of_the_classes(names):
    with pytest.raises(NeuralCollapseError, match=r"class_names: .* in the order of the cl"):
        nc.measure_features(torch.eye(3).repeat(2, 1), list("abcabc"), class_names=names)


@pytest.mark.parametrize("names", [["a", "b", "a"], ["a", " ", "b"], ["", "a", "b"]])
def test_each_class_has_a_name_of_its_own(names):
    with pytest.raises(NeuralCollapseError, match="class_names: expected a name of its own for ev"):
        nc.measure_features(torch.eye(3).repeat(2, 1), [0, 1, 2] * 2, class_names=names)
