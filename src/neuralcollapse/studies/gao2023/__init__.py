"""Gao et al. 2023: what collapse means for new data, and whether alignment matters."""

from neuralcollapse.studies.gao2023.study import study as study
