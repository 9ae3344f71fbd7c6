import json
import math

import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs import append_record, read_history


def test_records_come_back_in_order(tmp_path):
    records = [{"epoch": i, "nc1_pinv": 10.0**-i, "note": "µ"} for i in range(5)]
    for i, record in enumerate(records):
        append_record(tmp_path / "history.jsonl", record)
        assert read_history(tmp_path) == records[: i + 1]
    assert read_history(tmp_path / "history.jsonl") == records


def test_the_file_is_strict_json_even_without_numbers(tmp_path):
    path = tmp_path / "history.jsonl"
    append_record(path, {"epoch": 1, "a": math.nan, "b": math.inf, "c": 0.5})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "epoch": 1,
        "a": None,
        "b": None,
        "c": 0.5,
    }
    (record,) = read_history(path)
    assert math.isnan(record["a"])
    assert math.isnan(record["b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"epoch": 1}\n{"epoch": 2, "nc', "history.jsonl, line 2: expected one JSON object, got"),
        ('{"epoch": 1}\n\n{"epoch": 2}\n', "line 2: expected one JSON object, got Expecting value"),
        ('{"epoch": 1}\n[1, 2]\n', "line 2: expected one JSON object, got list; remove this line"),
        ("", "path: expected at least one record, got an empty"),
    ],
)
def test_broken_histories_are_refused(tmp_path, text, message):
    (tmp_path / "history.jsonl").write_text(text)
    with pytest.raises(NeuralCollapseError, match=message):
        read_history(tmp_path)


def test_a_missing_history_is_named(tmp_path):
    with pytest.raises(NeuralCollapseError, match=r"expected a history.jsonl, got no file .*void"):
        read_history(tmp_path / "void")


def test_what_json_has_not_comes_back_from_any_depth(tmp_path):
    record = {"epoch": 1, "layers": {"first": {"nc1_pinv": math.nan, "cdnv": math.inf, "d": 0.5}}}
    rows = {
        "classes": [{"class": "a", "accuracy": math.nan}],
        "worst_pairs": [("a", "b", math.inf)],
    }
    append_record(tmp_path / "history.jsonl", record | rows)
    (read,) = read_history(tmp_path)
    assert math.isnan(read["classes"][0]["accuracy"])
    assert read["worst_pairs"][0][:2] == ["a", "b"]
    assert math.isnan(read["worst_pairs"][0][2])
    values = read["layers"]["first"]
    assert math.isnan(values["nc1_pinv"])
    assert math.isnan(values["cdnv"])
    assert values["d"] == 0.5
