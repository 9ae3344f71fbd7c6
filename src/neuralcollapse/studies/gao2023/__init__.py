"""Gao et al. 2023: what collapse says about new data."""

from neuralcollapse.studies.gao2023 import alignment as alignment
from neuralcollapse.studies.gao2023 import centers as centers
from neuralcollapse.studies.gao2023 import certificates as certificates
from neuralcollapse.studies.gao2023 import covering as covering
from neuralcollapse.studies.gao2023 import covering_ranks as covering_ranks
from neuralcollapse.studies.gao2023 import equivariance as equivariance
from neuralcollapse.studies.gao2023 import figure3 as figure3
from neuralcollapse.studies.gao2023 import figure4 as figure4
from neuralcollapse.studies.gao2023 import loss_and_margin as loss_and_margin
from neuralcollapse.studies.gao2023 import margin_bounds as margin_bounds
from neuralcollapse.studies.gao2023 import orthant as orthant
from neuralcollapse.studies.gao2023 import transfer as transfer
from neuralcollapse.studies.gao2023 import whole_network as whole_network
from neuralcollapse.studies.gao2023.study import study as study
