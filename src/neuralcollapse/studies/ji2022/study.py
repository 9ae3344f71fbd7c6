"""The study that the claims and figures of this package register with."""

from neuralcollapse.studies.claims import Study

study = Study(
    "ji2022",
    "Ji, Lu, Zhang, Deng & Su 2022, An Unconstrained Layer-Peeled Perspective on Neural Collapse "
    "(arXiv 2110.02796)",
)
