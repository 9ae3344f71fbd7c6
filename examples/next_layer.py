"""
Two adjacent layers beside theory
=================================

Two adjacent layers of a trained perceptron, and what the near-features model says of the second.

The head's regularisation is that of the training, the features' follows from the norms of head
and class means at collapse. The pull beta has no counterpart in training: several are tried, and
the one that meets the trained layer's NC1~ says nothing new about NC1~, but its NC1 and NC2 are
predictions. The order of the layers comes out right at every beta, the numbers do not: the model
shrinks deviations in the span of the class means, which NC1 counts, far more than those outside
it, and training shrinks both alike. Runs in some ten seconds.
"""

import sys

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from neuralcollapse.metrics.presets import preset
from neuralcollapse.moments import ClassMoments
from neuralcollapse.studies.tirer2023.next_layer import predict_next_layer
from neuralcollapse.theory import trace_ratio_falls_from
from neuralcollapse.training import MLP, TrainConfig, build_network, load_dataset, sgd_epochs

METRICS = {"nc1_trace_ratio": "NC1~", "nc1_pinv": "NC1", "nc2_etf": "NC2"}

torch.set_num_threads(1)
SMOKE = "--smoke" in sys.argv  # a short run
config = TrainConfig(
    loss="mse",
    head_bias=False,
    width=0.25,
    weight_decay=8.5e-3,
    batch_size=64,
    epochs=4 if SMOKE else 40,
)
data = load_dataset(config.data)
images, labels = data.train.tensors
network = build_network(
    config.net,
    data.input_shape,
    data.num_classes,
    width=config.width,
    head_bias=config.head_bias,
    seed=config.seed,
)
assert isinstance(network, MLP)  # whose layers are used one by one below
for _ in sgd_epochs(network, data.train, config):
    pass

with torch.no_grad():
    network.eval()
    second = network.features[:7](images)  # flattened, then linear, batch norm, ReLU, twice
    third = network.features[7:](second)
    head = network.head.weight.double()
moments = ClassMoments(data.num_classes, third.shape[1]).update(third, labels)
trained = preset("tirer2023", moments)

lambda_w = data.num_classes * config.weight_decay  # the model's decay is (lambda_w / 2K) ||W||^2
ratio = float(head.norm() / moments.means.norm())  # at collapse sqrt(lambda_h / lambda_w)
lambda_h = lambda_w * ratio**2

table = Table(box=SIMPLE_HEAD)
for heading in ("beta", *METRICS.values(), "minimiser"):
    table.add_column(heading, justify="right")
predictions: dict[float, dict[str, float]] = {}
for beta in 10 ** np.arange(-3.0, 1.5, 4.0 if SMOKE else 0.5):
    layer = predict_next_layer(second, labels, lambda_w, lambda_h, beta)
    if not predictions:
        table.add_row("layer 2, measured", *(f"{layer.before[key]:.3g}" for key in METRICS))
    predictions[beta] = layer.after
    values = (f"{layer.after[key]:.3g}" for key in METRICS)
    table.add_row(f"{beta:.3g}", *values, layer.minimizer.status)
table.add_row("layer 3, measured", *(f"{trained[key]:.3g}" for key in METRICS), style="bold")

console = Console(highlight=False, soft_wrap=True)
threshold = trace_ratio_falls_from(lambda_w, lambda_h)
console.print(
    f"lambda_w = {lambda_w:.3g}, lambda_h = {lambda_h:.3g}; the theory promises a smaller NC1~ "
    f"from beta = {threshold:.3g} on."
)
console.print(table)


def distance(beta):
    """Return how far off the predicted NC1~ is, as the log of a factor."""
    return abs(np.log(predictions[beta]["nc1_trace_ratio"] / trained["nc1_trace_ratio"]))


nearest = min(predictions, key=distance)
factors = (f"{METRICS[key]} {predictions[nearest][key] / trained[key]:.2g}" for key in METRICS)
console.print(
    f"Nearest in NC1~ is beta = {nearest:.3g}; predicted over measured there: {', '.join(factors)}."
)
