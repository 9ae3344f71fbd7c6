"""The study that the claims and figures of this package register with."""

from neuralcollapse.studies.claims import Study

study = Study(
    "gao2023",
    "Gao, Xu, Yang, Wen, Shao, Yang, Ghanem & Huang 2023, Towards Demystifying the Generalization "
    "Behaviors When Neural Collapse Emerges (arXiv 2310.08358)",
)
