"""Scores of the samples in a file, familiar and foreign."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.array_files import read_arrays
from neuralcollapse.measurement.feature_files import FOREIGN, NAMES
from neuralcollapse.measurement.measure_features import measure_features
from neuralcollapse.ood.evaluation import auroc, fpr_at_tpr
from neuralcollapse.ood.scores import detector_named, ood_scores


def score_file(path: str | Path, methods: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score the samples of a file.

    Parameters
    ----------
    path
        As in `read_features`, and with ``foreign_features`` (n, d) of unfamiliar samples.
    methods
        Names of `METHODS`.

    Returns
    -------
    table : DataFrame
        One row per sample: ``data`` (test or foreign), ``row``, and one column per method.
    summary : DataFrame
        One row per method: mean score of each part and, with both, ``auroc`` and ``fpr95``.

    Raises
    ------
    NeuralCollapseError
        If the file cannot be read, or has no samples to score.
    """
    arrays = read_arrays(path, (*NAMES, FOREIGN))
    foreign, logits = arrays.pop(FOREIGN, None), ("logits", "test_logits")
    parts = {"test": arrays.pop("test_features", None), "foreign": foreign}
    parts = {name: rows for name, rows in parts.items() if rows is not None}
    missing = {"features", "labels"} - set(arrays)
    if missing or not parts:
        expected = f"features and labels of training data, and test_features or {FOREIGN} to score"
        got = f"{', '.join(sorted([*arrays, *parts]))} in {Path(path).name}"
        remedy = "add the samples to score under one of these names"
        raise NeuralCollapseError("path", expected, got, remedy)
    for name, rows in parts.items():
        if not len(rows):
            raise NeuralCollapseError(
                f"{name}_features", "at least one sample to score", "none", "leave them out"
            )
    kept = {n: array for n, array in arrays.items() if n not in (*logits, "test_labels")}
    report = measure_features(**kept, intervals=False)
    blocks = []
    for name, rows in parts.items():
        columns = {}
        for method in methods:
            needed = detector_named(method).needs_train_features
            extra = {"train_features": arrays["features"]} if needed else {}
            known = report.train.moments, report.weight, report.bias
            with _blaming(f"{name}_features", method):
                columns[method] = ood_scores(*known, rows, method, **extra).tolist()
        blocks.append(pd.DataFrame({"data": name, "row": range(len(rows)), **columns}))
    table = pd.concat(blocks, ignore_index=True)
    summary = {}
    for method in methods:
        scores = {name: table.loc[table["data"] == name, method].to_numpy() for name in parts}
        row = {f"mean {name}": float(values.mean()) for name, values in scores.items()}
        if len(scores) == 2:
            row |= {"auroc": auroc(scores["test"], scores["foreign"]),
                    "fpr95": fpr_at_tpr(scores["test"], scores["foreign"])}  # fmt: skip
        summary[method] = row
    return table, pd.DataFrame.from_dict(summary, orient="index")


@contextmanager
def _blaming(argument: str, method: str) -> Iterator[None]:
    """Name the array at fault as the file does, and else the method that cannot be used."""
    try:
        yield
    except NeuralCollapseError as error:
        if error.argument == "features":
            raise type(error)(argument, error.expected, error.got, error.remedy) from error
        got = f"{error.got} ({error.argument} of {method})"
        raise NeuralCollapseError("method", error.expected, got, "leave it out") from error
