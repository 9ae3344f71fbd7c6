"""A small causal language model: which parts of collapse appear among thousands of words."""

from neuralcollapse.studies.language_model import figures as figures
from neuralcollapse.studies.language_model.study import study as study
