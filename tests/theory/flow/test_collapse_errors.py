import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.theory import collapse_errors


def naive(W, H, labels):
    """Loops over classes and pairs, one state."""
    classes = len(W)
    means = [
        np.mean([h for h, y in zip(H, labels, strict=True) if y == k], axis=0)
        for k in range(classes)
    ]
    spread = [np.linalg.norm(h - means[y]) for h, y in zip(H, labels, strict=True)]
    rows = {"means": np.array(means) - np.mean(means, axis=0), "head": W - W.mean(0), "rows": W}
    result = {}
    for name, points in rows.items():
        norms = [np.linalg.norm(p) for p in points]
        result[f"equinorm_{name}"] = np.std(norms) / np.mean(norms)
        cosines = [
            points[j] @ points[k] / (norms[j] * norms[k]) for j in range(classes) for k in range(j)
        ]
        result[f"cosines_{name}"] = np.mean([abs(c + 1 / (classes - 1)) for c in cosines])
    norms = [np.linalg.norm(p) for p in rows["means"]]
    result["within_class"] = np.mean(spread) / np.mean(norms)
    unit = {name: points / np.sqrt((points**2).sum()) for name, points in rows.items()}
    result["self_duality"] = np.sqrt(((unit["head"] - unit["means"]) ** 2).sum())
    return result


@pytest.mark.parametrize("labels", [[0, 1, 2, 0, 1, 2], [2, 2, 0, 1, 0, 0]])
def test_errors_are_those_of_the_loops(labels, generator):
    W = torch.randn(5, 3, 4, generator=generator).double()
    H = torch.randn(5, 6, 4, generator=generator).double()
    errors = collapse_errors(W, H, torch.tensor(labels))
    for index in range(5):
        for name, expected in naive(W[index].numpy(), H[index].numpy(), labels).items():
            assert float(getattr(errors, name)[index]) == pytest.approx(expected, rel=1e-12)


@given(classes=st.integers(2, 6), scale=st.floats(1e-3, 1e3), shift=st.floats(-3, 3))
def test_at_collapse_all_errors_vanish(classes, scale, shift):
    etf = simplex_etf(classes, 7, "axis")
    labels = torch.arange(classes).repeat(3)
    errors = collapse_errors(etf + shift, scale * etf[labels] - shift, labels)
    for name, error in vars(errors).items():
        if shift == 0 or not name.endswith("_rows"):  # the rows themselves see the shift
            assert float(error) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: collapse_errors([[1.0], [2.0]], [[1.0]], [0, 1]), r"H: expected shape \(2, 1\)"),
        (lambda: collapse_errors([[1.0], [2.0]], [[1.0], [1.0]], [0, 0]), "labels: expected"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_what_is_not_finite_is_refused():
    with pytest.raises(NonFiniteError, match="W: expected finite numbers"):
        collapse_errors([[float("nan")], [1.0]], [[1.0], [1.0]], [0, 1])
