"""Whatever a file holds, certify, ood and compare end well or with one line that says why."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuralcollapse as nc
from cli_runner import run

LABELS = np.arange(24) % 3
HEAD = nc.simplex_etf(3, 4, "axis").numpy()
FEATURES = HEAD[LABELS] + 0.3 * np.random.default_rng(0).normal(size=(24, 4))
NAMES = np.array(["ant", "bee", "cat"])
TRAINED = {"features": FEATURES, "labels": LABELS, "weight": HEAD, "bias": np.zeros(3)}
ARRAYS = {
    "certify": {"logits": FEATURES @ HEAD.T, "labels": LABELS, "class_names": NAMES},
    "ood": TRAINED | {"test_features": FEATURES, "foreign_features": -FEATURES},
    "compare": TRAINED | {"test_features": FEATURES, "test_labels": LABELS},
}
ODD = {
    "none": lambda array: array[:0],
    "one": lambda array: array[0],
    "deeper": lambda array: array[None],
    "shorter": lambda array: array[:-1],
    "turned": np.transpose,
    "text": lambda array: array.astype(str),
    "word": lambda array: np.array("word"),
    "complex": lambda array: np.zeros(array.shape, complex),
    "dates": lambda array: np.zeros(array.shape, "M8[s]"),
    "records": lambda array: np.zeros(array.shape, [("a", "f4"), ("b", "i4")]),
    "nan": lambda array: np.full(array.shape, np.nan),
    "huge": lambda array: np.full(array.shape, 1e300),
    "unsigned": lambda array: np.full(array.shape, 2**64 - 1, np.uint64),
}
few = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ends_well(command, file, *more):
    result = run(command, file, *more)
    assert result.exit_code in (0, 2), (result.output, result.exception)
    if result.exit_code == 2:
        assert len(result.stderr.strip().splitlines()) == 1
        assert "expected" in result.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Whole files by command and ending."""
    folder = tmp_path_factory.mktemp("whole")
    nc.measure_features(**TRAINED).save(folder / "compare.safetensors")
    for command, arrays in ARRAYS.items():
        np.savez(folder / f"{command}.npz", **arrays)
    for command in ("certify", "ood"):
        rows = zip(FEATURES, NAMES[LABELS], strict=True)
        lines = [",".join([*map(str, row), name]) for row, name in rows]
        text = "\n".join(["logit_a,logit_b,logit_c,d,label", *lines])
        (folder / f"{command}.csv").write_text(text)
    return folder


@few
@given(
    name=st.sampled_from(
        ["certify.npz", "certify.csv", "ood.npz", "ood.csv", "compare.npz", "compare.safetensors"]
    ),
    place=st.floats(0, 1, exclude_max=True),
    cut=st.integers(0, 60),
    put=st.binary(max_size=20),
)
def test_damaged_bytes(whole, tmp_path, name, place, cut, put):
    content = (whole / name).read_bytes()
    start = int(place * len(content))
    (tmp_path / name).write_bytes(content[:start] + put + content[start + cut :])
    command = name.partition(".")[0]
    ends_well(command, tmp_path / name, *([whole / "compare.npz"] if command == "compare" else []))


@few
@given(command=st.sampled_from(sorted(ARRAYS)), data=st.data())
def test_odd_arrays(whole, tmp_path, command, data):
    arrays = dict(ARRAYS[command])
    name = data.draw(st.sampled_from(sorted(arrays)))
    arrays[name] = ODD[data.draw(st.sampled_from(sorted(ODD)))](arrays[name])
    file = tmp_path / f"{command}.npz"
    np.savez(file, **arrays)
    ends_well(command, file, *([whole / "compare.npz"] if command == "compare" else []))
