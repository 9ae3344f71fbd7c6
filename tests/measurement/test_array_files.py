"""One reader for every kind of file: the same arrays, and nothing dropped without a word."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import error_certificate
from neuralcollapse.generalization.decided_file import read_decided
from neuralcollapse.measurement import read_features, write_features
from neuralcollapse.measurement.array_files import read_arrays, read_class_names

FEATURES = np.random.default_rng(0).normal(size=(12, 3))
WORDS = np.array(["cat", "dog", "eel"])[np.arange(12) % 3]
NUMBERS = np.arange(12) % 3
LOGITS = np.random.default_rng(1).normal(size=(12, 3))


def _csv(path):
    table = pd.DataFrame(FEATURES, columns=["a", "b", "c"])
    table["label"] = WORDS
    table.to_csv(path, index=False)


@pytest.mark.parametrize("ending", ["npz", "csv", "safetensors", "pt"])
def test_the_same_data_measures_alike_from_every_kind_of_file(tmp_path, ending):
    path = tmp_path / f"data.{ending}"
    if ending == "npz":
        np.savez(path, features=FEATURES, labels=WORDS)
    elif ending == "csv":
        _csv(path)
    elif ending == "safetensors":
        tensors = {"features": torch.tensor(FEATURES), "labels": torch.tensor(NUMBERS)}
        save_file(tensors, path, {"class_names": json.dumps(["cat", "dog", "eel"])})
    else:
        torch.save({"features": torch.tensor(FEATURES), "labels": torch.tensor(NUMBERS)}, path)
    report = nc.measure_features(**read_features(path))
    expected = nc.measure_features(FEATURES, WORDS)
    assert report["cdnv"] == pytest.approx(expected["cdnv"], rel=1e-12)
    assert report.class_names == (["0", "1", "2"] if ending == "pt" else ["cat", "dog", "eel"])


def test_a_single_array_is_named_by_its_file(tmp_path):
    np.save(tmp_path / "logits.npy", LOGITS)
    np.save(tmp_path / "run7.npy", FEATURES)
    assert set(read_arrays(tmp_path / "logits.npy", ("logits",))) == {"logits"}
    assert set(read_arrays(tmp_path / "run7.npy", ("logits", "features"))) == {"features"}


@pytest.mark.parametrize(
    ("name", "meant"), [("weights", "weight"), ("label", "labels"), ("class_name", "class_names")]
)
def test_an_unknown_array_is_refused_by_name(tmp_path, name, meant):
    np.savez(tmp_path / "f.npz", features=FEATURES, labels=NUMBERS, **{name: np.ones((3, 3))})
    with pytest.raises(NeuralCollapseError, match=f"got '{name}' in f.npz.*'{name}' for '{meant}'"):
        read_features(tmp_path / "f.npz")


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("boom",))

    (tmp_path / "a.pt").write_bytes(pickle.dumps({"features": Bomb()}))
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("a.pt", "a.npy"):
        with pytest.raises(NeuralCollapseError, match=name):
            read_arrays(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,x\n", "'b' in f.csv; rename the column of labels"),
        ("a;label\n1;0\n", "'a;label' in f.csv.*part columns by commas"),
        ("label,class\n1,2\n", "'label', 'class' in f.csv"),
        ("", "f.csv: expected a csv file with a header"),
        ("a,b,a,label\n1,2,3,0\n", "each name of a column once, got 'a' more than once in f.csv"),
        ("a, a,label\n1,2,0\n", "got 'a' more than once"),
        ("label,a,label\n0,1,0\n", "got 'label' more than once"),
        ("0.5,1.5,2\n1,2,0\n", "every column.*'0.5', '1.5', '2' in f.csv; add a header"),
        (
            ",a,label\n0,1.5,2\n",
            "every column.*'Unnamed: 0' in f.csv.*without its index",
        ),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, text, message):
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(NeuralCollapseError, match=message):
        read_arrays(tmp_path / "f.csv")


def test_names_are_kept_in_the_file(tmp_path):
    for ending in ("npz", "safetensors"):
        path = tmp_path / f"f.{ending}"
        names = ["cat", "dog", "eel"]
        write_features(path, features=FEATURES, labels=NUMBERS, class_names=names)
        assert nc.measure_features(**read_features(path)).class_names == names


@pytest.mark.parametrize("names", [np.array("ant"), np.array([["a"], ["b"], ["c"]])])
def test_names_are_a_row(tmp_path, names):
    np.savez(tmp_path / "f.npz", features=FEATURES, labels=NUMBERS, class_names=names)
    with pytest.raises(
        NeuralCollapseError, match=r"class_names in the file: expected a list of names, got .*"
    ):
        read_features(tmp_path / "f.npz")


@pytest.mark.parametrize("names", ['"ant"', '{"ant": 0}', '[["ant"], "bee"]', "3"])
def test_names_in_metadata_are_a_row(tmp_path, names):
    save_file(
        {"features": torch.tensor(FEATURES)}, tmp_path / "f.safetensors", {"class_names": names}
    )
    with pytest.raises(
        NeuralCollapseError, match="class_names in the file: expected a list of names"
    ):
        read_arrays(tmp_path / "f.safetensors")


def test_logits_of_the_network_decide(tmp_path):
    np.savez(tmp_path / "f.npz", features=FEATURES, labels=NUMBERS, logits=LOGITS,
             class_names=["cat", "dog", "eel"])  # fmt: skip
    report = nc.measure_features(**read_features(tmp_path / "f.npz"))
    assert report["accuracy"] == np.mean(LOGITS.argmax(1) == NUMBERS)
    with pytest.raises(NeuralCollapseError, match="logits: expected 12 rows"):
        nc.measure_features(FEATURES, NUMBERS, np.eye(3), logits=LOGITS[:5])


def test_held_out_decisions_are_test_data_where_there_is_some(tmp_path):
    weight = np.eye(3)
    np.savez(tmp_path / "f.npz", features=FEATURES, labels=NUMBERS, weight=weight,
             test_features=-FEATURES, test_labels=NUMBERS)  # fmt: skip
    found = read_decided(tmp_path / "f.npz")
    expected = nc.metrics.sample_margins(torch.tensor(-FEATURES), torch.tensor(NUMBERS))
    torch.testing.assert_close(found.margins, expected)
    torch.testing.assert_close(
        found.train_margins,
        nc.metrics.sample_margins(torch.tensor(FEATURES), torch.tensor(NUMBERS)),
    )


def test_words_stand_for_columns_in_the_order_of_names(tmp_path):
    order = ["eel", "dog", "cat"]
    np.savez(tmp_path / "f.npz", logits=LOGITS, labels=WORDS, class_names=order)
    assert read_decided(tmp_path / "f.npz").labels.tolist() == [order.index(w) for w in WORDS]
    table = pd.DataFrame(LOGITS, columns=[f"logit_{name}" for name in order])
    table["label"] = WORDS
    table.to_csv(tmp_path / "f.csv", index=False)
    assert read_decided(tmp_path / "f.csv").labels.tolist() == [order.index(w) for w in WORDS]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": LOGITS}, "labels, and logits or features with a weight"),
        ({"features": FEATURES, "labels": NUMBERS}, "save the logits of held-out samples"),
        ({"logits": LOGITS, "labels": WORDS[:2].repeat(6)}, "class_names: expected the 3 names"),
        (
            {"features": FEATURES, "labels": NUMBERS, "weight": np.ones((3, 4))},
            r"weight: expected shape \(K, 3\)",
        ),
        (
            {"logits": LOGITS, "labels": NUMBERS, "class_names": ["cat", "dog"]},
            "class_names: expected 3 names, one per class, got 2",
        ),
        (
            {"features": FEATURES, "labels": NUMBERS, "weight": np.eye(3), "bias": ["x"] * 3},
            "bias: expected real numbers",
        ),
    ],
)
def test_files_without_decisions_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(NeuralCollapseError, match=message):
        read_decided(tmp_path / "f.npz")


def test_a_class_without_a_held_out_sample_is_a_class(tmp_path):
    np.savez(tmp_path / "f.npz", logits=np.eye(4)[[0, 1, 2]], labels=[0, 1, 2])
    found = read_decided(tmp_path / "f.npz")
    assert found.class_names == ["0", "1", "2", "3"]
    certificate = error_certificate(
        found.margins, labels=found.labels, class_names=found.class_names
    )
    assert "nothing known, of 3" in " ".join(str(certificate).split())
    assert "Of the worst class seen, 0," in certificate.sentence


def test_columns_may_be_called_by_numbers(tmp_path):
    table = pd.DataFrame(FEATURES).assign(label=WORDS)
    table.to_csv(tmp_path / "f.csv", index=False)
    assert np.allclose(read_arrays(tmp_path / "f.csv")["features"], FEATURES)


@pytest.mark.parametrize("shape", [(12,), (12, 1)])
def test_one_logit_decides_between_two_classes(tmp_path, shape):
    score, labels = FEATURES[:, 0], FEATURES[:, 1] > 0
    np.savez(tmp_path / "f.npz", logits=score.reshape(shape), labels=labels)
    np.savez(tmp_path / "h.npz", features=FEATURES, weight=[[1.0, 0, 0]], bias=[0.0], labels=labels)
    expected = torch.tensor(np.where(labels, score, -score))
    for name in ("f.npz", "h.npz"):
        torch.testing.assert_close(read_decided(tmp_path / name).margins, expected)
    report = nc.measure_features(**read_features(tmp_path / "h.npz"))
    torch.testing.assert_close(report.margins, expected)
    assert report["accuracy"] == np.mean((score > 0) == labels)


@pytest.mark.parametrize("names", [["2", "0", "1"], ["3", "1", "2"], ["ship", "_sea", "sss"]])
def test_columns_of_logits_are_read_by_name_in_any_order(names, tmp_path):
    order = sorted(range(3), key=lambda k: names[k])
    scores = {f"logit_{names[k]}": 9.0 * (k == NUMBERS) for k in order}
    truth = [int(n) if n.isdecimal() else n for n in np.array(names)[NUMBERS]]
    pd.DataFrame(scores | {"label": truth}).to_csv(tmp_path / "d.csv", index=False)
    found = read_decided(tmp_path / "d.csv")
    assert bool((found.logits.argmax(1) == found.labels).all())
    assert sorted(found.class_names) == sorted(names)


def test_one_column_of_logits_stands_for_two_classes(tmp_path):
    table = {"logit": 2.0 * (NUMBERS > 0) - 1, "label": (NUMBERS > 0).astype(int)}
    pd.DataFrame(table).to_csv(tmp_path / "d.csv", index=False)
    found = read_decided(tmp_path / "d.csv")
    assert bool((found.logits.argmax(1) == found.labels).all())


def test_class_names_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "n.txt").write_text("ant\nbee\n", encoding="utf-8-sig")
    assert read_class_names(tmp_path / "n.txt") == ["ant", "bee"]


def test_a_file_of_torch_keeps_its_lists_and_refuses_what_it_does_not_know(tmp_path):
    kept = {"features": torch.as_tensor(FEATURES), "labels": NUMBERS.tolist()}
    torch.save(kept | {"class_names": ["ant", "bee", "cat"]}, tmp_path / "a.pt")
    found = read_features(tmp_path / "a.pt")
    assert found["class_names"] == ["ant", "bee", "cat"]
    assert nc.measure_features(**found).class_names == ["ant", "bee", "cat"]
    torch.save(kept | {"heads": [1, 2]}, tmp_path / "b.pt")
    with pytest.raises(NeuralCollapseError, match=r"no others, got 'heads' in b\.pt"):
        read_features(tmp_path / "b.pt")


def test_numbers_written_as_text_are_numbers(tmp_path):
    """In alphabetical order "10" stands before "2": of 12 classes ten had the wrong column."""
    labels = np.arange(120) % 12
    logits = np.eye(12)[labels] + 0.1 * np.random.default_rng(0).normal(size=(120, 12))
    for text in (labels.astype(str), labels.astype("S")):
        np.savez(tmp_path / "a.npz", logits=logits, labels=text)
        found = read_decided(tmp_path / "a.npz")
        assert found.labels.tolist() == labels.tolist()
        report = nc.measure_features(logits, text, logits=logits)
        assert report["accuracy"] == 1
    padded = [f"{k:02d}" for k in labels]  # names, whose order is that of the numbers
    np.savez(tmp_path / "a.npz", logits=logits, labels=padded)
    assert read_decided(tmp_path / "a.npz").class_names[:2] == ["00", "01"]
    named = nc.measure_features(logits, labels.astype(str), class_names=[str(k) for k in range(12)])
    assert named.class_names[2] == "2"


def test_probabilities_in_a_single_column_are_no_logits(tmp_path):
    labels = np.arange(40) % 2
    np.savez(tmp_path / "a.npz", logits=0.25 + 0.5 * labels, labels=labels)
    with pytest.raises(NeuralCollapseError, match=r"logits: .*from 0 to 1; .*log\(p / \(1 - p\)\)"):
        read_decided(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", logits=labels - 0.5, labels=labels)
    assert float(read_decided(tmp_path / "a.npz").margins.min()) == 0.5


def test_tables_keep_the_zeros_of_names_and_have_an_entry_in_every_cell(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("logit_010,logit_002,label\n0.0,2.0,002\n3.0,1.0,010\n")
    assert read_decided(table).margins.tolist() == [2, 2]
    for text, where in (("1.0,\n", "'label'"), (",cat\n", "'size'")):
        table.write_text("size,label\n1.0,dog\n" + text)
        with pytest.raises(NeuralCollapseError, match=f"path: .*none in row 2 of {where} in a.csv"):
            read_decided(table)


@pytest.mark.parametrize("name", ["a.NPZ", "a.SafeTensors"])
def test_the_case_of_an_ending_says_nothing(name, tmp_path):
    write_features(tmp_path / name, features=FEATURES, labels=NUMBERS)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert np.asarray(read_features(tmp_path / name)["labels"]).tolist() == NUMBERS.tolist()
