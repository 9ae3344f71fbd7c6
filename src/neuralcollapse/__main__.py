"""``python -m neuralcollapse``: the command line."""

from neuralcollapse.cli import app

app(prog_name="neuralcollapse")
