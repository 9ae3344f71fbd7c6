"""
How slow collapse is
====================

The layer-peeled model of Ji et al. (2022), followed to log t = 1e8.

The loss goes on falling like 1/t, but the certified distance from collapse only like 1/log t: ten
times closer takes the tenth power of the time.
"""

import sys

import torch

import neuralcollapse as nc
from neuralcollapse.figure_style import figure

K, n, d = 4, 5, 6
generator = torch.Generator().manual_seed(0)
head = torch.randn(K, d, generator=generator, dtype=torch.float64)
features = torch.randn(K * n, d, generator=generator, dtype=torch.float64)
labels = torch.arange(K).repeat_interleave(n)
times = [10.0**power for power in range(1, 4 if "--smoke" in sys.argv else 9)]
flow = nc.theory.gradient_flow(head, features, labels, log_times=times)
print(f"{flow.status}, by {flow.method}")
for log_t, loss, gap in zip(flow.log_t, flow.log_loss, flow.gap, strict=True):
    print(f"log t = {log_t:9.3g}: log loss {loss:11.4g}, certified distance {gap:9.3g}")

with figure(1, 1, 6.4, 4.0) as (drawing, (axes,)):
    for name, values in vars(flow.errors).items():
        axes.loglog(flow.log_t, values, "o-", label=name.replace("_", " "))
    axes.set(xlabel="log t", title="Errors of collapse along the gradient flow")
    axes.legend()
drawing.savefig("gradient_flow.png")
