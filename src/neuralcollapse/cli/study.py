"""study: a paper's figures and claims."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from neuralcollapse.cli.app import app
from neuralcollapse.errors import NeuralCollapseError


@app.command()
def study(
    paper: Annotated[str, typer.Argument(help="Which paper: ji2022, tirer2023 or gao2023.")],
    figure: Annotated[int | None, typer.Option(help="Draw this figure alone.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; studies/PAPER if omitted.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="tirer2023: predict the collapse of the layer after these features."),
    ] = None,
    lambda_w: Annotated[float, typer.Option(help="Weight decay of the head.")] = 0.005,
    lambda_h: Annotated[float, typer.Option(help="Weight decay of the features.")] = 0.01,
    beta: Annotated[float, typer.Option(help="Pull of the features towards those given.")] = 1.0,
) -> None:
    """Redraw a paper's figures from the theory's own models, and record its claims.

    Examples: neuralcollapse study ji2022 --figure 2, or
    neuralcollapse study tirer2023 --features features.npz --beta 0.1
    """
    from neuralcollapse.studies import run_study

    if features is None:
        for path in run_study(paper, out or Path("studies", paper), figure):
            print(path)
        return
    if paper != "tirer2023":
        raise NeuralCollapseError(
            "--features", "the paper tirer2023", paper, "only its model starts from features"
        )
    from neuralcollapse.studies.tirer2023.next_layer import study_features

    Console().print(study_features(features, lambda_w, lambda_h, beta))
