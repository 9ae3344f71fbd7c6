"""ood: how familiar samples are, from saved features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuralcollapse.cli.app import app, tell


@app.command()
def ood(
    file: Annotated[
        Path,
        typer.Argument(
            help="A file as for measure, with features and labels of training data, a weight and "
            "bias where the method needs them, test_features of familiar samples, and "
            "foreign_features of others."
        ),
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="neco, nci, vim, nearest_mean, mahalanobis, msp or energy; may be repeated."
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the score of every sample.")] = None,
) -> None:
    """Score how familiar samples are, higher for those more like the training data.

    Where the file has familiar and foreign samples, AUROC and FPR at 95 % TPR
    tell how well each method separates them.

    Example: neuralcollapse ood features.npz --method neco --method mahalanobis
    """
    from neuralcollapse.files import write_whole
    from neuralcollapse.ood.file_scores import score_file

    table, summary = score_file(file, method or ["nci"])
    tell(summary.to_string(float_format="{:z.4g}".format))
    if csv is not None:
        write_whole(csv, table.to_csv(index=False))
