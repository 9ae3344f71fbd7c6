"""The application that the commands register with; bad input ends with one line."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from neuralcollapse import __version__
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.plain_text import plain


class _CleanErrors(TyperGroup):
    """Every command's bad input ends the same way: one line on stderr, status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except NeuralCollapseError as error:
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            console.print("[red]error:[/red]", escape(str(error)))
            raise typer.Exit(2) from None


def tell(text: object) -> None:
    """Print lines that may hold names and paths from anywhere, never raw and never as markup."""
    Console(highlight=False).print(plain(text, keep="\n"), markup=False, soft_wrap=True)


app = typer.Typer(cls=_CleanErrors, no_args_is_help=True, add_completion=False)


def _tell_version(asked: bool) -> bool:
    if asked:
        print(__version__)
        raise typer.Exit
    return asked


@app.callback()
def neuralcollapse(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_tell_version)
    ] = False,
) -> None:
    """Measure the neural collapse of any classifier, and explain it with its theory."""
