"""The study that the figures of this package register with."""

from neuralcollapse.studies.claims import Study

study = Study("language-model", "A small language model: collapse with more classes than features")
