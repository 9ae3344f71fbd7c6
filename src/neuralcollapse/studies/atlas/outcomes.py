"""What is asked of a trained network besides its history: calibration, certificates."""

from __future__ import annotations

import safetensors.torch
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_calibration_error

from neuralcollapse.generalization import cdnv_error_bound, certify_report
from neuralcollapse.measurement import measure
from neuralcollapse.studies.sweep.runs import SweepRun
from neuralcollapse.training import ImageData, TrainConfig, build_network, load_dataset

Outcomes = dict[str, float]


def network_outcomes(run: SweepRun) -> Outcomes:
    """Return what the final weights of a run say on test data.

    Parameters
    ----------
    run
        A finished one.

    Returns
    -------
    dict of float
        ``ece``: expected calibration error of the softmax, 15 bins. ``ece_scaled``, ``nll_scaled``:
        the same and the negative log-likelihood once a temperature is fitted to every other test
        image, on the rest. ``cdnv_promise``: the error that training features allow, see
        `cdnv_error_bound`; ``certificate``: an upper bound on the error at 95 % from the test
        margins, see `certify_report`.
    """
    config = run.config
    data = _data(config)
    model = build_network(
        config.net, data.input_shape, data.num_classes, width=config.width,
        head_bias=config.head_bias,
    )  # fmt: skip
    model.load_state_dict(safetensors.torch.load_file(run.folder / "model.safetensors"))
    train, test = ([part.tensors] for part in (data.train, data.test))
    report = measure(model, train, test_loader=test, progress=False)
    with torch.no_grad():
        logits, labels = model.eval()(data.test.tensors[0]), data.test.tensors[1]
    return calibration(logits, labels) | {
        "cdnv_promise": cdnv_error_bound(report.train.moments),
        "certificate": float(certify_report(report).upper),
    }


def calibration(logits: Tensor, labels: Tensor) -> Outcomes:
    """Return the calibration before and after a temperature, see `network_outcomes`.

    Parameters
    ----------
    logits, labels
        (n, K) and (n,) of test data.
    """
    classes = logits.shape[1]
    fit, rest = (slice(start, None, 2) for start in (0, 1))

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(logits[fit].double() / 10**log_temperature, labels[fit]))

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded").x
    scaled = logits[rest].double() / 10**best
    raw, after = (
        float(multiclass_calibration_error(part.softmax(1), true, num_classes=classes, n_bins=15))
        for part, true in ((logits.double(), labels), (scaled, labels[rest]))
    )
    nll = float(cross_entropy(scaled, labels[rest]))
    return {"ece": raw, "ece_scaled": after, "nll_scaled": nll}


def _data(config: TrainConfig) -> ImageData:
    return load_dataset(
        config.data,
        config.data_root,
        per_class=config.per_class,
        test_per_class=config.test_per_class,
        imbalance=config.imbalance,
        label_noise=config.label_noise,
        seed=config.seed,
    )
