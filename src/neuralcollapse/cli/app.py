"""The application that the commands register with; bad input ends with one line."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from neuralcollapse.errors import NeuralCollapseError


class _CleanErrors(TyperGroup):
    """Every command's bad input ends the same way: one line on stderr, status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except NeuralCollapseError as error:
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            console.print("[red]error:[/red]", escape(str(error)))
            raise typer.Exit(2) from None


app = typer.Typer(cls=_CleanErrors, no_args_is_help=True, add_completion=False)


@app.callback()
def neuralcollapse() -> None:
    """Measure the neural collapse of any classifier, and explain it with its theory."""
