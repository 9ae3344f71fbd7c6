"""Tirer, Huang & Niles-Weed 2023: what one more layer does to features near collapse."""

from neuralcollapse.studies.tirer2023 import figure1 as figure1
from neuralcollapse.studies.tirer2023 import figure2 as figure2
from neuralcollapse.studies.tirer2023 import figure3 as figure3
from neuralcollapse.studies.tirer2023 import free_features as free_features
from neuralcollapse.studies.tirer2023 import linear_map as linear_map
from neuralcollapse.studies.tirer2023 import paths as paths
from neuralcollapse.studies.tirer2023 import regularization as regularization
from neuralcollapse.studies.tirer2023 import trained as trained
from neuralcollapse.studies.tirer2023.study import study as study
