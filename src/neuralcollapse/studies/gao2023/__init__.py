"""Gao et al. 2023: what collapse says about new data."""

from neuralcollapse.studies.gao2023 import alignment as alignment
from neuralcollapse.studies.gao2023 import certificates as certificates
from neuralcollapse.studies.gao2023 import equivariance as equivariance
from neuralcollapse.studies.gao2023 import figure4 as figure4
from neuralcollapse.studies.gao2023 import orthant as orthant
from neuralcollapse.studies.gao2023.study import study as study
