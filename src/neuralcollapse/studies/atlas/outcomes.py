"""What is asked of a trained network besides its history: calibration, certificates."""

from __future__ import annotations

import safetensors.torch
import torch

from neuralcollapse.generalization import calibration, cdnv_error_bound, certify_report
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
        image of each class, on the rest; see `calibration`. ``cdnv_promise``: the error that
        training features allow, see `cdnv_error_bound`; ``certificate``: an upper bound on the
        error at 95 % from the test margins, see `certify_report`.
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
    trust = calibration(logits, labels)
    scaled = trust.judged.to_dict("index")["scaled"]
    return {
        "ece": trust.ece,
        "ece_scaled": scaled["ece"],
        "nll_scaled": scaled["nll"],
        "cdnv_promise": cdnv_error_bound(report.train.moments),
        "certificate": float(certify_report(report).upper),
    }


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
