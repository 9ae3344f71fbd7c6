"""The study that the claims and figures of this package register with."""

from neuralcollapse.studies.claims import Study

study = Study(
    "tirer2023",
    "Tirer, Huang & Niles-Weed 2023, Perturbation Analysis of Neural Collapse (arXiv 2210.16658)",
)
