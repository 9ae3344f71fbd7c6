"""Outputs of any layout give the rows that a reader of the network would take."""

import itertools

import pytest
import torch
from torch import nn

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.variability import nc1_trace_ratio
from neuralcollapse.moments import ClassMoments

K = 3


def images(rows=90, side=4):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % K
    return torch.randn(rows, 3, side, side, generator=generator) + labels[
        :, None, None, None
    ], labels


def value(rows, labels):
    return nc1_trace_ratio(ClassMoments(K, rows.shape[1]).update(rows.detach(), labels))


class Last(nn.Module):
    """Channels last inside, as in Swin: embed, a block, pool, head."""

    def __init__(self, width=12, back=False):
        super().__init__()
        self.e, self.b, self.h = nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, K)
        self.act, self.back = nn.Identity(), back

    def forward(self, x):
        maps = self.b(self.e(x.permute(0, 2, 3, 1))).relu()
        if self.back:
            return self.h(self.act(maps.permute(0, 3, 1, 2)).mean((2, 3)))
        return self.h(self.act(maps).mean((1, 2)))


def test_channels_last_blocks_have_their_channels_for_features():
    torch.manual_seed(0)
    x, y = images()
    model = Last()
    first, _ = nc.measure_layers(model, [(x, y)], ["b"])
    rows = model.b(model.e(x.permute(0, 2, 3, 1))).mean((1, 2))
    assert first.dim == 12
    assert first.nc1_trace_ratio == pytest.approx(value(rows, y), rel=1e-4)


class Mixed(nn.Module):
    """As ConvNeXt: a convolution, then linear layers on channels last, and back."""

    def __init__(self, width=12):
        super().__init__()
        self.conv, self.lin, self.h = (
            nn.Conv2d(3, width, 1),
            nn.Linear(width, width),
            nn.Linear(width, K),
        )
        self.act = nn.Identity()

    def forward(self, x):
        maps = self.lin(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.h(self.act(maps.relu()).mean((2, 3)))


def test_where_both_layouts_have_run_the_width_tells_or_is_asked_for():
    torch.manual_seed(0)
    x, y = images()
    (first, *_) = nc.measure_layers(Mixed(), [(x, y)], ["act"])
    assert first.dim == 12
    with pytest.raises(
        NeuralCollapseError, match=r"layer act: .* shape \(90, 4, 4, 4\); pass layout"
    ):
        nc.measure_layers(Mixed(4), [(x, y)], ["act"])
    (first, *_) = nc.measure_layers(Mixed(4), [(x, y)], ["act"], layout="channels_first")
    assert first.dim == 4


def test_a_plain_convolutional_network_is_never_asked():
    x, y = images(side=6)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, K)
    )
    for loader in ([(x, y)], [(x[:6], y[:6]), (x[6:], y[6:])]):
        assert nc.measure_layers(model, loader, ["1"])["dim"] == [6]


class Words(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.first, self.embed = first, nn.Embedding(20, 8)
        self.block, self.head = nn.Linear(8, 8), nn.Linear(8, K)

    def forward(self, input_ids, attention_mask):
        hidden = self.embed(input_ids)
        if not self.first:
            hidden = hidden.transpose(0, 1)
        hidden = self.block(hidden)
        if not self.first:
            hidden = hidden.transpose(0, 1)
        mask = attention_mask[..., None].float()
        return self.head((hidden * mask).sum(1) / mask.sum(1))


def sentences():
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(2, 9, (60,), generator=generator)
    labels = torch.arange(60) % K
    return [
        (torch.randint(6 * int(k), 6 * int(k) + 8, (int(n),), generator=generator), k)
        for n, k in zip(lengths, labels, strict=True)
    ]


def padded(parts, size):
    found = []
    for start in range(0, len(parts), size):
        ids, labels = zip(*parts[start : start + size], strict=True)
        ones = [torch.ones_like(row) for row in ids]
        pad = nn.utils.rnn.pad_sequence
        found.append(
            {
                "input_ids": pad(list(ids), batch_first=True, padding_value=19),
                "attention_mask": pad(ones, batch_first=True),
                "labels": torch.stack(labels),
            }
        )
    return found


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("pool", ["mean", "last", "max", "cls"])
def test_padding_is_no_part_of_a_sample(pool, batch_first):
    torch.manual_seed(0)
    model, parts = Words(batch_first), sentences()
    values = [
        nc.measure_layers(model, padded(parts, size), ["block"], pool=pool)["nc1_trace_ratio"][0]
        for size in (60, 7, 13)
    ]
    assert values[1:] == pytest.approx(values[:1] * 2, rel=1e-4)
    with torch.no_grad():
        alone = [model.block(model.embed(ids)) for ids, _ in parts]
    take = {"mean": lambda h: h.mean(0), "last": lambda h: h[-1], "cls": lambda h: h[0]}
    rows = torch.stack([take.get(pool, lambda h: h.amax(0))(h) for h in alone])
    labels = torch.stack([k for _, k in parts])
    assert values[0] == pytest.approx(value(rows, labels), rel=1e-4)


def test_modules_after_the_head_are_no_layers():
    torch.manual_seed(0)
    x, y = images()
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 9), nn.ReLU(), nn.Linear(9, K), nn.Sigmoid())
    assert [layer.layer for layer in nc.measure_layers(model, [(x, y)])] == ["2"]


def test_a_network_without_a_head_has_layers():
    torch.manual_seed(0)
    x, y = images()
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    expected = value(model[:2](x).mean((2, 3)), y)
    for options in ({}, {"num_classes": K}):
        profile = nc.measure_layers(model, [(x, y)], ["1"], **options)
        assert profile["nc1_trace_ratio"] == pytest.approx([expected], rel=1e-4)
    assert len(nc.measure_layers(model, iter([(x, y)]), ["1"], num_classes=K)) == 1
    with pytest.raises(NeuralCollapseError, match="pass num_classes="):
        nc.measure_layers(model, iter([(x, y)]), ["1"])


def test_narrow_layers_are_named_and_left_out_of_the_law():
    torch.manual_seed(0)
    x = torch.randn(100, 6) + torch.arange(100)[:, None] % 10
    widths = [6, 12, 3, 12, 12]
    pairs = itertools.pairwise(widths)
    model = nn.Sequential(
        *[m for a, b in pairs for m in (nn.Linear(a, b), nn.Tanh())], nn.Linear(12, 10)
    )
    profile = nc.measure_layers(model, [(x, torch.arange(100) % 10)])
    assert [layer.dim for layer in profile.narrow] == [3]
    assert profile.law.layers == 3
    assert "Narrower than 9 features, the span of 10 class means: 3." in str(profile)


def test_every_position_with_a_label_is_a_sample():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, K))
    x, y = torch.randn(10, 6, 5), torch.randint(K, (10, 6))
    y[:, -1] = -100
    (only,) = nc.measure_layers(model, [(x, y)])
    keep = y != -100
    assert only.nc1_trace_ratio == pytest.approx(value(model[:2](x)[keep], y[keep]), rel=1e-4)
