"""A replication: the rotation of a fixed ETF behind a ReLU, and the orthant margin.

Does the rotation matter, and does the orthant margin say how? An exploration (30 Haar rotations, 5
seeds) found that it does when the features are few: with D = 16 a main effect of the rotation of
2.2 points of test accuracy (F = 3.7), which the least orthant margin predicted (Spearman 0.68 over
all rotations; 0.35 over the 15 that always fitted, which is compatible with none). What follows is
the design of a replication, fixed before its first run, with a split, rotations, initial weights
and orders not used before.

Design
    Digits, 300 training images drawn by class and the other 1,497 for testing, split by
    `SPLIT_SEED`. Perceptrons 64-64-64-16 with a ReLU on the features, `CONFIG`. Heads: `ROTATIONS`
    Haar simplex ETFs of norm `SCALE`, drawn in a row from one generator with `ROTATION_SEED`,
    none left out, unfittable ones too. Fully crossed with the initial weights of `SEEDS` and
    `ORDERS` orders of the data each.

Outcome
    Test accuracy after the last epoch, of every run, whether it fits its training data or not.

Hypotheses, each with its statistic and p-value
    H1. The rotation has a main effect: F = MS(rotation) / MS(rotation x seed) on the mean over
        orders; the larger of the p-values of the F distribution and of permuting the rotations
        within seeds (`PERMUTATIONS` times).
    H2. Test accuracy rises with the least orthant margin: Spearman's correlation over rotations
        between min_y omega_y and the mean test accuracy; one-sided, by permuting rotations.
    H3. The same as H2 among the rotations whose every run fits (training accuracy 1 at the end).
        Not decided if fewer than 10 rotations do.

Decision
    Holm's correction over the three p-values. A hypothesis is confirmed if its corrected p-value
    is at most `LEVEL`. Whatever comes out is reported.

Beside that, for description only: the standard deviation of the rotation's effect with its 95 %
limits, the share of runs that fit, and H1 and H2 among the rotations of positive orthant margin.
"""

from __future__ import annotations

from neuralcollapse.training import PerceptronConfig

SPLIT_SEED = 5101
ROTATION_SEED = 5102
ROTATIONS = 60
SEEDS = tuple(range(6000, 6010))
ORDERS = 2
SCALE = 5.0
CONFIG = PerceptronConfig(
    widths=(64, 64), dim=16, relu_features=True, lr=0.01, momentum=0.9, batch_size=25, epochs=150
)
PERMUTATIONS = 9999
LEVEL = 0.05
