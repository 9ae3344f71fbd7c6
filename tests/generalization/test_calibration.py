"""Calibration against worlds whose confidence is right or wrong by a known amount."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import calibration
from neuralcollapse.generalization.top_label import top_label_calibration

N, K = 4000, 4


def world(temperature=1.0, seed=0):
    """Logits whose softmax is the truth, multiplied by a temperature's inverse."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(N, K, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return logits / temperature, labels


def test_right_confidence_is_within_chance():
    found = calibration(*world())
    assert found.ece <= found.chance < 0.05
    assert found.lower == pytest.approx(0, abs=0.005)
    assert found.temperature == pytest.approx(1, abs=0.1)
    assert "no more than samples of this size show" in found.sentence


def test_overconfidence_is_found_measured_and_mended():
    logits, labels = world(temperature=0.4)
    found = calibration(logits, labels)
    sure = logits.softmax(1).amax(1)
    truth = float((sure - (0.4 * logits).softmax(1).amax(1)).abs().mean())
    assert found.ece > found.chance
    assert found.lower <= truth <= found.upper
    assert found.ece == pytest.approx(truth, abs=0.03)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.judged.loc["scaled", "ece"] < 0.3 * found.judged.loc["as it is", "ece"]
    assert found.judged.loc["scaled", "nll"] < found.judged.loc["as it is", "nll"]
    assert "overconfident on average" in found.sentence
    assert "underconfident" in calibration(*world(temperature=3.0)).sentence


def test_every_number_is_its_definition():
    logits, labels = world(0.5)
    logits, labels = logits[:300], labels[:300]
    found = calibration(logits, labels, bins=10)
    p = logits.softmax(1).numpy()
    sure, right = p.max(1), p.argmax(1) == labels.numpy()

    def error(confidence, hit):
        total = 0.0
        for b in range(10):
            inside = (confidence >= b / 10) & (confidence < (b + 1) / 10 + (b == 9))
            if inside.any():
                total += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
        return total

    assert found.ece == pytest.approx(error(sure, right))
    each = [error(p[:, k], labels.numpy() == k) for k in range(K)]
    assert found.classwise == pytest.approx(np.mean(each))
    assert found.nll == pytest.approx(log_loss(labels, p))
    by_class = sum(brier_score_loss(labels == k, p[:, k]) for k in range(K))
    assert found.brier == pytest.approx(by_class)
    bins = found.bins
    assert bins["n"].sum() == 300
    weights = bins["n"] / 300
    binned = weights @ ((bins["confidence"] - bins["accuracy"]) ** 2)
    assert found.reliability == pytest.approx(binned)
    # Murphy: of forecasts that are constant in each bin, the Brier score is the three parts.
    place = np.minimum((sure * 10).astype(int), 9)
    forecast = np.array([sure[place == b].mean() for b in place])
    score = np.mean((forecast - right) ** 2)
    assert score == pytest.approx(found.reliability - found.resolution + found.uncertainty)
    assert (bins["lower"] <= bins["accuracy"]).all()
    assert (bins["upper"] >= bins["accuracy"]).all()


def test_the_interval_covers_the_truth():
    """Of 40 samples of 300, an interval of 80 % may miss the distance in the bins 15 times."""
    missed = 0
    for seed in range(40):
        logits, labels = world(0.6, seed)
        logits, labels = logits[:300], labels[:300]
        found = calibration(logits, labels, bins=5, confidence=0.8)
        sure = logits.softmax(1).amax(1).numpy()
        right = (0.6 * logits).softmax(1).gather(1, logits.argmax(1)[:, None]).squeeze(1).numpy()
        place = np.minimum((sure * 5).astype(int), 4)
        truth = sum(
            (place == b).mean() * abs((sure - right)[place == b].mean()) for b in np.unique(place)
        )
        missed += not found.lower <= truth <= found.upper
    assert missed <= 8


def test_neither_order_of_classes_nor_offsets_of_logits_matter():
    logits, labels = world(0.5)
    one = calibration(logits[:500], labels[:500])
    turned = calibration(logits[:500].flip(1) + 7, K - 1 - labels[:500])
    assert turned.ece == pytest.approx(one.ece)
    assert turned.brier == pytest.approx(one.brier)
    assert turned.nll == pytest.approx(one.nll)


def test_it_prints_draws_and_goes_to_json(tmp_path):
    found = calibration(*world(0.5))
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["ece"] == found.ece
    assert len(document["bins"]) == len(found.bins)
    assert "Brier score" in str(found)
    found.plot(tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 5000


def test_a_hundredfold_head_is_a_hundredth_temperature():
    logits, labels = world()
    hot = calibration(100 * logits, labels)
    assert hot.temperature == pytest.approx(100, rel=0.1)
    assert math.isfinite(hot.nll)
    scaled = calibration(logits, labels).judged.loc["scaled", "nll"]
    assert hot.judged.loc["scaled", "nll"] == pytest.approx(scaled, abs=1e-4)


def test_what_all_logits_of_a_sample_share_does_not_move_the_temperature():
    logits, labels = world()
    logits = (logits * 1024).round() / 1024  # so that a shift by a power of two is exact
    one, shifted = calibration(logits, labels), calibration(logits + 2.0**42, labels)
    assert shifted.temperature == pytest.approx(one.temperature, rel=1e-9)
    assert shifted.judged.loc["scaled", "nll"] == pytest.approx(one.judged.loc["scaled", "nll"])


@pytest.mark.parametrize("size", [1e100, 1e130])
def test_the_largest_logits_give_numbers(size):
    logits, labels = world()
    found = calibration(size * logits, labels)
    assert np.isfinite(found.judged.to_numpy()).all()


def test_logits_near_the_end_of_float64_are_refused():
    logits, labels = world()
    with pytest.raises(NeuralCollapseError, match="logits: expected numbers whose squares fit"):
        calibration(logits / logits.abs().max() * 1e308, labels)


def test_where_all_is_right_no_temperature_is_too_cold():
    found = calibration(50 * torch.eye(3)[[0, 1, 2] * 3], [0, 1, 2] * 3)
    assert found.ece == pytest.approx(0, abs=1e-9)
    assert found.temperature == 1e-3
    assert "A temperature of 0.001, the lowest that is tried, found on one half" in found.sentence


def test_logits_worse_than_none_are_best_divided_by_the_most_that_is_tried():
    found = calibration(5 * torch.eye(3)[[1, 2, 0] * 3], [0, 1, 2] * 3)
    assert found.temperature == 1e3
    assert "A temperature of 1,000, the highest that is tried, found on one half" in found.sentence
    assert "is tried" not in calibration(*world()).sentence


def test_a_tie_is_wrong_on_both_halves():
    found = calibration(torch.zeros(8, 2), [0, 1] * 4)
    assert found.accuracy == 0
    assert found.ece == 0.5
    assert found.judged["ece"].tolist() == [0.5, 0.5]


def test_the_sentence_says_by_how_much_and_of_which_samples():
    found = calibration(torch.tensor([[0.0, 0.0], [0.0, 800.0]]).repeat(20, 1), [0, 0] * 20)
    assert found.sentence.startswith("It is right on 0 % of 40 held-out samples")
    assert "overconfident on average by 75 %" in found.sentence


@pytest.mark.parametrize(
    ("logits", "labels", "options", "message"),
    [
        (torch.ones(3, 2), [0, 1, 0], {}, r"logits: expected shape \(n, K\), n >= 4, K >= 2"),
        (torch.ones(5, 1), [0] * 5, {}, "K >= 2"),
        (torch.ones(5, 2), [0] * 5, {"bins": 0}, "bins: expected at least 1, got 0"),
        (torch.ones(5, 2), [0] * 5, {"confidence": 2}, r"confidence: expected a number in \(0, 1"),
        (torch.ones(5, 2), [0, 1, 2, 0, 1], {}, "below 2, the number of classes"),
    ],
)
def test_bad_input_is_refused(logits, labels, options, message):
    with pytest.raises(NeuralCollapseError, match=message):
        calibration(logits, labels, **options)


def test_nan_is_refused():
    with pytest.raises(NonFiniteError):
        calibration(torch.tensor([[math.nan, 1.0]] * 5), [0] * 5)


def test_ends_of_bins_hold_at_a_confidence_near_one():
    """Shares of delta among the bins are no levels of their own there: delta itself is divided."""
    sure = torch.linspace(0.05, 0.95, 10).double().repeat_interleave(50)
    confidence = 1 - 2.0**-50
    found = top_label_calibration(sure.log(), torch.ones(500), bins=10, confidence=confidence)
    assert found.bins["lower"].to_numpy() == pytest.approx((2.0**-50 / 20) ** (1 / 50), rel=1e-9)


@pytest.mark.parametrize("right", [1500, 1499, 1490])
def test_errors_that_cancel_have_no_direction(right):
    """At 90 % confidence 70 % are right, at 60 % it is 80 %."""
    logits = np.log([[0.9, 0.1]] * 1000 + [[0.6, 0.4]] * 1000)
    labels = np.zeros(2000, dtype=int)
    labels[:300] = 1
    labels[1000 : 1000 + 1700 - right] = 1
    sentence = calibration(logits, labels).sentence
    assert "over- and underconfident in different bins, on average neither" in sentence
