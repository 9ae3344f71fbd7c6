"""measure: the collapse of saved features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuralcollapse.cli.app import app


@app.command()
def measure(
    file: Annotated[
        Path,
        typer.Argument(
            help="npz or safetensors with features (N, d) and labels (N,), and if wanted "
            "weight (K, d), bias (K,), test_features and test_labels."
        ),
    ],
    json: Annotated[Path | None, typer.Option(help="Write all values to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the report to this image.")] = None,
    per_class: Annotated[bool, typer.Option(help="Print one line a class, too.")] = False,
) -> None:
    """Measure the collapse of features that were saved before.

    Example: neuralcollapse measure features.npz --plot collapse.png
    """
    from neuralcollapse.measurement import measure_features, read_features

    report = measure_features(**read_features(file))
    print(report)
    if per_class:
        print(report.per_class.to_string(index=False, float_format="{:.4g}".format))
    if json is not None:
        report.to_json(json)
    if plot is not None:
        report.plot(plot)
