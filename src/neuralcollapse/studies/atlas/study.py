"""The study that the figures of this package register with."""

from neuralcollapse.studies.claims import Study

study = Study("atlas", "An atlas of small networks: collapse, and what goes with it on new data")
