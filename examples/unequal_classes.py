"""
Where unequal classes should go
===============================

The predicted shape for two large and two small classes, against the ratio of their sizes.

With equal classes all cosines are -1/3 and all rows of the head have one length. The more unequal
they are, the longer the rows of large classes become and the further the angles are from a
simplex: of such data a distance from an ETF is no fault. This is the limit of weak weight decay;
with a stronger one small classes merge, which ``weight_decay=`` of the same function shows.
"""

import sys

import neuralcollapse as nc
from neuralcollapse.figure_style import figure

ratios = [1, 10] if "--smoke" in sys.argv else [1, 2, 3, 5, 10, 20, 50, 100]
shapes = [nc.predicted_geometry([ratio, ratio, 1, 1], dim=8) for ratio in ratios]
cosines = {
    "two large": [float(shape.cosines[0, 1]) for shape in shapes],
    "large and small": [float(shape.cosines[0, 2]) for shape in shapes],
    "two small": [float(shape.cosines[2, 3]) for shape in shapes],
}
lengths = [float(shape.head_norms[0] / shape.head_norms[2]) for shape in shapes]
for row in zip(ratios, *cosines.values(), lengths, strict=True):
    print("ratio {:4}: cosines {:6.3f} {:6.3f} {:6.3f}, lengths {:5.2f} : 1".format(*row))

with figure(1, 2, 9.6, 3.8) as (drawing, (left, right)):
    for label, values in cosines.items():
        left.plot(ratios, values, "o-", label=label)
    left.set(xscale="log", xlabel="ratio of the sizes", title="Cosines of class means")
    left.legend()
    right.plot(ratios, lengths, "o-")
    right.set(xscale="log", xlabel="ratio of the sizes", title="Head: large row / small row")
drawing.savefig("unequal_classes.png")
