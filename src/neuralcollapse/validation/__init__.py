"""How arguments are read and refused, in one place and one wording.

Everywhere `value` is what the user gave, `argument` its name in an error, and `remedy` what the
error proposes.
"""

from neuralcollapse.validation.arrays import (
    ROW_A_CLASS,
    Array,
    as_matrix,
    as_tensor,
    check_finite,
    check_shape,
    check_squares,
    class_rows,
    finite_array,
    finite_matrix,
    finite_tensor,
)
from neuralcollapse.validation.choices import check_choice
from neuralcollapse.validation.class_names import check_class_names, listed_names
from neuralcollapse.validation.counts import (
    byte_budget,
    check_size,
    class_counts,
    decay_strength,
    fraction,
    positive,
    real_number,
    simplex_dim,
    smoothing_share,
    strength_pair,
    whole_number,
)
from neuralcollapse.validation.labels import (
    are_shares,
    distinct_labels,
    integer_labels,
    label_values,
    occupied_labels,
    read_labels,
)

__all__ = [
    "ROW_A_CLASS",
    "Array",
    "are_shares",
    "as_matrix",
    "as_tensor",
    "byte_budget",
    "check_choice",
    "check_class_names",
    "check_finite",
    "check_shape",
    "check_size",
    "check_squares",
    "class_counts",
    "class_rows",
    "decay_strength",
    "distinct_labels",
    "finite_array",
    "finite_matrix",
    "finite_tensor",
    "fraction",
    "integer_labels",
    "label_values",
    "listed_names",
    "occupied_labels",
    "positive",
    "read_labels",
    "real_number",
    "simplex_dim",
    "smoothing_share",
    "strength_pair",
    "whole_number",
]
