"""study: a paper's figures and claims."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from neuralcollapse.cli.app import app, tell
from neuralcollapse.errors import NeuralCollapseError


@app.command()
def study(
    paper: Annotated[
        str, typer.Argument(help="ji2022, tirer2023, gao2023, atlas or language-model.")
    ],
    figure: Annotated[int | None, typer.Option(help="Draw this figure alone.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the figures; studies/PAPER if omitted."),
    ] = None,
    scale: Annotated[
        Literal["quick", "small", "medium", "paper"],
        typer.Option(
            help="quick: minutes on two cores. small: an hour or so a figure, on 2,000 images of "
            "28x28 pixels. medium: Fashion-MNIST on one GPU. "
            "paper: the paper's own networks and data."
        ),
    ] = "quick",
    data_root: Annotated[
        str | None, typer.Option(help="Folder of the data's files; see neuralcollapse data.")
    ] = None,
    engine: Annotated[str, typer.Option(help="What trains the networks: processes, or ray.")] = (
        "processes"
    ),
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of networks trained at once; as many as cores if omitted."
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a running Ray cluster, or auto.")
    ] = None,
    retry: Annotated[bool, typer.Option(help="Train failed networks again.")] = False,
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            "--seed", help="Seed of the networks; may be given several times. All if omitted."
        ),
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option(help="Folder of finished runs without weights: used, and added to."),
    ] = None,
    draw_only: Annotated[
        bool, typer.Option(help="Train nothing: draw what is finished or kept.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="key=value, as in train: takes the place of the figure's own in every network; "
            "may be given again. Give the figure another --out.",
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="tirer2023: predict the collapse of the layer after these features."),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="language-model: a text file instead of Python's documentation."),
    ] = None,
    lambda_w: Annotated[float, typer.Option(help="Weight decay of the head.")] = 0.005,
    lambda_h: Annotated[float, typer.Option(help="Weight decay of the features.")] = 0.01,
    beta: Annotated[float, typer.Option(help="Pull of the features towards those given.")] = 1.0,
) -> None:
    """Redraw a paper's figures, from the theory's own models and from networks trained here.

    Without --figure, all figures are drawn and the verdicts on the paper's
    claims recorded. Call a study that was stopped again, and it continues.

    For instance:

    neuralcollapse study ji2022 --figure 2

    neuralcollapse study tirer2023 --figure 3 --scale medium --data-root ~/data

    neuralcollapse study tirer2023 --figure 3 --set data=my_data:images --out mine

    neuralcollapse study tirer2023 --features features.npz --beta 0.1
    """
    from neuralcollapse.studies import FigureJob, run_study

    if features is None:
        how = {"engine": engine, "workers": workers, "address": address, "retry": retry}
        folder = out or Path("studies", paper)
        job = FigureJob(
            folder, scale, True, data_root, how, tuple(seeds) if seeds else None, kept,
            training=not draw_only, text=text, settings=_settings(settings or ()),
        )  # fmt: skip
        for path in run_study(paper, job, figure):
            tell(path)
        return
    if paper != "tirer2023":
        raise NeuralCollapseError(
            "--features", "the paper tirer2023", paper, "only its model starts from features"
        )
    from neuralcollapse.studies.tirer2023.next_layer import study_features

    Console().print(study_features(features, lambda_w, lambda_h, beta))


def _settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Return key=value pairs by key, each value as JSON has it, or else as it stands."""
    from neuralcollapse.training import TrainConfig

    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise NeuralCollapseError("--set", "key=value", pair, "such as --set epochs=100")
        found[key] = value
        with suppress(ValueError):
            found[key] = json.loads(value)
    TrainConfig.require_known(found)
    return found
