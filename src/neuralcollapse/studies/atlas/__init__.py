"""An atlas of small networks: which parts of collapse appear where, and what goes with them."""

from neuralcollapse.studies.atlas import figures as figures
from neuralcollapse.studies.atlas.study import study as study
