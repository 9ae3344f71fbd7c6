"""data: which data sets are here, and how to get the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from neuralcollapse.cli.app import app, tell


@app.command()
def data(
    name: Annotated[
        str | None, typer.Argument(help="Data set to read and describe; all are listed if omitted.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the files; $NEURALCOLLAPSE_DATA if omitted.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download it, through torchvision or OpenML.")
    ] = False,
) -> None:
    """List the data sets to train on, where they are, and how to get the rest.

    Nothing is fetched from the network without --download.

    Examples: neuralcollapse data, or
    neuralcollapse data cifar10 --root data --download
    """
    from neuralcollapse.errors import NeuralCollapseError
    from neuralcollapse.training.data import download_dataset, load_dataset
    from neuralcollapse.training.data.catalogue import data_table
    from neuralcollapse.wording import counted

    if name is None:
        if download:
            raise NeuralCollapseError(
                "--download", "the name of a data set", "none", "run: neuralcollapse data NAME ..."
            )
        table, places = data_table(root)
        Console(highlight=False).print(table)
        tell(places)
        return
    if download:
        path = download_dataset(name, root)
        tell(f"Written to {path}.")
        root = path.parent
    images = load_dataset(name, root)
    pixels = "×".join(map(str, (*images.input_shape[1:], images.input_shape[0])))
    low, high = int(images.class_sizes.min()), int(images.class_sizes.max())
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    tell(
        f"{name}: {len(images.train):,} training and {len(images.test):,} test images of {pixels}, "
        f"{counted(images.num_classes, 'class', 'classes')} of {each} training images.\n"
        f"Classes: {', '.join(images.class_names)}."
    )
