"""Ji, Lu, Zhang, Deng & Su 2022: the layer-peeled model without regularisation."""

from neuralcollapse.studies.ji2022 import bound as bound
from neuralcollapse.studies.ji2022 import decay as decay
from neuralcollapse.studies.ji2022 import dynamics as dynamics
from neuralcollapse.studies.ji2022 import figure2 as figure2
from neuralcollapse.studies.ji2022 import landscape as landscape
from neuralcollapse.studies.ji2022 import network_figures as network_figures
from neuralcollapse.studies.ji2022 import origin as origin
from neuralcollapse.studies.ji2022 import other_limits as other_limits
from neuralcollapse.studies.ji2022 import unequal_networks as unequal_networks
from neuralcollapse.studies.ji2022.study import study as study
