"""Batches of every form give the samples that a loop over them would."""

import itertools
from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.batch_parts import unpack_batch
from neuralcollapse.measurement.samples import Samples

K, DIM = 3, 4


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, DIM), nn.Tanh(), nn.Linear(DIM, K))


def data(rows=60):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % K
    return torch.randn(rows, 5, generator=generator) + labels[:, None], labels


def expected(keep=slice(None)):
    x, y = data()
    return nc.measure(body(), [(x[keep], y[keep])])


def close(report, wanted):
    assert report.train.moments.counts.tolist() == wanted.train.moments.counts.tolist()
    for name, value in wanted.items():
        assert report[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


Named = namedtuple("Named", ["x", "labels"])
Inputs = namedtuple("Inputs", ["a", "b"])


@dataclass
class Record:
    x: torch.Tensor
    y: torch.Tensor

    def to(self, device):
        return Record(self.x.to(device), self.y)


class Halves(nn.Module):
    """Takes its inputs in two parts, however they come."""

    def __init__(self):
        super().__init__()
        self.body = body()

    def forward(self, part):
        if isinstance(part, Record):
            return self.body(part.x)
        a, b = (part["a"], part["b"]) if isinstance(part, dict) else part
        return self.body(torch.cat([a, b], 1))


BATCHES = {
    "named tuple": (body, lambda x, y: Named(x, y), {}),
    "object": (Halves, lambda x, y: Record(x, y), {}),
    "named inputs": (Halves, lambda x, y: (Inputs(x[:, :2], x[:, 2:]), y), {}),
    "forward": (
        Halves,
        lambda x, y: {"a": x[:, :2], "b": x[:, 2:], "label": y},
        {"forward": lambda model, inputs: model(inputs)},
    ),
    "numpy labels": (body, lambda x, y: (x, y.numpy()), {}),
    "a column of labels": (body, lambda x, y: (x, y[:, None]), {}),
}


@pytest.mark.parametrize(("model", "batch", "options"), BATCHES.values(), ids=BATCHES)
def test_every_form_of_batch_gives_the_same(model, batch, options):
    x, y = data()
    loader = [batch(*part) for part in zip(x.split(20), y.split(20), strict=True)]
    close(nc.measure(model(), loader, **options), expected())
    close(nc.measure(model(), loader, **options, feature_budget=0), expected())


def test_ignored_labels_are_no_samples():
    x, y = data()
    marked = y.clone()
    marked[7:19] = -100
    close(nc.measure(body(), [(x, marked)]), expected([*range(7), *range(19, 60)]))
    marked[7:19] = 2
    ignoring = nc.measure(body(), [(x, marked)], ignore_index=2)
    assert ignoring.train.moments.counts.tolist()[2] == 0


@pytest.mark.parametrize("kind", [torch.tensor, list, np.asarray])
def test_single_samples_may_have_a_mask(kind):
    """A last batch that was filled up, say."""
    x, y = data()
    there = torch.arange(len(x)) % 5 > 0
    loader = [{"input": x, "labels": kind(y.tolist()), "mask": there}]
    report = nc.measure(body(), loader, layers="1")
    truth = nc.measure(body(), [(x[there], y[there])], layers=["1"])
    close(report, truth)
    for layer, values in truth.layers.items():
        assert report.layers[layer] == pytest.approx(values)


def positions(fill=-100):
    """Rows of `data` in sequences of 4, 3, 4, 3, ... and what fills them up."""
    x, y = data(56)
    lengths = [4, 3] * 8
    return list(x.split(lengths)), list(y.split(lengths)), lengths


def padded(parts, value):
    return nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)


MASKS = {
    "mask": lambda there: {"mask": there},
    "array": lambda there: {"mask": there.numpy().astype(bool)},
    "of scores": lambda there: {"attention_mask": (1 - there)[:, None, None] * -1e9},
    "padding mask": lambda there: {"key_padding_mask": there == 0},
    "added padding": lambda there: {"src_key_padding_mask": there.log()},
}


@pytest.mark.parametrize("form", ["ignored", *MASKS, "sequence first", "packed"])
def test_every_position_is_a_sample(form):
    xs, ys, lengths = positions()
    x, y = padded(xs, 9.0), padded(ys, -100 if form in ("ignored", "sequence first") else 0)
    there = padded([torch.ones(n) for n in lengths], 0)
    model, loader = body(), [(x, y)]
    if form in MASKS:
        loader = [{"input": x, "labels": y, **MASKS[form](there)}]
    elif form == "sequence first":
        loader = [(x.transpose(0, 1), y)]
    elif form == "packed":

        class Packed(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = body()

            def forward(self, packed):
                return self.body(packed.data)

        model = Packed()
        loader = [(pack_sequence(xs, False), pack_sequence(ys, False))]
    last = next(name for name, module in model.named_modules() if isinstance(module, nn.Tanh))
    report, of_rows = nc.measure(model, loader, layers=[last]), nc.measure(body(), [data(56)])
    close(report, of_rows)
    assert report.layers[last]["cdnv"] == pytest.approx(of_rows["cdnv"], rel=1e-4)
    told = [any("Each position counts" in words for words in r.cautions) for r in (report, of_rows)]
    assert told == [form != "packed", False]  # a packed output has no positions


def test_packed_labels_of_a_padded_output():
    xs, ys, lengths = positions()
    lstm = nn.LSTM(5, DIM, batch_first=True)

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = lstm, nn.Linear(DIM, K)

        def forward(self, packed):
            hidden, _ = self.lstm(packed)
            return self.head(nn.utils.rnn.pad_packed_sequence(hidden, batch_first=True)[0])

    packed = pack_padded_sequence(padded(xs, 0.0), lengths, batch_first=True, enforce_sorted=False)
    report = nc.measure(Tagger(), [(packed, pack_sequence(ys, enforce_sorted=False))])
    assert report.train.moments.num_samples == 56


def test_labels_that_fit_no_position_are_asked_for():
    x, y = data()
    with pytest.raises(
        NeuralCollapseError, match=r"one per position, of shape \(12, 5\).*pool before the head"
    ):
        nc.measure(body(), [(x.view(12, 5, 5), y[:12])])


def words(rows=24, length=7, vocabulary=11):
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(vocabulary, (rows, length), generator=generator)
    there = torch.ones_like(ids)
    there[::3, -2:] = 0
    labels = ids.masked_fill(there == 0, -100)
    return {"input_ids": ids, "attention_mask": there, "labels": labels}


def llama():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(vocab_size=11, num_attention_heads=2, **size)
    return transformers.LlamaForCausalLM(config).eval()


def test_causal_models_of_transformers_are_measured_as_they_are_trained():
    model, batch = llama(), words()
    report = nc.measure(model, [batch])
    with torch.no_grad():
        hidden = model.model(batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    features, labels = hidden[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
    keep = labels != -100
    direct = nc.measure_features(features[keep], labels[keep], model.lm_head.weight.detach())
    close(report, direct)
    assert any("shifted" in note for note in report.notes)
    plain = nc.measure(model, [batch], shift_labels=False)
    assert plain.train.moments.num_samples == int((batch["labels"] != -100).sum())
    assert not any("shifted" in note for note in plain.notes)


def test_models_of_two_sequences_are_told_the_labels_that_they_decode():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config).eval()
    ids, labels = torch.randint(1, 9, (8, 5)), torch.randint(1, 9, (8, 5))
    mask = torch.arange(5) < torch.randint(2, 6, (8, 1))  # of the encoder, of the labels' shape
    labels[:, -1] = -100
    batch = {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}
    report = nc.measure(model, [batch])
    with torch.no_grad():
        states = model(**batch, output_hidden_states=True).decoder_hidden_states[-1]
    states = states * config.d_model**-0.5  # as T5 does where its head is its embedding
    keep = labels != -100
    close(report, nc.measure_features(states[keep], labels[keep], model.lm_head.weight.detach()))
    decoder = model.prepare_decoder_input_ids_from_labels(labels=labels)
    given = {k: v for k, v in batch.items() if k != "labels"} | {"decoder_input_ids": decoder}
    close(nc.measure(model, [given | {"labels": labels}]), report)


class Stream(IterableDataset):
    def __iter__(self):
        x, y = data()
        return iter(zip(x, y, strict=True))


def test_streams_and_bounds(capsys):
    close(nc.measure(body(), DataLoader(Stream(), 20), progress=True), expected())
    close(nc.measure(body(), DataLoader(Stream(), 20), max_batches=1), expected(slice(20)))
    x, y = data()
    with pytest.raises(NeuralCollapseError, match="an endless loader; pass max_batches="):
        nc.measure(body(), itertools.cycle([(x, y)]))
    bounded = nc.measure(body(), itertools.cycle([(x, y)]), max_batches=3)
    assert bounded.train.moments.num_samples == 180


class Forever(Sampler):
    def __iter__(self):
        return itertools.cycle(range(60))


def test_a_sampler_without_an_end_is_refused_or_bounded():
    loader = DataLoader(TensorDataset(*data()), 20, sampler=Forever())
    with pytest.raises(NeuralCollapseError, match="more than 3 batches of 20 from a data"):
        nc.measure(body(), loader)
    close(nc.measure(body(), loader, max_batches=3), expected())


def test_padding_for_several_processes_is_noticed():
    whole = TensorDataset(*data())
    for world, twice in ((3, 0), (7, 3)):
        sampler = DistributedSampler(whole, world, 0)
        notes = nc.measure(body(), DataLoader(whole, 20, sampler=sampler)).notes
        assert any(f"Of 60 samples, {twice} are counted twice" in n for n in notes) == (twice > 0)


class Noisy(Dataset):
    def __init__(self):
        self.x, self.y = data()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index] + 0.1 * torch.randn(5), self.y[index]


def test_samplers_and_augmentation_are_noticed():
    x, y = data()
    plain = torch.utils.data.TensorDataset(x, y)
    weights = torch.linspace(1, 2, 60)
    drawn = DataLoader(plain, 20, sampler=WeightedRandomSampler(weights, 60))
    assert nc.measure(body(), DataLoader(plain, 20, shuffle=True)).notes == []
    (note,) = nc.measure(body(), drawn).notes
    assert "by weight (WeightedRandomSampler): counts and NC1 describe its draw" in note
    before = torch.get_rng_state()
    (note,) = nc.measure(body(), DataLoader(Noisy(), 20)).notes
    assert "differs when it is read twice" in note
    assert torch.equal(before, torch.get_rng_state())


def test_rare_classes_and_several_test_sets():
    x, y = data()
    rare = y.clone()
    rare[:19] = 0
    few = rare == 2
    few[torch.nonzero(few)[:10]] = False
    keep = (rare != 2) | few
    report = nc.measure(body(), [(x[keep], rare[keep])], min_samples=10)
    assert report.absent == ["2"]
    wanted = nc.measure(body(), [(x[rare != 2], rare[rare != 2])])
    close(report, wanted)
    report = nc.measure(
        body(), [(x, y)], test_loader={"clean": [(x, y)], "half": [(x[:30], y[:30])]}
    )
    assert report["test_clean_nc1_pinv"] == pytest.approx(report["nc1_pinv"])
    (row,) = (line.split() for line in str(report).splitlines() if line.startswith(" half "))
    first = ("nc1_trace_ratio", "nc2_etf", "nc3_self_duality", "nc4_agreement", "accuracy")
    assert row[1:] == [f"{report[f'test_half_{name}']:.4g}" for name in first]
    assert report.to_frame().loc["vci", "test_half"] == report["test_half_vci"]
    half = nc.measure(body(), [(x[:30], y[:30])])
    assert report["test_half_nc1_pinv"] == pytest.approx(half["nc1_pinv"], rel=1e-5)


@pytest.mark.parametrize("rows", [0, 1])
def test_test_data_without_two_classes_is_nan_with_a_warning(rows):
    x, y = data()
    part = [(x[:rows], y[:rows])] if rows else []
    with pytest.warns(UserWarning, match=f"test data has samples of {rows} class"):
        report = nc.measure(body(), [(x, y)], test_loader=part)
    assert np.isnan(report["test_nc1_pinv"])
    assert report["nc1_pinv"] > 0


def test_unpacking():
    assert unpack_batch({"x": 1, "target": 2}) == ({"x": 1}, 2)
    assert unpack_batch({"x": 1, "labels": None, "label": 2, "z": None}) == ({"x": 1, "z": None}, 2)
    assert unpack_batch(Named(1, 2)) == (1, 2)
    assert unpack_batch({"x": 1, "mine": 2}, ["mine"]) == ({"x": 1}, 2)
    assert Samples(class_names=["b", "a"]).read(["a", "b"]).tolist() == [1, 0]


def test_a_head_applied_to_one_pooled_position_has_one_sample_an_image():
    torch.manual_seed(0)
    inputs, labels = torch.randn(60, 3, 5, 5), torch.arange(60) % 4
    body = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    head = nn.Conv2d(8, 4, 1)
    report = nc.measure(nn.Sequential(body, head, nn.Flatten()), [(inputs, labels)], progress=False)
    with torch.no_grad():
        features = body(inputs).flatten(1)
    given = nc.measure_features(features, labels, head.weight.detach().flatten(1), head.bias)
    assert report["nc1_pinv"] == pytest.approx(given["nc1_pinv"], rel=1e-5)
    assert report["accuracy"] == given["accuracy"]


@pytest.mark.parametrize(
    "form", [lambda t: t.to(torch.uint8), lambda t: nn.functional.one_hot(t, 3)]
)
def test_rare_classes_are_left_out_for_every_form_of_labels(form):
    inputs, labels = torch.randn(43, 6), torch.cat([torch.arange(40) % 2 + 1, torch.arange(3)])
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    batches = [(inputs[:40], form(labels[:40])), (inputs[40:], form(labels[40:]))]
    report = nc.measure(model, batches, min_samples=10, progress=False)
    assert report.train.moments.counts.tolist() == [0, 21, 21]


@pytest.mark.untyped
def test_labels_of_a_loader_may_be_names(tmp_path):
    x, y = data()
    names = ["first", "second", "third"]
    text = [names[k] for k in y.tolist()]
    truth = nc.measure(body(), [(x, y)])
    for labels in (text, np.array(text), tuple(text)):
        report = nc.measure(body(), [(x, labels)], class_names=iter(names))
        close(report, truth)
        assert report.class_names == names
    with nc.watch(body(), [(x, text)], class_names=names) as watched:
        assert watched.epoch_end()["nc1_pinv"] == pytest.approx(truth["nc1_pinv"], rel=1e-5)
    direct = nc.measure_features(x, y, class_names=names)
    stream = nc.measure_features([(x, text)], class_names=names)
    assert stream["nc1_pinv"] == pytest.approx(direct["nc1_pinv"])
    with pytest.raises(NeuralCollapseError, match=r"labels.*names given in class_names"):
        nc.measure(body(), [(x, text)])


def test_masks_of_two_classes_may_be_real():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 2, 4, 4, generator=generator)
    masks = (images.sum(1) > 0).long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 5, 1), nn.Tanh(), nn.Conv2d(5, 1, 1))
    close(nc.measure(model, [(images, masks.float())]), nc.measure(model, [(images, masks)]))
    with pytest.raises(NeuralCollapseError, match=r"labels.*resolution of the logits"):
        nc.measure(model, [(images, masks[:, ::2, ::2])])


X, Y = data(6)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: nc.measure(m, TensorDataset(X, Y)), "loader: .* a single sample.*DataLoader"),
        (lambda m: nc.measure(m, [(X, Y.sum())]), "loader: expected batches of samples, got a sin"),
        (lambda m: nc.measure(m, [(X, Y + 0.5)]), "labels: .*float32.*measure_regression"),
        (lambda m: nc.measure(m, [(X, (Y[:2], Y[2:3], Y[3:]))]), "labels: .*of shapes"),
        (lambda m: nc.measure(m, [(X, Y.to_sparse())]), "labels: .*layout torch.sparse"),
        (lambda m: nc.measure(m, [(X, Y.to("meta"))]), "labels: .*meta device"),
        (lambda m: nc.measure(m, [(X, torch.nested.nested_tensor([Y, Y]))]), "labels: .*a nested"),
        (lambda m: nc.measure(m, [(X, None)]), r"labels: .*object \(NoneType\)"),
        (lambda m: nc.measure(m, [(X, X[:, :3])]), "labels: .*measure_regression"),
        (lambda m: nc.measure(m, [(X, Y)], unpack=lambda b: b[0]), "unpack: .*got one to Tensor"),
        (lambda m: nc.measure_layers(m, [(X, Y)], max_batches=1.5), "max_batches: expected a wh"),
        (lambda m: nc.measure_features(3), "features: expected an iterable .* got int"),
        (lambda m: nc.measure_features([X[0], X[1, :3]], [0, 1]), "features: .*of shapes"),
        (lambda m: nc.measure(m, [(X, Y)], ignore_index=None), "ignore_index: expected a number"),
        (lambda m: nc.measure(m, [(X, Y)], max_batches=1.5), "max_batches: expected a whole"),
        (lambda m: nc.watch(m, [(X, Y)], scater="pooled"), "options: expected one of head, .*scat"),
        (
            lambda m: nc.extract_features(m, [(X, Y)], hed="2"),
            "options: expected one of head, .*hed",
        ),
        (lambda m: nc.watch(m, [(X, Y)], max_batch=2), "'max_batch'; .* perhaps 'max_batches'"),
        (lambda m: nc.watch(m, [(X, Y)], histroy="a"), "options: .*'histroy'.* perhaps 'history'"),
        (lambda m: nc.extract_features(m, [], progres=True), "options: .*perhaps 'progress'"),
        (lambda m: nc.measure(m, [(X, X[:, :3] - 1)]), "labels: .* rows, .*measure_regression"),
    ],
)
def test_what_is_no_batch_is_refused_clearly(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call(body())


@pytest.mark.untyped
def test_numbers_of_any_kind_are_read():
    assert nc.measure(body(), [(X, Y)] * 3, max_batches=2.0).train.moments.num_samples == 12
    small = (X / 8).to(torch.float8_e4m3fn)
    report = nc.measure_features(small, Y)
    assert report["nc1_trace_ratio"] == nc.measure_features(small.float(), Y)["nc1_trace_ratio"]


def test_labels_of_any_form_are_read_for_layers_too():
    """Float32 numbers of two classes, maps with a channel, arrays, names, one-hot rows."""
    generator = torch.Generator().manual_seed(0)
    images, names = torch.randn(8, 2, 4, 4, generator=generator), ["no", "yes"]
    each, there = (images.sum(1) > 0).long(), torch.arange(8) % 2
    torch.manual_seed(0)
    maps = nn.Sequential(nn.Conv2d(2, 5, 1), nn.Tanh(), nn.Conv2d(5, 1, 1))
    pooled = nn.Sequential(nn.Conv2d(2, 5, 1), nn.Tanh(), Means(), nn.Linear(5, 1))
    for model, labels in ((maps, each), (pooled, there)):
        truth = nc.measure(model, [(images, labels)], layers=["0"])
        profile = nc.measure_layers(model, [(images, labels)], layers=["0"])
        forms = [labels.float(), labels[:, None].float(), labels.numpy(), np.array(names)[labels]]
        for form in [*forms, *([torch.eye(2)[labels]] if model is pooled else [])]:
            report = nc.measure(model, [(images, form)], layers=["0"], class_names=names)
            close(report, truth)
            assert report.layers["0"] == pytest.approx(truth.layers["0"], rel=1e-4)
            again = nc.measure_layers(model, [(images, form)], layers=["0"], class_names=names)
            assert again["nc1_pinv"] == pytest.approx(profile["nc1_pinv"], rel=1e-4)


class Means(nn.Module):
    def forward(self, maps):
        return maps.mean((2, 3))


class Pooled(nn.Module):
    """Averages tokens before its head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.act, self.head = nn.Linear(5, DIM), nn.Tanh(), nn.Linear(DIM, K)

    def forward(self, tokens):
        return self.head(self.act(self.body(tokens)).mean(1))


@pytest.mark.parametrize("positions", [K, K + 1])
@pytest.mark.parametrize("form", ["int64", "bool", "float32"])
def test_one_hot_labels_are_of_samples_where_the_head_has_one_position(form, positions):
    """Whatever their type, and though a hidden layer may have as many positions as classes."""
    _, y = data(30)
    x = torch.randn(30, positions, 5, generator=torch.Generator().manual_seed(1)) + y[:, None, None]
    model, rows = Pooled(), torch.eye(K)[y].to(getattr(torch, form))
    numbers = [(x[:20], y[:20]), (x[20:], y[20:])]
    one_hot = [(x[:20], rows[:20]), (x[20:], rows[20:])]
    with torch.no_grad():
        hidden = model.act(model.body(x)).mean(1)
    truth = nc.measure_features(hidden, y)
    report = nc.measure(model, one_hot, layers=["act"])
    close(report, nc.measure(model, numbers))
    assert report.layers["act"]["cdnv"] == pytest.approx(truth["cdnv"], rel=1e-4)
    profile = nc.measure_layers(model, one_hot, layers=["act"])
    assert profile["nc1_pinv"][0] == pytest.approx(truth["nc1_pinv"], rel=1e-4)
    watched = nc.watch(model, one_hot, mode="batches", layers=["act"])
    for inputs, _ in watched.batches():
        model(inputs)
    assert watched.epoch_end()["nc1_pinv"] == pytest.approx(truth["nc1_pinv"], rel=1e-4)
    assert torch.equal(nc.extract_features(model, one_hot)["labels"], y)


def test_classes_of_one_hot_rows_are_counted_without_a_head():
    x, y = data()
    layers = nn.Sequential(nn.Tanh(), nn.Tanh())
    truth = nc.measure_layers(layers, [(x, y)], layers=["1"])
    again = nc.measure_layers(layers, [(x, torch.eye(K)[y])], layers=["1"])
    assert again["nc1_pinv"] == pytest.approx(truth["nc1_pinv"])
    whole = [(x, torch.eye(K, dtype=torch.int64)[y])]
    with pytest.raises(NeuralCollapseError, match=r"got integers of shape \(60, 3\) with one 1"):
        nc.measure_layers(layers, whole, layers=["1"])
    told = nc.measure_layers(layers, whole, layers=["1"], num_classes=K)
    assert told["nc1_pinv"] == pytest.approx(truth["nc1_pinv"])


def test_a_network_that_takes_a_mapping_is_told_how_to_pass_it():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = body()

        def forward(self, batch):
            return self.body(batch["x"])

    x, y = data()
    loader = [{"x": x, "labels": y}]
    with pytest.raises(
        NeuralCollapseError, match=r"takes x by name, got .* 'batch'; .* or model\(inputs\['x'\]\)"
    ):
        nc.measure(Whole(), loader)
    close(nc.measure(Whole(), loader, forward=lambda model, batch: model(batch)), expected())


def test_a_data_set_of_batches_ends_at_its_length():
    x, y = data()

    class Batches(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            assert index < 2, "read beyond its end"
            half = slice(index * len(y) // 2, (index + 1) * len(y) // 2)
            return x[half], y[half]

    close(nc.measure(body(), Batches()), expected())


def test_objects_may_have_a_mask():
    x, y = data()
    there = torch.arange(len(x)) % 5 > 0
    batch = SimpleNamespace(x=x, y=y, mask=there)
    report = nc.measure(body(), [batch], forward=lambda model, batch: model(batch.x))
    close(report, expected(there))


class Flat(nn.Module):
    """Applies its head to the tokens of all samples as rows."""

    def __init__(self):
        super().__init__()
        self.body = body()

    def forward(self, x):
        return self.body(x.flatten(0, 1))


class Turned(Flat):
    """Takes samples second, as recurrent networks may."""

    def forward(self, x):
        return self.body(x.transpose(0, 1))


@pytest.mark.parametrize("model", [body, Flat, Turned], ids=["tokens", "rows", "turned"])
@pytest.mark.parametrize("shape", [(12,), (12, 1), (12, 4)], ids=str)
def test_a_mask_of_samples_is_one_of_all_their_tokens(model, shape):
    x, y = data(48)
    x, y, there = x.view(12, 4, 5), y.view(12, 4), torch.arange(12) < 9
    mask = there.view(-1, *(1,) * (len(shape) - 1)).expand(shape)
    torch.manual_seed(0)
    network = model()
    batch = {"x": x, "mask": mask, "labels": y}
    run = {"forward": lambda network, batch: network(batch["x"])}
    close(nc.measure(network, [batch], **run), nc.measure(network, [(x[:9], y[:9])]))


def test_two_names_of_labels_in_one_batch_are_refused():
    batch = {"input": torch.randn(3, 5), "label": [0, 1, 2], "labels": [2, 1, 0]}
    message = "loader: expected labels under one name, got 'labels' and 'label' in one batch; pass"
    with pytest.raises(NeuralCollapseError, match=message):
        nc.measure(body(), [batch])
    told = {"unpack": lambda batch: (batch["input"], batch["label"])}
    kept = nc.measure(body(), [batch], **told).train.moments
    assert kept.num_samples == 3


def test_a_mask_that_may_mean_all_or_none_is_refused():
    """Zeros are what a network adds to scores where every token is there."""
    inputs = torch.randn(3, 4, 5)
    batch = {"input": inputs, "labels": torch.arange(12).view(3, 4) % K}
    with pytest.raises(NeuralCollapseError, match=r"attention_mask: .*zeros alone; pass booleans"):
        nc.measure(body(), [batch, {**batch, "attention_mask": torch.zeros(3, 4)}])
    nothing = {**batch, "attention_mask": torch.zeros(3, 4, dtype=torch.bool)}
    close(nc.measure(body(), [batch, nothing]), nc.measure(body(), [batch]))
    scores = {**batch, "attention_mask": torch.zeros(3, 1, 1, 4)}
    close(nc.measure(body(), [batch, scores]), nc.measure(body(), [batch, batch]))


@pytest.mark.parametrize("name", ["mask", "attention_mask"])
@pytest.mark.parametrize("there", [torch.ones(4, 4).tril() > 0, torch.ones(4, 4).triu(1) > 0])
def test_a_causal_mask_of_as_many_tokens_as_samples_is_refused(name, there):
    """As where it would be read as one of sequences of 1, 2, 3 and 4 tokens."""
    torch.manual_seed(0)
    x, y, network = torch.randn(4, 4, 5), torch.arange(16).view(4, 4) % K, body()
    run = {"forward": lambda network, batch: network(batch["x"])}
    batch = {"x": x, "labels": y, name: there}
    message = f"{name}: .* got 4 samples and a causal mask, .*; give a causal mask another name"
    for given in (batch, {**batch, name: torch.zeros(4, 4).masked_fill(~there, -torch.inf)}):
        with pytest.raises(NeuralCollapseError, match=message):
            nc.measure(network, [given], **run)
    padding = {"x": x, "labels": y, "padding_mask": ~there}
    kept = nc.measure(network, [(x[there], y[there])])
    close(nc.measure(network, [padding], **run), kept)
    six = {"x": torch.cat([x, x[:2]]), "labels": torch.cat([y, y[:2]])}
    close(nc.measure(network, [{**six, name: there}], **run), nc.measure(network, [six], **run))


def test_one_token_of_each_sequence_may_be_of_the_second_class():
    """Labels of tokens that look like one-hot rows."""
    torch.manual_seed(0)
    inputs, labels = torch.randn(40, 3, 5), torch.eye(3)[torch.arange(40) % 3].long()
    model = nn.Sequential(nn.Linear(5, DIM), nn.Tanh(), nn.Linear(DIM, 2))
    report = nc.measure(model, [(inputs, labels)], layers=["1"])
    close(report, nc.measure(model, [(inputs.flatten(0, 1), labels.flatten())]))
    assert report.layers["1"]["cdnv"] == pytest.approx(report["cdnv"], rel=1e-4)


def test_layers_leave_out_the_rare_classes_too():
    x, y = data(100)
    rare = torch.cat([x, 50 + x[:3]]), torch.cat([y % 2, torch.full((3,), 2)])
    kept = nc.measure(body(), [(x, y % 2)], layers="1")
    report = nc.measure(body(), [rare], test_loader=[rare], min_samples=10, layers="1")
    for name in ("nc1_trace_ratio", "cdnv"):
        assert report.layers["1"][name] == pytest.approx(kept.layers["1"][name])
        assert report.layers["1"][f"test_{name}"] == pytest.approx(kept.layers["1"][name])


def test_small_integers_hold_every_label():
    labels = torch.arange(160).repeat(2).to(torch.uint8)
    x = torch.randn(320, 5, generator=torch.Generator().manual_seed(0))
    counts = nc.measure(nn.Linear(5, 160), [(x, labels)]).train.moments.counts
    assert counts.tolist() == [2] * 160  # 156 is -100 in 8 bits


def test_arrays_may_enter_a_network_in_half_precision():
    x, y = data(12)
    model = nn.Linear(5, 3).bfloat16()
    half = nc.measure(
        model, [(x.numpy(), y)], forward=lambda m, a: m(torch.from_numpy(a).bfloat16())
    )
    assert half.train.moments.num_samples == 12


def test_empty_batches_are_passed_over_everywhere():
    x, y = data(30)
    for batches in ([(x[:0], y[:0]), (x, y)], [(x, y), (x[:0], y[:0])]):
        profile = nc.measure_layers(body(), batches, ["1"])
        assert profile["nc1_trace_ratio"][0] > 0
        watched = nc.watch(body(), batches, mode="batches")
        for inputs, _ in watched.batches():
            watched._model(inputs)
        assert watched.epoch_end()["nc1_trace_ratio"] > 0


def test_a_mask_of_tokens_does_not_matter_to_a_head_on_one_position():
    x, y = (
        torch.randn(12, 3, 4, 4, generator=torch.Generator().manual_seed(0)),
        torch.arange(12) % 3,
    )
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 3, 1))
    batch = {"input": x, "pixel_mask": torch.ones(12, 4, 4), "labels": y}
    assert nc.measure(model, [batch])["nc1_pinv"] == nc.measure(model, [(x, y)])["nc1_pinv"]


def test_logits_that_the_training_loop_changes_are_those_of_the_network():
    x, y = data(60)
    found = []
    for change in (lambda z: z / 2, lambda z: z.div_(2)):
        model = body()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        watched = nc.watch(model, [(x, y)], mode="batches")
        for inputs, labels in watched.batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(change(model(inputs)), labels).backward()
            optimizer.step()
        found.append(watched.epoch_end())
    assert found[0]["margin_min"] == found[1]["margin_min"]
    assert found[0]["accuracy"] == found[1]["accuracy"]
