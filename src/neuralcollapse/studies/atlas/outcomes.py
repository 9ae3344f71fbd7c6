"""What is asked of a trained network besides its history: calibration, certificates."""

from __future__ import annotations

import safetensors.torch
import torch
from torch.utils.data import TensorDataset

from neuralcollapse.generalization import calibration, cdnv_error_bound, certify_report
from neuralcollapse.measurement import measure
from neuralcollapse.studies.sweep.runs import SweepRun
from neuralcollapse.training.network_and_data import network_and_data

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
    model, *splits, _ = network_and_data(run.config)
    model.load_state_dict(safetensors.torch.load_file(run.folder / "model.safetensors"))
    train, test = (split.tensors for split in splits if isinstance(split, TensorDataset))
    report = measure(model, [train], test_loader=[test], progress=False)
    inputs, labels = test
    with torch.no_grad():
        logits = model.eval()(inputs)
    trust = calibration(logits, labels)
    scaled = trust.judged.to_dict("index")["scaled"]
    return {
        "ece": trust.ece,
        "ece_scaled": scaled["ece"],
        "nll_scaled": scaled["nll"],
        "cdnv_promise": cdnv_error_bound(report.train.moments),
        "certificate": float(certify_report(report).upper),
    }
