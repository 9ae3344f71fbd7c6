"""
At which layer do classes come apart?
=====================================

Every layer of a perceptron of five, trained on digits, in one pass.

In trained networks the logarithm of the separation fuzziness falls about evenly from layer to layer
(He & Su 2023); the picture shows the fitted line.
"""

import sys

import torch

import neuralcollapse as nc
from neuralcollapse.training import MLP, TrainConfig, load_dataset, sgd_epochs

torch.set_num_threads(1)
torch.manual_seed(0)
data = load_dataset("digits")
model = MLP(64, [64] * 5, 10)
config = TrainConfig(epochs=2 if "--smoke" in sys.argv else 60, weight_decay=5e-3)
for _ in sgd_epochs(model, data.train, config):
    pass

profile = nc.measure_layers(model, [data.train.tensors])
print(profile)
profile.plot("layer_by_layer.png")
