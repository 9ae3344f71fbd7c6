import json
import math

import pytest
import torch
from safetensors.torch import save_file

import neuralcollapse as nc
from cli_runner import run
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.measurement.head_files import head_from_file
from neuralcollapse.theory import separation_optimum


def test_a_simplex_with_any_common_row():
    report = nc.measure_head(3 * nc.simplex_etf(5, 8) + 2.0)
    assert report["nc2_etf"] < 1e-12
    assert report["nc2_equinorm"] < 1e-12
    assert report["effective_rank"] == pytest.approx(4)
    assert report["head_mean"] == pytest.approx(5 * 8 * 4)
    assert report["twin_rows"] == 0
    assert "from a simplex ETF" in str(report)


def test_unequal_sizes_have_their_own_target():
    sizes = [50, 20, 3]
    head = separation_optimum(sizes, 4).W
    report = nc.measure_head(head, class_sizes=sizes)
    assert report["nc2_sel"] < 1e-12 < 1e-3 < report["nc2_etf"]
    assert abs(report["norm_frequency"]) == pytest.approx(1)


def test_twins_coinciding_and_dead_rows():
    rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    rows[7] = rows[3] * 1.5
    rows[9] = rows[3] + 1e-3
    rows[20] = 0
    rows[21] = 0
    names = [f"c{k}" for k in range(40)]
    report = nc.measure_head(rows, class_names=names)
    assert report.dead == [20, 21]
    assert report["twin_rows"] == 3
    assert report["twin_pairs"] == 3
    assert {frozenset(pair[:2]) for pair in report.twins} >= {frozenset({3, 7})}
    assert report["rho_lower"] < 1e-3
    text = str(report)
    assert "c3 ~ c7" in text
    assert "c20, c21" in text
    assert nc.measure_head(torch.ones(5, 2))["coinciding_pairs"] == 10


def test_a_softmax_code_reaches_the_best_known():
    code = nc.geometry.softmax_code(9, 3)
    report = nc.measure_head(2 * code.vertices)
    assert report["rho_lower"] == pytest.approx(report["rho_best"], abs=1e-9)
    assert report["rho_lower"] <= report["rho_upper"] + 1e-12 <= report["rho_bound"] + 1e-12
    assert "best known 0.6667" in str(report)


def test_many_classes_are_bounded_without_solving():
    rows = torch.randn(2500, 8, generator=torch.Generator().manual_seed(0))
    rows[2499] = rows[5]
    report = nc.measure_head(rows)
    assert report["rho_lower"] == pytest.approx(0, abs=1e-6)
    assert report["rho_upper"] < 1e-2
    assert report["coinciding_pairs"] == 1


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_heads_are_found_in_files(tmp_path, suffix):
    state = {
        "model.embed.weight": torch.randn(11, 4),
        "lm_head.weight": torch.randn(11, 4),
        "lm_head.bias": torch.randn(11),
        "norm.weight": torch.randn(4),
    }
    path = tmp_path / f"model{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    head = head_from_file(path)
    assert head.name == "lm_head.weight"
    torch.testing.assert_close(head.bias, state["lm_head.bias"])
    assert head_from_file(path, "model.embed.weight").bias is None
    with pytest.raises(NeuralCollapseError, match=r"'lm_hed.weight'; similar names are lm_head"):
        head_from_file(path, "lm_hed.weight")
    with pytest.raises(NeuralCollapseError, match=r"a matrix \(K, d\), got shape \(4,\)"):
        head_from_file(path, "norm.weight")


def test_files_that_are_none(tmp_path):
    with pytest.raises(NeuralCollapseError, match="nothing at"):
        head_from_file(tmp_path / "absent.pt")
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"not a file of weights")
    with pytest.raises(NeuralCollapseError, match="a state dict of tensors alone"):
        head_from_file(broken)
    # Damage that torch's own reader of pickles stumbles over.
    for content in (b"0", b"(t.", b"\x80\x02h\x00.", b""):
        broken.write_bytes(content)
        with pytest.raises(NeuralCollapseError, match="a state dict of tensors alone"):
            head_from_file(broken)
    torch.save({"a.weight": torch.ones(2, 3), "b.weight": torch.ones(2, 3)}, tmp_path / "two.pt")
    with pytest.raises(NeuralCollapseError, match=r"name one of a\.weight, b\.weight"):
        head_from_file(tmp_path / "two.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "object.pt")
    with pytest.raises(NeuralCollapseError, match="a state dict of tensors alone"):
        head_from_file(tmp_path / "object.pt")


def test_a_report_that_was_changed_has_no_head_to_read(tmp_path):
    path = tmp_path / "r.safetensors"
    report = nc.measure_features(torch.eye(3), [0, 1, 2], 2 * torch.eye(3), [1.0, 2.0, 3.0])
    report.save(path)
    head = head_from_file(path)
    assert torch.equal(head.weight, report.weight)
    assert torch.equal(head.bias, report.bias)
    written = path.read_bytes()
    two, three = (torch.tensor(x, dtype=report.weight.dtype).numpy().tobytes() for x in (2, 3))
    path.write_bytes(written.replace(two, three))
    assert len(path.read_bytes()) == len(written)
    with pytest.raises(NeuralCollapseError, match="other content than was saved: the file is dama"):
        head_from_file(path)


def test_command(tmp_path):
    save_file({"lm_head.weight": nc.simplex_etf(4, 6)}, tmp_path / "m.safetensors")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    arguments = ["measure-head", str(tmp_path / "m.safetensors"), "--key", "lm_head.weight"]
    arguments += ["--class-names", str(tmp_path / "names.txt")]
    arguments += ["--json", str(tmp_path / "out.json")]
    result = run(*arguments)
    assert result.exit_code == 0
    assert "head of 4 classes in 6 dimensions" in result.output
    assert json.loads((tmp_path / "out.json").read_text())["nc2_etf"] < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bias": torch.ones(3)}, "bias"),
        ({"class_names": ["a"]}, "class_names: expected 4 names, one per class, got 1"),
        ({"class_sizes": [1, 2]}, r"class_sizes: expected shape \(4,\), got \(2,\)"),
        ({"weight": torch.ones(1, 2)}, "weight: expected at least 2 rows"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        nc.measure_head(**{"weight": torch.randn(4, 3)} | arguments)
    with pytest.raises(NonFiniteError):
        nc.measure_head([[math.nan, 1.0], [0.0, 1.0]])


def test_words_of_heads_that_have_no_angles():
    assert "always a simplex ETF" in str(nc.measure_head(torch.tensor([[1.0, 2.0], [0.0, 3.0]])))
    assert "nan" not in str(nc.measure_head(torch.zeros(3, 4)))
    with pytest.raises(NeuralCollapseError, match="weight: expected at least 2 rows, got 1"):
        nc.measure_head(torch.ones(1, 4))


def test_equal_sizes_have_no_rank_and_a_scale_changes_nothing():
    rows = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0], [2.0, 2.0, 2.0]]).double()
    assert math.isnan(nc.measure_head(rows, class_sizes=[2, 2, 2])["norm_frequency"])
    share = nc.measure_head(rows)["head_mean_share"]
    assert nc.measure_head(1e-200 * rows)["head_mean_share"] == pytest.approx(share)


def test_of_a_report_the_head_alone_is_read(tmp_path):
    features, labels = torch.randn(12, 4), torch.arange(12) % 3
    weight, file = torch.randn(3, 4), tmp_path / "r.safetensors"
    nc.measure_features(features, labels, weight, torch.ones(3)).save(file)
    head = head_from_file(file)
    assert head.weight.tolist() == weight.tolist()
    assert head.bias.tolist() == [1.0] * 3
    nc.measure_features(features, labels).save(file)
    with pytest.raises(NeuralCollapseError, match="path: expected a report with a head"):
        head_from_file(file)


@pytest.mark.parametrize("scale", [2.0**-600, 2.0**600])
def test_nothing_but_the_mean_row_depends_on_the_unit_of_a_head(scale):
    rows = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0], [2.0, 2.0, 2.0]]).double()
    plain, scaled = (nc.measure_head(each, class_sizes=[2, 3, 4]) for each in (rows, scale * rows))
    for name in {*plain.values} - {"head_mean"}:
        assert scaled[name] == plain[name], name
    assert (scaled.dead, plain.dead) == ([], [])


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_holds_its_weights_under_a_usual_name(tmp_path, name):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3))
    optimizer = torch.optim.Adam(network.parameters())
    checkpoint = {name: network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(checkpoint, tmp_path / "c.pt")
    assert torch.equal(head_from_file(tmp_path / "c.pt").weight, network[0].weight)
