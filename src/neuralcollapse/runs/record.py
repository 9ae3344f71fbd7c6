"""Record: what one measurement of a run says, one JSON object in its history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from neuralcollapse.errors import NeuralCollapseError

Record = dict[str, Any]
Kind = Callable[[Any], bool]  # whether a value is of a kind
VERSION = 2  # 0.1.0 wrote none
MOST_CLASSES = 2**20  # more than any head has: a larger number is damage
MOST = 2**53  # of a sample count or dimension

# The core, which every record has. All entries but those of `NESTED` are numbers by the name of a
# metric, those of test data with the prefix ``test_``.
CORE = ("epoch",)


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
    if not (_is_number(record["epoch"]) and 0 <= record["epoch"] < MOST):
        raise _wrong(where, "the number of an epoch", f"{record['epoch']!r}"[:60])
    for name, value in record.items():
        wanted, proper = NESTED.get(name.removeprefix("test_"), NUMBER)
        if not proper(value):
            kind, _, of = wanted.partition(" of ")
            more = f", of {of}" if of else ""
            raise _wrong(where, f"{kind} as {name}{more}", type(value).__name__)
    classes = record.get("num_classes", 1)
    if not _is_whole(classes, MOST_CLASSES):
        raise _wrong(where, "a whole number of classes", f"num_classes = {classes}")
    return record


def _is_number(value: Any) -> bool:
    # A whole number of a hundred digits is no double.
    return (isinstance(value, int) and abs(value) < MOST and not isinstance(value, bool)) or (
        isinstance(value, float)
    )


def _is_whole(value: Any, most: float, least: int = 1) -> bool:
    return _is_number(value) and least <= value <= most and value == int(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _mapping(of: Kind) -> Kind:
    """Return whether a value is a mapping to values of a kind."""
    return lambda value: isinstance(value, Mapping) and all(map(of, value.values()))


def _list(of: Kind) -> Kind:
    """Return whether a value is a list of values of a kind."""
    return lambda value: isinstance(value, list) and all(map(of, value))


def _is_sizes(pair: Any) -> bool:
    """Whether it is a class size, and of how many classes."""
    proper = isinstance(pair, list) and len(pair) == 2
    return proper and _is_whole(pair[0], MOST) and _is_whole(pair[1], MOST_CLASSES)


def _is_setting(value: Any) -> bool:
    """Whether `Setting.from_record` reads it, into no more classes than there can be."""
    return (
        isinstance(value, Mapping)
        and _list(_is_sizes)(value.get("class_sizes"))
        and 1 <= sum(times for _, times in value["class_sizes"]) <= MOST_CLASSES
        and _is_whole(value.get("dim"), MOST)
        and _is_whole(value.get("head_rows"), MOST_CLASSES, least=0)
        and all(isinstance(value.get(flag), bool) for flag in ("bias", "fresh"))
    )


def _is_optimizer(value: Any) -> bool:
    """Whether it is what `head_settings` returns."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return False
    numbers = (each for name, each in value.items() if name != "name")
    return all(isinstance(each, bool) or _is_number(each) for each in numbers)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


_is_table = _mapping(_mapping(_is_number))
NUMBER = ("a number", _is_number)
NESTED: dict[str, tuple[str, Kind]] = {
    "layers": ("a Mapping of numbers by metric by layer", _is_table),
    "estimates": ("a Mapping of numbers by metric, corrected with ends", _is_table),
    "alarms": ("a Mapping of sentences by alarm", _mapping(_is_text)),
    "setting": ("a Mapping of class sizes and dimensions", _is_setting),
    "classes": ("a list", _is_list),
    "worst_pairs": ("a list", _is_list),
    "own_metrics": ("a list of names", _list(_is_text)),
    "cautions": ("a list of text", _list(_is_text)),
    "optimizer": ("a Mapping of settings with the name of the optimiser", _is_optimizer),
    "mode": ("a word", _is_text),
}


def _wrong(where: str, expected: str, got: str) -> NeuralCollapseError:
    return NeuralCollapseError(where, expected, got, "pass the folder of a training run")
