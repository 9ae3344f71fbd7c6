"""
More classes than dimensions
============================

Above d + 1 classes no simplex fits. How large can the margin of a head still be?

The search finds unit rows of large one-vs-rest margin, and a bound that no rows exceed; where both
agree, the code is proved to be the best.
"""

import sys

import torch

import neuralcollapse as nc
from neuralcollapse.figure_style import figure

counts = range(2, 5 if "--smoke" in sys.argv else 9)
generator = torch.Generator().manual_seed(0)
codes = [nc.geometry.softmax_code(count, 3, starts=4, generator=generator) for count in counts]
for count, code in zip(counts, codes, strict=True):
    print(
        f"{count} classes: margin {code.margin:.4f}, none exceeds {code.upper:.4f}; {code.status}"
    )

with figure(1, 1, 6.4, 3.8) as (drawing, (axes,)):
    axes.plot(counts, [code.margin for code in codes], "o-", label="best found")
    axes.plot(counts, [code.upper for code in codes], "--", label="none exceeds")
    axes.axvline(4, color="grey", lw=1)
    axes.text(4.1, 0.4, "simplex: 4 classes", color="grey")
    axes.set(xlabel="classes in three dimensions", title="One-vs-rest margin of unit rows", ylim=0)
    axes.legend()
drawing.savefig("many_classes.png")
