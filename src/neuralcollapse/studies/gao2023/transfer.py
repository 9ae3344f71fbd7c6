"""Ours: what collapse on training samples says of held-out ones, beside a certificate."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from neuralcollapse.generalization.certificates import cantelli_plug_in, certify_report
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.measurement import measure
from neuralcollapse.metrics import sample_margins
from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.gao2023.digits import all_digits
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.training import MLP, TrainConfig, sgd_epochs
from neuralcollapse.training.network_and_data import network_and_data
from neuralcollapse.wording import at_most, between, share

Samples = tuple[Tensor, Tensor]  # inputs and labels


@study.claim(
    "collapse-does-not-transfer",
    "Ours: collapse is deeper on training samples than on held-out ones, so that the error it "
    "seems to allow does not carry over; the certificate from the held-out count does.",
)
def _digits() -> Iterator[Evidence]:
    table = transfer_table()
    yield Evidence.at_most(
        "error on 597 more digits, over its certificate from 600: largest of 3 seeds",
        float((table["error"] / table["certificate"]).max()),
        1,
        note=f"errors {_listed(table['error'])}, certificates {_listed(table['certificate'])}; "
        "fixed ETF head",
    )
    for name in ("Cantelli's plug-in", "CDNV"):
        comparison = f"{name}, training over held-out: largest of 3 seeds"
        yield Evidence.at_most(comparison, float(table[name].max()), 1)


def transfer_table() -> pd.DataFrame:
    """Train on 600 digits, certify by 600 others, and look at the other 597.

    Returns
    -------
    DataFrame
        One row for each of 3 seeds: ``error`` on the 597, ``certificate`` from the 600;
        ``Cantelli's plug-in`` and ``CDNV``, their values on training over held-out samples.
    """
    rows = []
    for seed in range(3):
        network, train, held_out, test = _trained_on_digits(seed)
        report = measure(network, [train], test_loader=[held_out], progress=False)
        assert report.test is not None
        inputs, labels = test
        with torch.no_grad():
            wrong = sample_margins(network(inputs), labels) <= 0
        plug_ins = [cantelli_plug_in(m) for m in (report.margins, report.test.state.margins)]
        rows.append(
            {
                "error": float(wrong.double().mean()),
                "certificate": certify_report(report).upper,
                "Cantelli's plug-in": plug_ins[0] / plug_ins[1],
                "CDNV": report["cdnv"] / report["test_cdnv"],
            }
        )
    return pd.DataFrame(rows)


def transfer_words(table: pd.DataFrame) -> str:
    """Say a transfer table in words.

    Parameters
    ----------
    table
        Of `transfer_table`.
    """
    low, high = table.min().to_dict(), table.max().to_dict()
    cantelli, cdnv = (between(low[name], high[name]) for name in ("Cantelli's plug-in", "CDNV"))
    errors = f"{share(low['error'])} to {share(high['error'])}"
    bounds = f"{at_most(low['certificate'])} to {at_most(high['certificate'])}"
    return (
        f"the error on new data is {errors}, the certificates are {bounds}. Cantelli's plug-in is "
        f"{cantelli} times as large on training as on held-out samples, the CDNV {cdnv} times."
    )


def _trained_on_digits(seed: int) -> tuple[nn.Module, Samples, Samples, Samples]:
    """Return a network trained on 600 digits; these, 600 held out, and the other 597."""
    inputs, labels = all_digits()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    train, held_out, test = ((inputs[rows], labels[rows]) for rows in order.split(600))
    config = TrainConfig(
        width=0.25, epochs=60, batch_size=64, weight_decay=1e-3, head_bias=False, seed=seed
    )
    network, *_ = network_and_data(config)
    assert isinstance(network, MLP)
    with torch.no_grad():
        network.head.weight.copy_(5 * simplex_etf(10, 64, "block"))
    network.head.weight.requires_grad_(False)
    for _ in sgd_epochs(network, TensorDataset(*train), config):
        pass
    return network.eval(), train, held_out, test


def _listed(shares: pd.Series) -> str:
    return ", ".join(f"{share:.3f}" for share in shares)
