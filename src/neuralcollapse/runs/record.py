"""Record: what one measurement of a run says, one JSON object in its history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from neuralcollapse.errors import NeuralCollapseError

Record = dict[str, Any]
VERSION = 2  # 0.1.0 wrote none
MOST_CLASSES = 2**20  # more than any head has: a larger number is damage

# The core, which every record has, and what else is no metric. All other entries are numbers by
# the name of a metric, those of test data with the prefix ``test_``.
CORE = ("epoch",)
NESTED = {
    "layers": Mapping, "alarms": Mapping, "setting": Mapping, "classes": list, "worst_pairs": list,
    "mode": str, "own_metrics": list,
}  # fmt: skip


def checked_record(record: Record, where: str) -> Record:
    """Return a record whose entries are of their types.

    Parameters
    ----------
    record
        As read from a history; None (JSON's null) has become NaN.
    where
        File and line, for the message.

    Raises
    ------
    NeuralCollapseError
        If the core is incomplete, an entry is of another type, or the number of classes is no
        whole number of at least 1.

    Examples
    --------
    >>> checked_record({"epoch": 1, "nc1_pinv": 0.5}, "history.jsonl, line 1")
    {'epoch': 1, 'nc1_pinv': 0.5}
    """
    for name in CORE:
        if name not in record:
            keys = ", ".join(list(record)[:5])
            raise _wrong(where, f"a record with its {name}", f"the keys {keys}")
    for name, value in record.items():
        kind = NESTED.get(name.removeprefix("test_"))
        undefined = isinstance(value, float) and math.isnan(value)
        if not undefined and (
            isinstance(value, bool) or not isinstance(value, kind or (int, float))
        ):
            wanted = "a number" if kind is None else f"a {kind.__name__}"
            raise _wrong(where, f"{wanted} as {name}", type(value).__name__)
    classes = record.get("num_classes", 1)
    if not (1 <= classes <= MOST_CLASSES and classes == int(classes)):
        raise _wrong(where, "a whole number of classes", f"num_classes = {classes}")
    return record


def _wrong(where: str, expected: str, got: str) -> NeuralCollapseError:
    return NeuralCollapseError(where, expected, got, "pass the folder of a training run")
