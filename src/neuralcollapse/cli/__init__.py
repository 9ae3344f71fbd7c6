"""The command line: one file per command, heavy imports inside it, so that help is instant.

The commands appear in the help in the order of the imports.
"""

# isort: off
from neuralcollapse.cli.app import app as app
from neuralcollapse.cli import demo as demo
from neuralcollapse.cli import measure as measure
from neuralcollapse.cli import measure_head as measure_head
from neuralcollapse.cli import certify as certify
from neuralcollapse.cli import compare as compare
from neuralcollapse.cli import ood as ood
from neuralcollapse.cli import train as train
from neuralcollapse.cli import sweep as sweep
from neuralcollapse.cli import report as report
from neuralcollapse.cli import glossary as glossary
from neuralcollapse.cli import data as data
from neuralcollapse.cli import study as study
from neuralcollapse.cli import verify as verify
