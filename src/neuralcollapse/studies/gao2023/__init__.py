"""Gao et al. 2023: what collapse says about new data."""

from neuralcollapse.studies.gao2023 import certificates as certificates
from neuralcollapse.studies.gao2023.study import study as study
