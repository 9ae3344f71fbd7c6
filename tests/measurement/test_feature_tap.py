from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.modules.module import _global_forward_hooks
from torch.utils.checkpoint import checkpoint

import neuralcollapse as nc
from neuralcollapse import FeatureTap
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.layer_call import layer_call
from neuralcollapse.training import NETWORKS, build_network


class Wrapped(nn.Module):
    """An MLP whose output goes through `wrap`."""

    def __init__(self, wrap):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
        self.classifier = nn.Linear(6, 3)
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.classifier(self.body(x)))


@dataclass
class Output:
    logits: torch.Tensor


OUTPUTS = {
    "tensor": lambda z: z,
    "tuple": lambda z: (z, z.sum()),
    "dict": lambda z: {"loss": z.sum(), "logits": z},
    "nested": lambda z: {"out": [None, (z,)]},
    "dataclass": Output,
    "log-softmax": lambda z: z.log_softmax(1),
    "logits beside others": lambda z: {"aux": z * 2, "logits": z},
    "logits, then no more": lambda z: Output(z.softmax(1)),
}


@pytest.mark.parametrize("wrap", OUTPUTS.values(), ids=OUTPUTS)
def test_the_head_is_found_whatever_the_model_returns(wrap):
    model, inputs, seen = Wrapped(wrap), torch.randn(5, 4), []
    with FeatureTap(model) as tap:
        for _ in range(2):
            model(inputs)
            features, logits = tap.take()
            seen.append((features, logits))
    assert tap.name == "classifier"
    for features, logits in seen:
        torch.testing.assert_close(features, model.body(inputs).detach())
        torch.testing.assert_close(logits, model.classifier(features).detach())


def test_a_head_by_name_or_module():
    model = Wrapped(lambda z: z)
    for head in ("body.0", model.body[0]):
        with FeatureTap(model, head) as tap:
            model(torch.ones(2, 4))
            features, _ = tap.take()
        assert torch.equal(features, torch.ones(2, 4))
        assert tap.weight.shape == (6, 4)
        assert tap.bias.shape == (6,)


def test_a_model_that_is_its_own_head_and_no_bias():
    with FeatureTap(nn.Linear(2, 3, bias=False)) as tap:
        tap.model(torch.ones(1, 2))
        assert tap.take()[0].shape == (1, 2)
        assert tap.bias is None


def hooks(model):
    return sum(len(m._forward_hooks) for m in model.modules()) + len(_global_forward_hooks)


def test_hooks_are_removed_even_when_the_model_fails():
    def fail(_):
        raise RuntimeError("boom")

    for model, error in ((Wrapped(fail), "boom"), (nn.Sequential(nn.ReLU()), "linear head")):
        with pytest.raises(Exception, match=error), FeatureTap(model):
            model(torch.ones(1, 4))
        assert hooks(model) == 0


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.first(x), self.second(x)


class Chosen(nn.Module):
    """Runs one of its heads, and has a matrix that it applies at norm 1."""

    def __init__(self):
        super().__init__()
        self.head, self.other = nn.Linear(4, 3), nn.Linear(4, 3)
        self.rows = nn.Parameter(torch.ones(3, 4))

    def forward(self, x):
        return self.head(x) + x @ nn.functional.normalize(self.rows).T


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.head(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_of_every_network_is_found(name, generator):
    network = build_network(name, (1, 8, 8), 5, width=0.0625).eval()
    images = torch.randn(2, 1, 8, 8, generator=generator)
    with FeatureTap(network) as tap:
        network(images)
        features, _ = tap.take()
    assert tap.name == "head"
    torch.testing.assert_close(features, network.features(images).detach())


class Distilled(nn.Module):
    """As timm's: the logits of two heads are averaged, and get_classifier tells them."""

    def __init__(self, both):
        super().__init__()
        self.head, self.head_dist, self.both = nn.Linear(4, 3), nn.Linear(4, 3), both

    def get_classifier(self):
        return (self.head, self.head_dist) if self.both else self.head

    def forward(self, x):
        return (self.head(x) + self.head_dist(x)) / 2


def test_the_classifier_that_a_model_names_is_its_head_though_another_agrees_by_chance():
    model, inputs = Distilled(both=False), torch.ones(1, 4)
    with torch.no_grad():  # of one sample, the other head's logits have the order of the average
        model.head.weight.copy_(torch.tensor([[0.0], [1.0], [0.0]]).expand(3, 4))
        model.head_dist.weight.copy_(torch.tensor([[2.0], [4.0], [6.0]]).expand(3, 4))
    with FeatureTap(model) as tap:
        model(inputs)
    assert tap.name == "head"


def test_the_classifier_that_a_model_names_is_its_head(generator):
    inputs = torch.randn(50, 4, generator=generator)  # of few, one head may keep the order
    with FeatureTap(Distilled(both=False)) as tap:
        tap.model(inputs)
        assert torch.equal(tap.take()[1], tap.model.head(inputs))
    assert tap.name == "head"
    with (
        pytest.raises(NeuralCollapseError, match="0 of these candidates: 'head', 'head_dist'"),
        FeatureTap(Distilled(both=True)) as tap,
    ):
        tap.model(inputs)


class Extra(nn.Module):
    """Returns, beside its logits, another linear layer's output."""

    def __init__(self):
        super().__init__()
        self.embed, self.score = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x):
        hidden = self.embed(x)
        return {"logits": self.score(hidden.relu()), "hidden_states": (hidden,)}


def test_what_the_model_calls_logits_goes_first():
    with FeatureTap(Extra()) as tap:
        tap.model(torch.ones(2, 4))
        assert tap.take()[0].shape == (2, 3)
    assert tap.name == "score"


class Decoder(nn.Module):
    """As transformers' decoders: the head sees every token, the model returns the last one's."""

    def __init__(self, pick=lambda scores, ends: scores[torch.arange(len(scores)), ends]):
        super().__init__()
        self.score, self.pick = nn.Linear(4, 3, bias=False), pick

    def forward(self, tokens, ends):
        return Output(self.pick(self.score(tokens), ends))


@pytest.mark.parametrize("head", [None, "score"])
def test_a_head_on_every_token_gives_the_token_whose_logits_are_returned(head, generator):
    tokens, ends = torch.randn(6, 5, 4, generator=generator), torch.tensor([0, 4, 2, 2, 1, 3])
    with FeatureTap(Decoder(), head) as tap:
        for _ in range(2):
            output = tap.model(tokens, ends)
            features, logits = tap.take()
            assert torch.equal(features, tokens[torch.arange(6), ends])
            assert torch.equal(logits, output.logits)
    assert tap.name == "score"
    assert hooks(tap.model) == 0


def test_averaged_tokens_are_no_features_of_a_sample():
    with FeatureTap(Decoder(lambda scores, ends: scores.mean(1)), "score") as tap:
        tap.model(torch.randn(6, 5, 4), None)
        with pytest.raises(NeuralCollapseError, match=r"\(6, 5, 4\) into 'score'; pool tokens"):
            tap.take()


def test_the_heads_of_transformers_are_found(generator):
    transformers = pytest.importorskip("transformers")
    ids = torch.randint(3, 40, (6, 7), generator=generator)
    images = torch.randn(6, 1, 8, 8, generator=generator)
    size = {
        "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "num_labels": 3,
    }  # fmt: skip
    text = size | {"vocab_size": 40, "pad_token_id": 0}
    picture = size | {"image_size": 8, "patch_size": 4, "num_channels": 1}
    cases = [
        ("Bert", "ForSequenceClassification", text, ids, "classifier"),
        ("Roberta", "ForSequenceClassification", text, ids, "classifier.out_proj"),
        ("ViT", "ForImageClassification", picture, images, "classifier"),
        ("Llama", "ForSequenceClassification", text, ids, "score"),
    ]
    for family, task, settings, inputs, head in cases:
        config = getattr(transformers, f"{family}Config")(**settings)
        model = getattr(transformers, family + task)(config).eval()
        with FeatureTap(model) as tap, torch.no_grad():
            output = model(inputs, output_hidden_states=True)
            features, logits = tap.take()
        assert tap.name == head
        assert torch.equal(logits, output.logits)
        module = model.get_submodule(head)
        torch.testing.assert_close(module(features), logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("model", "inputs", "head", "message"),
    [
        (TwoHeads(), (2, 4), None, "2 of these candidates: 'first', 'second'; pass one of them"),
        (nn.Sequential(nn.ReLU()), (2, 4), None, r"model: expected a linear head \(nn.Linear\)"),
        (Chosen(), (2, 4), "other", "got 0 calls of 'other'; pass a layer called once"),
        (Chosen(), (2, 4), "rows", "got 0 calls of 'rows'; pass a layer called once"),
        (Twice(), (2, 4), "head", "got 2 calls of 'head'; let it take all its inputs at"),
        (Wrapped(lambda z: z), (2, 4), "fc", "layer of the model, got 'fc'; its linear layers are"),
        (Wrapped(lambda z: z), (2, 4), "body.1", r"weight of shape \(K, d\), got ReLU 'body.1'"),
        (Wrapped(lambda z: z.sum()), (2, 4), None, "none .* as many .*: 'body.0', .* as head="),
    ],
)
def test_what_cannot_be_tapped_is_said(model, inputs, head, message):
    def run():
        with FeatureTap(model, head) as tap:
            model(torch.ones(inputs))
            tap.take()

    with pytest.raises(NeuralCollapseError, match=message):
        run()
    assert hooks(model) == 0


def test_the_head_is_unknown_before_the_first_pass():
    with pytest.raises(NeuralCollapseError, match="a network that has run once"):
        _ = FeatureTap(nn.Linear(2, 2)).weight


class _LowRank(nn.Module):
    """An adapter of one's own, around the layer that it adapts."""

    def __init__(self, base, rank=2, bend=False):
        super().__init__()
        self.base, self.bend = base, bend
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x):
        low = self.down(x)
        return self.base(x) + self.up(low.relu() if self.bend else low)


def test_a_module_around_linear_layers_may_be_the_head():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), _LowRank(nn.Linear(8, 3)))
    head, inputs = model[2], torch.randn(20, 5)
    with pytest.raises(NeuralCollapseError, match="or the module around them that returns the"):
        nc.extract_features(model, [(inputs, torch.zeros(20))])
    with FeatureTap(model, "2") as tap:
        logits = model(inputs)
        features, heard = tap.take()
        torch.testing.assert_close(heard, logits.detach())
        torch.testing.assert_close(features @ tap.weight.T + tap.bias, logits.detach())
        whole = head.base.weight + head.up.weight @ head.down.weight
        torch.testing.assert_close(tap.weight, whole.detach())
    head.bend = True
    with (
        pytest.raises(
            NeuralCollapseError, match=r"got _LowRank '2'; pass a layer whose output is h W\^T"
        ),
        FeatureTap(model, head),
    ):
        model(inputs)


class InPlace(nn.Module):
    """Changes what enters or leaves its head after the head has seen it."""

    def __init__(self, change, body=None, head=None):
        super().__init__()
        self.body = body or nn.Sequential(nn.Linear(5, 8), nn.ReLU(inplace=True))
        self.head, self.change = head or nn.Linear(8, 3), change

    def forward(self, x):
        h = self.body(x)
        z = self.head(h)
        self.change(h, z)
        return z


TO_LOGITS = {
    "divided": lambda h, z: z.div_(4),
    "masked": lambda h, z: z.select(-1, 1).fill_(-1e9),
    "cut off": lambda h, z: z.relu_(),
}


UNCOUNTED = {
    "data": lambda part: part.data[998:999].fill_(0.25),
    "numpy": lambda part: part.detach().numpy()[998:999].fill(0.25),
}


@pytest.mark.parametrize("head", [None, "head"])
@pytest.mark.parametrize("shape", [(20, 5), (20, 4, 5)], ids=["samples", "tokens"])
@pytest.mark.parametrize("change", TO_LOGITS.values(), ids=TO_LOGITS)
def test_logits_changed_in_place_are_read_as_the_head_gave_them(change, shape, head, generator):
    torch.manual_seed(0)
    model, inputs = InPlace(change).eval(), torch.randn(shape, generator=generator)
    with FeatureTap(model, head) as tap, torch.no_grad():
        for _ in range(2):
            returned = model(inputs)
            features, logits = tap.take()
            assert (tap.name, tap.confident) == ("head", False)
            torch.testing.assert_close(logits, features @ tap.weight.T + tap.bias)
            torch.testing.assert_close(logits, model.head.forward(model.body(inputs)))
            assert not torch.equal(logits, returned)


def test_logits_changed_in_place_are_those_of_the_weight_before_a_step(generator):
    model, inputs = InPlace(TO_LOGITS["divided"]), torch.randn(20, 5, generator=generator)
    with FeatureTap(model) as tap:
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                model(inputs)
                expected = model.head.forward(model.body(inputs)).detach()
            with torch.no_grad():
                model.head.weight.mul_(2)
            torch.testing.assert_close(tap.take()[1], expected, rtol=0.02, atol=0.02)


def test_maps_changed_in_place_are_read_as_the_head_gave_them(generator):
    model = InPlace(TO_LOGITS["divided"], nn.Conv2d(2, 8, 3), nn.Conv2d(8, 3, 1))
    inputs = torch.randn(4, 2, 6, 6, generator=generator)
    with FeatureTap(model) as tap, torch.no_grad():
        model(inputs)
        expected = model.head.forward(model.body(inputs)).movedim(1, -1)
        torch.testing.assert_close(tap.take()[1], expected)


@pytest.mark.parametrize("head", [None, "head"])
@pytest.mark.parametrize("change", UNCOUNTED.values(), ids=UNCOUNTED)
def test_changes_that_torch_does_not_count_are_noticed(change, head, generator):
    model, inputs = (
        InPlace(lambda h, z: change(z)).eval(),
        torch.randn(1000, 5, generator=generator),
    )
    with FeatureTap(model, head) as tap, torch.no_grad():
        for _ in range(2):
            model(inputs)
            features, logits = tap.take()
            torch.testing.assert_close(logits, model.head.forward(features))
    model = InPlace(lambda h, z: change(h))
    with FeatureTap(model, head) as tap, torch.no_grad():
        model(inputs)
        with pytest.raises(NeuralCollapseError, match="'head' that stay as they are after"):
            tap.take()


def test_a_part_of_the_model_that_is_called_alone_does_not_tell_the_head(generator):
    """As where a training step calls ``self.net``."""
    whole = nn.ModuleDict({"net": nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))})
    inputs = torch.randn(7, 4, generator=generator)
    with FeatureTap(whole) as tap, torch.no_grad():
        whole["net"](inputs)
        with pytest.raises(NeuralCollapseError, match=r"calls of 'net\.0', 'net\.2'; .* head="):
            tap.take()
    with FeatureTap(whole, "net.2") as tap, torch.no_grad():
        torch.testing.assert_close(whole["net"](inputs), tap.take()[1])


@pytest.mark.parametrize("change", [2.0, 0.25, 4.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_no_factor_of_all_numbers_wraps_around_to_no_change(dtype, change):
    """Of 2^k numbers the bits of exponents, or signs, add up to a multiple of a word's range."""
    module = nn.Linear(4, 2).to(dtype)
    rows = torch.cat([torch.ones(4096, 4), -torch.ones(4096, 4)]).to(dtype)
    call = layer_call("head", module, rows, module(rows).detach())
    call.logits.data.mul_(change)
    torch.testing.assert_close(call.as_given().logits, module(rows))
    call.features.data.mul_(change)
    assert call.as_given() is None


@pytest.mark.parametrize("head", [None, "head"])
@pytest.mark.filterwarnings("ignore:the logits of the head")
def test_features_changed_in_place_after_the_head_are_refused(head, generator):
    model = InPlace(lambda h, z: h.add_(1))
    with FeatureTap(model, head) as tap, torch.no_grad():
        model(torch.randn(20, 5, generator=generator))
        with pytest.raises(NeuralCollapseError, match="'head' that stay as they are after"):
            tap.take()


def test_a_change_of_one_row_among_many_is_seen(generator):
    """Of more than 2^17 numbers, those written to memory are all looked at."""
    inputs = torch.randn(70_000, 5, generator=generator)
    model = InPlace(lambda h, z: z[7].fill_(3))
    with FeatureTap(model) as tap, torch.no_grad():
        model(inputs)
        features, logits = tap.take()
        torch.testing.assert_close(logits, model.head.forward(features))
        model.change = lambda h, z: h[7].fill_(3)
        model(inputs)
        with pytest.raises(NeuralCollapseError, match="'head' that stay as they are after"):
            tap.take()


def test_a_write_beside_features_and_logits_changes_neither(generator):
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.memory = nn.Linear(8, 3), torch.zeros(40, 8)

        def forward(self, x):
            self.memory[:20] = x
            z = self.head(self.memory[:20])
            self.memory[20:] = 1.0
            return z

    model, inputs = Beside(), torch.randn(20, 8, generator=generator)
    with FeatureTap(model) as tap, torch.no_grad():
        model(inputs)
        assert torch.equal(tap.take()[0], inputs)


@pytest.mark.parametrize("change", [lambda h, z: h.add_(1), *TO_LOGITS.values()])
def test_in_inference_mode_too_what_the_head_saw_is_read(change, generator):
    """There torch counts no changes in place."""

    class Inferred(InPlace):
        forward = torch.inference_mode()(InPlace.forward)

    model, inputs = Inferred(change).eval(), torch.randn(20, 5, generator=generator)
    for head in (None, "head"):
        with FeatureTap(model, head) as tap, torch.no_grad():
            model(inputs)
            features, logits = tap.take()
            assert torch.equal(features, model.body(inputs))
            assert torch.equal(logits, model.head.forward(features))
            assert tap.weight is not None


def test_a_head_that_runs_again_in_the_backward_pass_is_read_once(generator):
    class Recomputed(Wrapped):
        def forward(self, x):
            return checkpoint(self.classifier, self.body(x), use_reentrant=True)

    model, inputs = Recomputed(None), torch.randn(20, 4, generator=generator)
    with FeatureTap(model) as tap:
        for _ in range(2):
            model(inputs).sum().backward()
            features, logits = tap.take()
            assert torch.equal(logits, model.classifier.forward(features).detach())
        model(inputs), model(inputs)
        with pytest.raises(NeuralCollapseError, match="2 calls of 'classifier'"):
            tap.take()


def test_features_in_memory_that_is_written_elsewhere_are_read(generator):
    room = torch.zeros(20, 9)
    body = nn.Linear(5, 8)

    class Roomy(nn.Module):
        def forward(self, x):
            room[:, :8] = body(x)
            return room[:, :8]

    model = InPlace(lambda h, z: room[:, 8:].add_(1), Roomy())
    with FeatureTap(model) as tap, torch.no_grad():
        model(torch.randn(20, 5, generator=generator))
        assert torch.equal(tap.take()[0], room[:, :8])


class Later(nn.Module):
    """A network that goes on with what its head took in or gave out."""

    def __init__(self, later):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.later = nn.Linear(5, 4), nn.Linear(4, 3), later

    def forward(self, x):
        features = self.body(x)
        logits = self.head(features)
        return self.later(features, logits)


def test_what_a_network_changes_in_place_after_its_head_is_read_as_it_was():
    x, y = torch.randn(30, 5, generator=torch.Generator().manual_seed(1)), torch.arange(30) % 3
    plain = nc.measure(Later(lambda h, z: z), [(x, y)] * 2)
    for later in (lambda h, z: z.div_(2), lambda h, z: (z.sub_(z.amax(1, keepdim=True)), z)[1]):
        report = nc.measure(Later(later), [(x, y)] * 2)
        assert report.keys() == plain.keys()
        for name, value in plain.items():
            assert report[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name
    with pytest.raises(NeuralCollapseError, match="'head' that stay as they are after its call"):
        nc.measure(Later(lambda h, z: (h.zero_(), z)[1]), [(x, y)])


def test_a_head_that_does_not_decide_is_said_to_decide_alone():
    """Logits that are corrected before they are returned, or those of another layer."""
    x, y = torch.randn(30, 5, generator=torch.Generator().manual_seed(1)), torch.arange(30) % 3
    corrected = Later(lambda h, z: z + torch.tensor([3.0, 0.0, 0.0]))
    for model, head in ((corrected, "head"), (Later(lambda h, z: z), "body")):
        labels = y if head == "head" else torch.arange(30) % 4
        notes = " ".join(nc.measure(model, [(x, labels)], head=head).notes)
        assert f"does not return the logits of {head!r}, nor any that rank the classes" in notes
    for later in (lambda h, z: z, lambda h, z: 5 * z, lambda h, z: z.softmax(1)):
        assert "nor any that rank" not in " ".join(nc.measure(Later(later), [(x, y)]).notes)
